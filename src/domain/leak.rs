//! A leak: what there is of a session or run that has ended, or what is said of one and is not so.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::ids::{RunId, SessionId};

/// What kind of thing was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// A process that lives, marked as that of a session that has ended.
    Process,
    /// A port on which such a process listens, or that the server keeps for no session.
    Port,
    /// The lock of an X display whose server has ended.
    DisplayLock,
    /// The socket of an X display on which nobody listens.
    DisplaySocket,
    /// A segment of System V's shared memory whose maker has ended.
    SharedMemory,
    /// A control group of a session that has ended.
    ControlGroup,
    /// Secrets or scratch in the directory of a session that has ended.
    Directory,
    /// A row that says that something lives, of which this server has no actor, or whose programs
    /// have ended.
    Row,
    /// A file among the artifacts that no row names, or a row whose file is gone.
    Artifact,
}

impl LeakKind {
    /// As the API writes it.
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

/// One thing that was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// What kind of thing.
    pub kind: LeakKind,
    /// Which one: `process 812 (chromium)`, a path, `segment 32768`. With the kind, it tells one
    /// leak from another.
    pub what: String,
    /// Whose it was.
    pub session: Option<SessionId>,
    /// Whose it was, if a run's.
    pub run: Option<RunId>,
    /// Since when it is there, as far as that can be known.
    pub since: Option<DateTime<Utc>>,
    /// Why it should not be there.
    pub why: String,
    /// Whether it would be removed when that is asked for: it is provably ours.
    pub fixable: bool,
    /// How it is removed, or why it is left alone.
    pub remedy: String,
}

impl Leak {
    /// Whether both are of the same thing.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.what == other.what
    }
}
