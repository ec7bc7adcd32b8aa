//! Debug sessions as values: which long-lived session a person uses for a workflow.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{DebugSessionId, OrganizationId, SessionId, WorkflowPermanentId};
use super::session::NotAStatus;

/// What the API shows of a debug session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebugSessionStatus {
    /// It is the one that its user gets for its workflow.
    Created,
    /// It has been replaced, or its time was over. It never changes again.
    Completed,
}

impl DebugSessionStatus {
    /// As the API and the tables write it.
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

/// A debug session as it is stored. Of those of one organization, user and workflow, at most one
/// is [`Created`](DebugSessionStatus::Created).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugSession {
    /// Its name.
    pub id: DebugSessionId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Which person's, as the client names them.
    pub user: String,
    /// For which workflow.
    pub workflow_permanent_id: WorkflowPermanentId,
    /// The browser session behind it.
    pub session: SessionId,
    /// How it stands.
    pub status: DebugSessionStatus,
    /// When it ends unless it is used before.
    pub expires_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When this record was last written.
    pub modified_at: DateTime<Utc>,
}
