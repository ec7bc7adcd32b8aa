//! The drain state of the server.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// The state of a server that accepts no new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Draining {
    /// The time at which the drain began.
    pub since: DateTime<Utc>,
    /// The time by which work under way should have ended. Only a stop ends it then.
    pub deadline: Option<DateTime<Utc>>,
    /// True if the server is being shut down, which cannot be undone.
    pub stopping: bool,
}
