//! What a session may use of the machine, and whether there is room for another.
//!
//! ```text
//! server's control group --+-- server          the server itself, where it must make room
//!                          +-- session-pbs_1   Xvfb, VNC server and Chromium of one session
//!                          +-- session-pbs_2
//! ```
//!
//! [`Subtree`] is the place for the groups of all sessions, found once; [`Group`] is that of one. A
//! program is put into the group of its session before it is executed, so that none of its children
//! escapes. A group outlives the server as its programs do: the file `group` beside their logs names
//! it, and the next server finds it there.
//!
//! [`room()`] is about the machine as a whole: it is measured before a session is made.

mod group;
mod room;
mod subtree;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use group::{Group, Usage};
pub use room::{NoRoom, disk, room};
pub use subtree::{Subtree, Unlimited};

/// The file in the data directory that names the control group below which those of sessions are.
pub const BASE: &str = "control_group";

const MIB: u64 = 1024 * 1024;

/// Limits of each session, and what must be free for another one. 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether sessions are put into control groups where the machine allows it.
    pub enabled: bool,
    /// The control group below which those of sessions are made, as a directory. Looked for when it
    /// is not set: the server's own.
    pub control_group: Option<PathBuf>,
    /// How much memory a session may use. When it has used that up, the kernel ends one of its
    /// processes.
    pub session_memory_mib: u64,
    /// How much processor time a session may use, in percent of one processor.
    pub session_cpu_percent: u64,
    /// How many threads and processes a session may have.
    pub session_tasks: u64,
    /// How much memory one more session is taken to need when it is asked for.
    pub new_session_memory_mib: u64,
    /// How much memory must be available beside that.
    pub spare_memory_mib: u64,
    /// How much of `/dev/shm` must be free, where it is large enough for browsers to use it.
    pub spare_shared_memory_mib: u64,
    /// How much of the file system of the data directory must be free.
    pub spare_disk_mib: u64,
    /// How many more files the server must be allowed to open: for viewers, clients, the database.
    pub spare_open_files: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            control_group: None,
            session_memory_mib: 4096,
            session_cpu_percent: 0,
            session_tasks: 4096,
            new_session_memory_mib: 350,
            spare_memory_mib: 256,
            spare_shared_memory_mib: 64,
            spare_disk_mib: 200,
            spare_open_files: 64,
        }
    }
}
