//! The audit trail: which state-changing messages passed, and what became of them.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ids::{AuditEventId, OrganizationId, RunId, SessionId};

/// A state-changing message as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// Its name.
    pub id: AuditEventId,
    /// The message's number in the journal of the server that passed it.
    pub message_id: i64,
    /// The message that caused it.
    pub cause: Option<i64>,
    /// What was asked: `begin`, `release`, `create`, `close`.
    pub kind: String,
    /// Who asked.
    pub sender: String,
    /// Who was asked.
    pub receiver: String,
    /// Whose session or run it concerns.
    pub organization: Option<OrganizationId>,
    /// Which session.
    pub session: Option<SessionId>,
    /// Which run.
    pub run: Option<RunId>,
    /// `done`, `refused`, `failed`, `unanswered`.
    pub outcome: String,
    /// Redacted details.
    pub summary: Value,
    /// When it was sent.
    pub at: DateTime<Utc>,
}
