//! Leaks: remains of a session or run that has ended, and records that contradict the machine's
//! state.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::ids::{RunId, SessionId};

/// The kind of resource that was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// A live process that is marked as belonging to a session that has ended.
    Process,
    /// A port on which such a process listens, or that the server reserves for no session.
    Port,
    /// The lock of an X display whose server has ended.
    DisplayLock,
    /// The socket of an X display on which no process listens.
    DisplaySocket,
    /// A segment of System V shared memory whose creator has ended.
    SharedMemory,
    /// A control group of a session that has ended.
    ControlGroup,
    /// Secrets or scratch files in the directory of a session that has ended.
    Directory,
    /// A row for a live object, of which this server has no actor, or whose programs have ended.
    Row,
    /// A file among the artifacts or the archives of profiles without a row, or the row of an artifact whose
    /// file is missing.
    Artifact,
}

impl LeakKind {
    /// Returns the value used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Port => "port",
            Self::DisplayLock => "display_lock",
            Self::DisplaySocket => "display_socket",
            Self::SharedMemory => "shared_memory",
            Self::ControlGroup => "control_group",
            Self::Directory => "directory",
            Self::Row => "row",
            Self::Artifact => "artifact",
        }
    }
}

/// A resource that was left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// The kind of the resource.
    pub kind: LeakKind,
    /// The resource: `process 812 (chromium)`, a path, `segment 32768`. Together with the kind, it
    /// identifies the leak.
    pub what: String,
    /// The session that it belonged to.
    pub session: Option<SessionId>,
    /// The run that it belonged to, if any.
    pub run: Option<RunId>,
    /// The time since which it exists, if that can be determined.
    pub since: Option<DateTime<Utc>>,
    /// The reason why it should not exist.
    pub why: String,
    /// True if it is removed on request, because it provably belongs to this server.
    pub fixable: bool,
    /// The way in which it is removed, or the reason why it is not.
    pub remedy: String,
}

impl Leak {
    /// True if both are about the same resource.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.what == other.what
    }
}
