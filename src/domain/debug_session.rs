//! Debug sessions as values: the long-lived session that a person uses for a workflow.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{DebugSessionId, OrganizationId, SessionId, WorkflowPermanentId};
use super::session::NotAStatus;

/// The status of a debug session, as shown in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebugSessionStatus {
    /// The session is the one that its user gets for its workflow.
    Created,
    /// The session has been replaced, or has expired. This status is final.
    Completed,
}

impl DebugSessionStatus {
    /// Returns the value used in the API and the tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for DebugSessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DebugSessionStatus {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        [Self::Created, Self::Completed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(NotAStatus)
    }
}

/// A debug session, as stored. At most one per organization, user and workflow is
/// [`Created`](DebugSessionStatus::Created).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugSession {
    pub id: DebugSessionId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The person who uses it, as named by the client.
    pub user: String,
    /// The workflow that it is used for.
    pub workflow_permanent_id: WorkflowPermanentId,
    /// The browser session behind it.
    pub session: SessionId,
    pub status: DebugSessionStatus,
    /// The time at which it ends unless it is used before.
    pub expires_at: DateTime<Utc>,
    /// The time of its creation.
    pub created_at: DateTime<Utc>,
    /// The time at which this record was last written.
    pub modified_at: DateTime<Utc>,
}
