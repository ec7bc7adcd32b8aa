//! Webhooks: the subscriptions of clients' servers, the messages for them, and their deliveries.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::hmac::Signer;
use super::ids::{
    OrganizationId, RunId, SessionId, WebhookDeliveryId, WebhookId, WebhookMessageId,
};
use super::session::NotAStatus;

/// The subscription by which an organization receives events.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub id: WebhookId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The URL that receives the events.
    pub url: String,
    pub description: Option<String>,
    /// The kinds of events to deliver; all kinds if it is empty.
    pub kinds: Vec<EventKind>,
    /// The signer of the requests.
    pub signer: Signer,
    /// The previous signer, which also signs until the given time.
    pub former: Option<(Signer, DateTime<Utc>)>,
    /// True while deliveries are paused.
    pub paused: bool,
    /// The time of its creation.
    pub created_at: DateTime<Utc>,
    /// The time of its last change.
    pub modified_at: DateTime<Utc>,
}

/// The status of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// The message is to be delivered, for the first time or again.
    Pending,
    /// The message was delivered.
    Delivered,
    /// The delivery was abandoned after its last attempt.
    Failed,
}

impl MessageStatus {
    /// Every status, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// Returns the value used in the API and the tables.
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

/// A message to be delivered, or one that was.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookMessage {
    /// The id, the same in every attempt.
    pub id: WebhookMessageId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The webhook that receives it; none for the one that a run was started with.
    pub webhook: Option<WebhookId>,
    /// The run that it reports.
    pub run: Option<RunId>,
    /// The session that it reports.
    pub session: Option<SessionId>,
    /// The number of the event that it reports; none for the end of a run.
    pub event: Option<i64>,
    /// The kind of event that it reports.
    pub kind: EventKind,
    /// The URL that receives it.
    pub url: String,
    /// The body to be sent, from the time at which it was first due.
    pub body: Option<String>,
    pub status: MessageStatus,
    /// The number of delivery attempts so far.
    pub attempts: i32,
    /// The reason why the last attempt failed.
    pub error: Option<String>,
    /// The time at which the next attempt is due; during an attempt, the time from which another
    /// worker may try.
    pub due_at: DateTime<Utc>,
    /// The time at which the message was created.
    pub created_at: DateTime<Utc>,
    /// The time at which it was delivered or abandoned.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One delivery attempt, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookDelivery {
    pub id: WebhookDeliveryId,
    /// The message that was to be delivered.
    pub message: WebhookMessageId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The URL to which it was sent.
    pub url: String,
    /// The number of the attempt, from 1.
    pub attempt: i32,
    /// The status of the response, if there was one.
    pub status_code: Option<i32>,
    /// The beginning of the response's body.
    pub response: Option<String>,
    /// The reason why the attempt failed.
    pub error: Option<String>,
    /// The duration of the attempt, in milliseconds.
    pub latency_milliseconds: i64,
    /// The time at which it was sent.
    pub created_at: DateTime<Utc>,
}
