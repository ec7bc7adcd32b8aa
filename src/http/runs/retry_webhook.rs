//! `POST /v1/runs/{id}/retry_webhook`: reports the end of a run once more, and returns the result of
//! the delivery.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asked_webhook;
use crate::db;
use crate::domain::event::EventKind;
use crate::domain::ids::RunId;
use crate::domain::masking::masked_url;
use crate::domain::webhook::{MessageStatus, WebhookMessage};
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::service::webhooks;

/// The body of the request.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = RetryWebhookRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The URL to report to, in place of the run's own.
    webhook_url: Option<String>,
}

/// The result of the delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetriedWebhook {
    /// The id of the run, `wr_…`.
    pub run_id: String,
    /// Always `workflow_run`, the only type.
    pub run_type: &'static str,
    /// The URL that the run names for its webhook.
    pub default_webhook_url: Option<String>,
    /// The URL to which the request was sent.
    pub target_webhook_url: String,
    /// The body that was sent, exactly as it was signed.
    pub payload: String,
    /// The headers that were sent.
    pub headers: BTreeMap<&'static str, String>,
    /// The status of the response.
    pub status_code: Option<u16>,
    /// The time until the response, in milliseconds.
    pub latency_ms: i64,
    /// The beginning of the response body.
    pub response_body: Option<String>,
    /// The reason why the delivery failed.
    pub error: Option<String>,
}

/// Reports the end of a run once more, and returns the result of the delivery.
#[utoipa::path(
    post,
    path = "/v1/runs/{run_id}/retry_webhook",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The delivery was tried; `error` has the cause of a failure", body = RetriedWebhook),
        (status = 400, description = "The run has not ended, or names no webhook"),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn retry_webhook(
    caller: Caller,
    PathId(id): PathId<RunId>,
    Body(Request { webhook_url }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<RetriedWebhook>, ApiError> {
    let organization = caller.organization;
    let run = super::find(&front, organization, id).await?.record;
    let usual = asked_webhook(&run).map(str::to_owned);
    let not = |code: &'static str, why: String| Problem::new(StatusCode::BAD_REQUEST, code, why);
    if !run.status.is_final() {
        let why = format!("run {id} is {}; its webhook is called when it ends", run.status);
        return Err(not("run_not_ended", why).into());
    }
    let Some(url) = webhook_url.or_else(|| usual.clone()) else {
        return Err(not("no_webhook", format!("run {id} names no webhook")).into());
    };
    let signing = front.keys.of_webhook(organization, run.api_key).await?;
    let (signing, signer) = signing
        .ok_or_else(|| not("no_key", "the organization has no key to sign with".to_owned()))?;
    let body = webhooks::body_of_run(&front, signing, id).await?;
    let now = front.world.clock.now();
    let headers = webhooks::headers_of_run(&signer, &body, now);
    let attempt = front.webhooks.send(&url, &headers, body.clone()).await;

    let is_delivered = attempt.error.is_none();
    let message = WebhookMessage {
        id: front.world.mint.mint(now),
        organization,
        webhook: None,
        run: Some(id),
        session: run.session,
        event: None,
        kind: EventKind::RunEnded,
        url: url.clone(),
        body: Some(body.clone()),
        status: if is_delivered { MessageStatus::Delivered } else { MessageStatus::Failed },
        attempts: 1,
        error: attempt.error.clone(),
        due_at: now,
        created_at: now,
        finished_at: Some(front.world.clock.now()),
    };
    db::webhook_messages::insert(&front.db, &message).await?;
    let delivery = webhooks::delivery(&front, &message, &url, &attempt, now);
    db::webhook_messages::tried(&front.db, &message, Some(&delivery)).await?;
    Ok(Json(RetriedWebhook {
        run_id: id.to_string(),
        run_type: "workflow_run",
        default_webhook_url: usual.as_deref().map(masked_url),
        target_webhook_url: masked_url(&url),
        payload: body,
        headers: headers.into_iter().collect(),
        status_code: attempt.status,
        latency_ms: attempt.milliseconds(),
        response_body: attempt.response,
        error: attempt.error,
    }))
}
