//! Limits on the resources of a session, and the check of room for another session.
//!
//! ```text
//! server's control group --+-- server          the server itself, if it has to move out of the group
//!                          +-- session-pbs_1   Xvfb, VNC server and Chromium of one session
//!                          +-- session-pbs_2
//! ```
//!
//! [`Subtree`] is the parent of all sessions' groups, located once; [`Group`] is that of one
//! session. A program joins the group of its session before it is executed, so that none of its
//! children escapes. A group outlives the server like its programs: the file `group` beside their
//! logs names it, and the next server finds it there.
//!
//! [`room()`] concerns the machine as a whole: it is measured before a session is created.

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

/// The file in the data directory that names the parent of sessions' control groups.
pub const BASE: &str = "control_group";

const MIB: u64 = 1024 * 1024;

/// Limits of each session, and the resources that must be free for another one. 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// True if sessions are put into control groups, provided that the machine allows it.
    pub enabled: bool,
    /// The directory of the control group below which those of sessions are created. Detected if it
    /// is not set: the server's own.
    pub control_group: Option<PathBuf>,
    /// The memory that a session may use, in MiB. When it is used up, the kernel kills one of the
    /// session's processes.
    pub session_memory_mib: u64,
    /// The processor time that a session may use, in percent of one processor.
    pub session_cpu_percent: u64,
    /// The number of threads and processes that a session may have.
    pub session_tasks: u64,
    /// The memory that one more session is assumed to need when it is requested, in MiB.
    pub new_session_memory_mib: u64,
    /// The memory that must be available in addition, in MiB.
    pub spare_memory_mib: u64,
    /// The free part of `/dev/shm` that is required, in MiB, if it is large enough for browsers to use it.
    pub spare_shared_memory_mib: u64,
    /// The free space that the file system of the data directory must have, in MiB.
    pub spare_disk_mib: u64,
    /// The number of further files that the server must be able to open: for viewers, clients, the
    /// database.
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
