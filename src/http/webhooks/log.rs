//! The log of messages and deliveries, and the replay of a message.

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::endpoints;
use crate::db::webhook_messages::{self as messages, Of};
use crate::db::{self, Page, webhook_deliveries};
use crate::domain::ids::{OrganizationId, RunId, WebhookId, WebhookMessageId};
use crate::domain::masking::masked_url;
use crate::domain::webhook::{MessageStatus, WebhookDelivery, WebhookMessage};
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging::{Listed, mark};
use crate::http::problem::Problem;
use crate::http::runs;

/// The name of the lists in cursors.
const LIST: &str = "webhook_messages";

/// The maximum number of messages in a list; `USUAL` is the default.
const MOST: u32 = 100;
const USUAL: u32 = 20;

/// The query of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Only messages before this one, `wm_…`.
    #[param(value_type = Option<String>)]
    before: Option<WebhookMessageId>,
    /// The number of messages, 1 to 100; 20 by default.
    limit: Option<u32>,
    /// The `x-next-cursor` of the part before.
    cursor: Option<String>,
}

/// A message to a webhook, delivered or not.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageResource {
    /// The id of the message, `wm_…`. All attempts send it in the header `webhook-id`.
    pub message_id: String,
    /// The webhook, `wh_…`; null for the end of a run that names its own webhook URL.
    pub webhook_id: Option<String>,
    /// The kind of the event.
    pub kind: &'static str,
    /// The number of the event, if the message reports one.
    pub event_seq: Option<i64>,
    /// The run that the message reports about.
    pub run_id: Option<String>,
    /// The session that the message reports about.
    pub browser_session_id: Option<String>,
    /// The URL to which the message is delivered.
    pub url: String,
    /// The status: `pending`, `delivered` or `failed`.
    pub status: &'static str,
    /// The number of attempts so far.
    pub attempts: i32,
    /// The reason why the last attempt failed.
    pub error: Option<String>,
    /// The time of the next attempt.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The time at which the message was created.
    pub created_at: DateTime<Utc>,
    /// The time at which the message was delivered or abandoned.
    pub finished_at: Option<DateTime<Utc>>,
    /// The attempts, oldest first.
    pub deliveries: Vec<DeliveryResource>,
    /// The body that is sent. Only in the response for a single message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// One attempt to deliver a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryResource {
    /// The id of the attempt, `wd_…`.
    pub delivery_id: String,
    /// The number of the attempt, from 1.
    pub attempt: i32,
    /// The status of the response.
    pub status_code: Option<i32>,
    /// The beginning of the response body.
    pub response_body: Option<String>,
    /// The reason why the attempt failed.
    pub error: Option<String>,
    /// The time that the attempt took, in milliseconds.
    pub latency_ms: i64,
    /// The time at which the request was sent.
    pub at: DateTime<Utc>,
}

impl From<&WebhookDelivery> for DeliveryResource {
    fn from(delivery: &WebhookDelivery) -> Self {
        Self {
            delivery_id: delivery.id.to_string(),
            attempt: delivery.attempt,
            status_code: delivery.status_code,
            response_body: delivery.response.clone(),
            error: delivery.error.clone(),
            latency_ms: delivery.latency_milliseconds,
            at: delivery.created_at,
        }
    }
}

impl MessageResource {
    fn of(message: &WebhookMessage, deliveries: &[WebhookDelivery]) -> Self {
        let own = deliveries.iter().filter(|delivery| delivery.message == message.id);
        let pending = message.status == MessageStatus::Pending;
        Self {
            message_id: message.id.to_string(),
            webhook_id: message.webhook.map(|id| id.to_string()),
            kind: message.kind.as_str(),
            event_seq: message.event,
            run_id: message.run.map(|id| id.to_string()),
            browser_session_id: message.session.map(|id| id.to_string()),
            url: masked_url(&message.url),
            status: message.status.as_str(),
            attempts: message.attempts,
            error: message.error.clone(),
            next_attempt_at: pending.then_some(message.due_at),
            created_at: message.created_at,
            finished_at: message.finished_at,
            deliveries: own.map(DeliveryResource::from).collect(),
            payload: None,
        }
    }
}

