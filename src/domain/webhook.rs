//! What became of an attempt to tell a client's server about a run or a session.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ids::{OrganizationId, RunId, SessionId, WebhookDeliveryId};

/// One attempt to deliver, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookDelivery {
    /// Its name.
    pub id: WebhookDeliveryId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The run that it tells of.
    pub run: Option<RunId>,
    /// The session that it tells of.
    pub session: Option<SessionId>,
    /// Where it was sent.
    pub url: String,
    /// From 1, rising.
    pub attempt: i32,
    /// The status of the answer, if there was one.
    pub status_code: Option<i32>,
    /// Why there was no answer.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_milliseconds: i64,
    /// What was sent.
    pub payload: Value,
    /// When it was sent.
    pub created_at: DateTime<Utc>,
}
