//! Telling clients' servers what has happened: where, what, and what became of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::hmac::Signer;
use super::ids::{
    OrganizationId, RunId, SessionId, WebhookDeliveryId, WebhookId, WebhookMessageId,
};
use super::session::NotAStatus;

/// Where an organization is told of events.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Its name.
    pub id: WebhookId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Where to.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// Of which kinds of events; all if it is empty.
    pub kinds: Vec<EventKind>,
    /// Signs what is sent.
    pub signer: Signer,
    /// The one before, which signs as well until then.
    pub former: Option<(Signer, DateTime<Utc>)>,
    /// Whether nothing is sent at present.
    pub paused: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub modified_at: DateTime<Utc>,
}

/// Whether something has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// It is to be told, at once or again.
    Pending,
    /// It was told.
    Delivered,
    /// It was given up.
    Failed,
}

impl MessageStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// As the API and the tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for MessageStatus {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(NotAStatus)
    }
}

/// Something that is to be told, or was.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookMessage {
    /// Its name, the same each time it is sent.
    pub id: WebhookMessageId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Of which webhook; none for the one that a run was started with.
    pub webhook: Option<WebhookId>,
    /// The run that it tells of.
    pub run: Option<RunId>,
    /// The session that it tells of.
    pub session: Option<SessionId>,
    /// The number of the event that it tells of; none for the end of a run.
    pub event: Option<i64>,
    /// What it tells.
    pub kind: EventKind,
    /// Where to.
    pub url: String,
    /// What is sent, from when it was first to be.
    pub body: Option<String>,
    /// Whether it was told.
    pub status: MessageStatus,
    /// How often that was tried.
    pub attempts: i32,
    /// Why it was not told, the last time.
    pub error: Option<String>,
    /// When it is to be tried; while it is being tried, when somebody else may.
    pub due_at: DateTime<Utc>,
    /// Since when it is to be told.
    pub created_at: DateTime<Utc>,
    /// When it was told or given up.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One attempt to tell something, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookDelivery {
    /// Its name.
    pub id: WebhookDeliveryId,
    /// What was to be told.
    pub message: WebhookMessageId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Where it was sent.
    pub url: String,
    /// From 1, rising.
    pub attempt: i32,
    /// The status of the answer, if there was one.
    pub status_code: Option<i32>,
    /// The beginning of the answer.
    pub response: Option<String>,
    /// Why it was not told.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_milliseconds: i64,
    /// When it was sent.
    pub created_at: DateTime<Utc>,
}
