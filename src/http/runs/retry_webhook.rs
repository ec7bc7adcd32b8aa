//! `POST /v1/runs/{id}/retry_webhook`: the end of a run is told once more, and the answer says how
//! that went.

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
use crate::http::webhooks;

/// The body of the request.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = RetryWebhookRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Where to tell it, if not where the run says.
    webhook_url: Option<String>,
}

/// How it went.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetriedWebhook {
    /// `wr_…`.
    pub run_id: String,
    /// `workflow_run`.
    pub run_type: &'static str,
    /// Where the run says that it is to be told.
    pub default_webhook_url: Option<String>,
    /// Where it was told.
    pub target_webhook_url: String,
    /// What was sent, as it was signed.
    pub payload: String,
    /// With which headers.
    pub headers: BTreeMap<&'static str, String>,
    /// The status of the answer.
    pub status_code: Option<u16>,
    /// How long the answer took.
    pub latency_ms: i64,
    /// The beginning of the answer.
    pub response_body: Option<String>,
    /// Why it was not told.
    pub error: Option<String>,
}

/// Tells the end of a run once more, and answers how that went.
#[utoipa::path(
    post,
    path = "/v1/runs/{run_id}/retry_webhook",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "It was tried, see `error`", body = RetriedWebhook),
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
        let why = format!("run {id} is {}; its webhook tells of its end", run.status);
        return Err(not("run_not_ended", why).into());
    }
    let Some(url) = webhook_url.or_else(|| usual.clone()) else {
        return Err(not("no_webhook", format!("run {id} names no webhook")).into());
    };
    let signing = front.keys.of_webhook(organization, run.api_key).await?;
    let (signing, signer) =
        signing.ok_or_else(|| not("no_key", "there is no key to sign with".to_owned()))?;
    let body = webhooks::body_of_run(&front, signing, id).await?;
    let now = front.world.clock.now();
    let headers = webhooks::headers_of_run(&signer, &body, now);
    let attempt = front.webhooks.send(&url, &headers, body.clone()).await;

    let told = attempt.error.is_none();
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
        status: if told { MessageStatus::Delivered } else { MessageStatus::Failed },
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
