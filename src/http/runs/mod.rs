//! `/v1/runs` and `/v1/run/…`: workflow runs.
//!
//! The routes, fields and statuses are those of the compatible API. Greenroom adds `version` and
//! `?after=`, and the members `blocks`, `waiting_for` and `failure` of a run.

pub mod artifacts;
pub mod cancel;
pub mod legacy;
pub mod list;
pub mod resume;
pub mod retry;
pub mod retry_webhook;
pub mod show;
pub mod start;
pub mod timeline;

use actix_web::web::{ServiceConfig, get, post};

use super::error::ApiError;
use super::front::Front;
use super::workflows::NAMES;
use crate::db;
use crate::db::webhook_messages::Of;
use crate::domain::run::RunRecord;
use crate::domain::webhook::MessageStatus;
pub(super) use crate::service::lookup::{artifacts_of, run as find};

/// Adds the routes. They must come before those of `/v1/workflows/{id}`.
pub fn routes(config: &mut ServiceConfig) {
    for name in NAMES {
        let of = |rest: &str| format!("/v1/{name}{rest}");
        config
            .route(&format!("/v1/run/{name}"), post().to(start::start))
            .route(&format!("/v1/run/{name}/blocks"), post().to(start::start_blocks))
            .route(&of("/runs"), get().to(list::workflow_runs))
            .route(&of("/runs/{run}"), get().to(show::show_with_workflow))
            .route(&of("/runs/{run}/continue"), post().to(resume::resume))
            .route(&of("/runs/{run}/retry"), post().to(retry::retry))
            .route(&of("/{workflow}/runs"), get().to(list::runs_of_workflow));
    }
    config
        .route("/v1/runs", get().to(list::runs))
        .route("/v1/runs/cancel", post().to(cancel::cancel_several))
        .route("/v1/runs/{run}", get().to(show::show))
        .route("/v1/runs/{run}/cancel", post().to(cancel::cancel))
        .route("/v1/runs/{run}/retry_webhook", post().to(retry_webhook::retry_webhook))
        .route("/v1/runs/{run}/timeline", get().to(timeline::timeline))
        .route("/v1/runs/{run}/artifacts", get().to(artifacts::artifacts))
        .route("/v1/browser_sessions/{session}/workflow_runs", get().to(list::runs_of_session));
    legacy::routes(config);
}

/// Returns the reason why the end of a run could not be delivered to its webhook, if the delivery
/// failed.
pub(super) async fn webhook_failure(
    front: &Front,
    run: &RunRecord,
) -> Result<Option<String>, ApiError> {
    if asked_webhook(run).is_none() || !run.status.is_final() {
        return Ok(None);
    }
    let of = Of::Run(run.id);
    let latest =
        db::webhook_messages::list(&front.db, run.organization, of, None, db::Page::first(1))
            .await?;
    let failed = latest.into_iter().next().filter(|it| it.status == MessageStatus::Failed);
    Ok(failed.and_then(|message| message.error))
}

/// Returns the URL of the run's webhook.
pub(super) fn asked_webhook(run: &RunRecord) -> Option<&str> {
    run.request.get("webhook_url")?.as_str().map(str::trim).filter(|url| !url.is_empty())
}
