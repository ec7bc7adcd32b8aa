//! A debug session as it is opened: the stored one, and the one that it replaced.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::debug_session::DebugSession;
use crate::domain::ids::SessionId;

/// The reason why a debug session was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The debug session had not been used for too long.
    Expired,
    /// The browser session had been closed.
    SessionClosed,
    /// The browser session had failed.
    SessionFailed,
    /// The browser session had reached the end of its lifetime.
    SessionTimedOut,
    /// The replacement was requested.
    Requested,
    /// No client had watched it, driven it or run a block in it for too long.
    Unused,
}

/// The replaced debug session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The reason for the replacement.
    pub reason: Reason,
    /// The browser session of the replaced debug session.
    pub session: SessionId,
}

/// A debug session that can be used.
#[derive(Debug)]
pub struct Opened {
    /// The debug session as it is stored.
    pub debug: DebugSession,
    /// The debug session that it has replaced, if any.
    pub replaced: Option<Replaced>,
    /// The version of the owner's profile that it starts from, if it was made now from one.
    pub profile_version: Option<i64>,
}