async fn listed(
    front: &Front,
    organization: OrganizationId,
    of: Of,
    Params { before, limit, cursor }: Params,
) -> Result<Listed<MessageResource>, ApiError> {
    let size = limit.unwrap_or(USUAL).clamp(1, MOST);
    let page = Page { after: mark(LIST, cursor.as_deref())?, ..Page::first(size) };
    let found = messages::list(&front.db, organization, of, before, page).await?;
    let ids = found.iter().map(|message| message.id).collect();
    let deliveries = webhook_deliveries::of(&front.db, ids).await?;
    let shown = found.iter().map(|message| MessageResource::of(message, &deliveries)).collect();
    Ok(Listed::of(LIST, size, &found, shown))
}

/// Lists the messages of a webhook, newest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook_id}/messages",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "`wh_…`"), Params),
    responses(
        (
            status = 200,
            description = "The messages",
            body = Vec<MessageResource>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
        (status = 404, description = "There is no such webhook"),
    ),
)]
pub async fn of_webhook(
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<MessageResource>, ApiError> {
    endpoints::find(&front, caller.organization, id).await?;
    listed(&front, caller.organization, Of::Webhook(id), params).await
}

/// Lists the messages about the end of a run, newest first.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/webhook_messages",
    tag = "Webhooks",
    params(("run_id" = String, Path, description = "`wr_…`"), Params),
    responses(
        (
            status = 200,
            description = "The messages",
            body = Vec<MessageResource>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn of_run(
    caller: Caller,
    PathId(id): PathId<RunId>,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<MessageResource>, ApiError> {
    runs::find(&front, caller.organization, id).await?;
    listed(&front, caller.organization, Of::Run(id), params).await
}

async fn find(
    front: &Front,
    organization: OrganizationId,
    id: WebhookMessageId,
) -> Result<WebhookMessage, ApiError> {
    let found = messages::by_id(&front.db, organization, id).await?;
    found.ok_or_else(|| Problem::unknown::<WebhookMessageId>(id).into())
}

/// Returns one message, with the body that is sent.
#[utoipa::path(
    get,
    path = "/v1/webhook_messages/{message_id}",
    tag = "Webhooks",
    params(("message_id" = String, Path, description = "`wm_…`")),
    responses(
        (status = 200, description = "The message", body = MessageResource),
        (status = 404, description = "There is no such message"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<WebhookMessageId>,
    front: Data<Front>,
) -> Result<Json<MessageResource>, ApiError> {
    let message = find(&front, caller.organization, id).await?;
    let deliveries = webhook_deliveries::of(&front.db, vec![id]).await?;
    let resource = MessageResource::of(&message, &deliveries);
    Ok(Json(MessageResource { payload: message.body, ..resource }))
}

/// Replays a message, whatever its status: as a new message with the same content.
#[utoipa::path(
    post,
    path = "/v1/webhook_messages/{message_id}/replay",
    tag = "Webhooks",
    params(("message_id" = String, Path, description = "`wm_…`")),
    responses(
        (status = 200, description = "The new message", body = MessageResource),
        (status = 404, description = "There is no such message"),
        (status = 410, description = "Its webhook was removed"),
    ),
)]
pub async fn replay(
    caller: Caller,
    PathId(id): PathId<WebhookMessageId>,
    front: Data<Front>,
) -> Result<Json<MessageResource>, ApiError> {
    let former = find(&front, caller.organization, id).await?;
    if let Some(webhook) = former.webhook
        && db::webhooks::by_id(&front.db, caller.organization, webhook).await?.is_none()
    {
        let status = actix_web::http::StatusCode::GONE;
        let detail = format!("webhook {webhook} was removed");
        return Err(Problem::new(status, "webhook_removed", detail).into());
    }
    let now = front.world.clock.now();
    let message = WebhookMessage {
        id: front.world.mint.mint(now),
        status: MessageStatus::Pending,
        attempts: 0,
        error: None,
        due_at: now,
        created_at: now,
        finished_at: None,
        ..former
    };
    messages::insert(&front.db, &message).await?;
    front.webhooks.wake();
    Ok(Json(MessageResource::of(&message, &[])))
}
