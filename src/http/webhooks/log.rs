//! What was told, how that went, and telling it once more.

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::endpoints;
use crate::db::webhook_messages::{self as messages, Of};
use crate::db::{self, webhook_deliveries};
use crate::domain::ids::{OrganizationId, RunId, WebhookId, WebhookMessageId};
use crate::domain::masking::masked_url;
use crate::domain::webhook::{MessageStatus, WebhookDelivery, WebhookMessage};
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::runs;

/// How many messages a list has at most, and unless it is said.
const MOST: u32 = 100;
const USUAL: u32 = 20;

/// The query of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Only those before this one, `wm_…`.
    #[param(value_type = Option<String>)]
    before: Option<WebhookMessageId>,
    /// How many at most: 1 to 100, usually 20.
    limit: Option<u32>,
}

/// Something that is to be told, or was.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageResource {
    /// `wm_…`, the same each time that it is sent: the header `webhook-id`.
    pub message_id: String,
    /// `wh_…`; null for the end of a run that names where to tell it.
    pub webhook_id: Option<String>,
    /// What it tells.
    pub kind: &'static str,
    /// The event that it tells of.
    pub event_seq: Option<i64>,
    /// The run that it tells of.
    pub run_id: Option<String>,
    /// The session that it tells of.
    pub browser_session_id: Option<String>,
    /// Where to.
    pub url: String,
    /// `pending`, `delivered` or `failed`.
    pub status: &'static str,
    /// How often it was tried.
    pub attempts: i32,
    /// Why it was not told, the last time.
    pub error: Option<String>,
    /// When it is tried next.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Since when it is to be told.
    pub created_at: DateTime<Utc>,
    /// When it was told or given up.
    pub finished_at: Option<DateTime<Utc>>,
    /// The attempts, the oldest first.
    pub deliveries: Vec<DeliveryResource>,
    /// What is sent; only where one message is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryResource {
    /// `wd_…`.
    pub delivery_id: String,
    /// From 1, rising.
    pub attempt: i32,
    /// The status of the answer.
    pub status_code: Option<i32>,
    /// The beginning of the answer.
    pub response_body: Option<String>,
    /// Why it was not told.
    pub error: Option<String>,
    /// How long it took.
    pub latency_ms: i64,
    /// When it was sent.
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
    Wish { before, limit }: Wish,
) -> Result<Json<Vec<MessageResource>>, ApiError> {
    let limit = limit.unwrap_or(USUAL).clamp(1, MOST);
    let found = messages::list(&front.db, organization, of, before, limit).await?;
    let ids = found.iter().map(|message| message.id).collect();
    let deliveries = webhook_deliveries::of(&front.db, ids).await?;
    Ok(Json(found.iter().map(|message| MessageResource::of(message, &deliveries)).collect()))
}

/// What a webhook has told and is to tell, the newest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook_id}/messages",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "`wh_…`"), Wish),
    responses(
        (status = 200, description = "The messages", body = Vec<MessageResource>),
        (status = 404, description = "There is no such webhook"),
    ),
)]
pub async fn of_webhook(
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    Query(wish): Query<Wish>,
    front: Data<Front>,
) -> Result<Json<Vec<MessageResource>>, ApiError> {
    endpoints::find(&front, caller.organization, id).await?;
    listed(&front, caller.organization, Of::Webhook(id), wish).await
}

/// How the end of a run was told, the newest first.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/webhook_messages",
    tag = "Webhooks",
    params(("run_id" = String, Path, description = "`wr_…`"), Wish),
    responses(
        (status = 200, description = "The messages", body = Vec<MessageResource>),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn of_run(
    caller: Caller,
    PathId(id): PathId<RunId>,
    Query(wish): Query<Wish>,
    front: Data<Front>,
) -> Result<Json<Vec<MessageResource>>, ApiError> {
    runs::find(&front, caller.organization, id).await?;
    listed(&front, caller.organization, Of::Run(id), wish).await
}

async fn find(
    front: &Front,
    organization: OrganizationId,
    id: WebhookMessageId,
) -> Result<WebhookMessage, ApiError> {
    let found = messages::by_id(&front.db, organization, id).await?;
    found.ok_or_else(|| Problem::unknown::<WebhookMessageId>(id).into())
}

/// One message, with what is sent.
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
pub async fn look(
    caller: Caller,
    PathId(id): PathId<WebhookMessageId>,
    front: Data<Front>,
) -> Result<Json<MessageResource>, ApiError> {
    let message = find(&front, caller.organization, id).await?;
    let deliveries = webhook_deliveries::of(&front.db, vec![id]).await?;
    let resource = MessageResource::of(&message, &deliveries);
    Ok(Json(MessageResource { payload: message.body, ..resource }))
}

/// Tells something once more, whatever became of it: as a message of its own, with the same
/// content.
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
