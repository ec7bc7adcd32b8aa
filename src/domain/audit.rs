//! The audit trail: the state-changing messages that were routed, and their outcomes.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ids::{AuditEventId, OrganizationId, RunId, SessionId};

/// A state-changing message, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    pub id: AuditEventId,
    /// The message's number in the journal of the server that routed it.
    pub message_id: i64,
    /// The message that caused this one.
    pub cause: Option<i64>,
    /// The requested operation: `begin`, `release`, `create`, `close`.
    pub kind: String,
    /// The actor that sent the message.
    pub sender: String,
    /// The actor that received the message.
    pub receiver: String,
    /// The organization that owns the session or run.
    pub organization: Option<OrganizationId>,
    /// The session that the message concerns.
    pub session: Option<SessionId>,
    /// The run that the message concerns.
    pub run: Option<RunId>,
    /// `done`, `refused`, `failed`, `unanswered`.
    pub outcome: String,
    /// Details, with secrets redacted.
    pub summary: Value,
    /// The id of the key of the request that caused it; `operator` for the operator key of the
    /// server's settings.
    pub key: Option<String>,
    /// The address of the client that sent the request.
    pub address: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
    /// The time at which the message was sent.
    pub at: DateTime<Utc>,
}
