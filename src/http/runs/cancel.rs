//! `POST /v1/runs/{id}/cancel` and `POST /v1/runs/cancel`: cancels runs.

use actix_web::web::{Data, Json};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::actors::registry::{CancelRun, RunRouteError};
use crate::actors::run::Cancel;
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

/// The maximum number of runs that one request cancels.
const MOST: usize = 100;

/// Cancels a run, and resolves when it has released its session. True if the run had not ended
/// before.
async fn call_off(
    front: &Front,
    organization: OrganizationId,
    run: RunId,
) -> Result<bool, ApiError> {
    let why = "canceled through the API".to_owned();
    match front.registry.ask(CancelRun { organization, run, message: Cancel { why } }).await? {
        Ok(_) => Ok(true),
        // A run that has ended stays as it is.
        Err(RunRouteError::Unknown(_)) => {
            super::find(front, organization, run).await?;
            Ok(false)
        }
        Err(cause) => Err(cause.into()),
    }
}

/// Cancels a run. The response is sent when the run has ended; canceling an ended run is no error.
#[utoipa::path(
    post,
    path = "/v1/runs/{run_id}/cancel",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    responses(
        (status = 200, description = "null"),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn cancel(
    caller: Caller,
    PathId(id): PathId<RunId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    call_off(&front, caller.organization, id).await?;
    Ok(Json(Value::Null))
}

/// Handles the legacy route `POST /api/v1/runs/{session}/workflow_run/{run}/cancel`.
pub async fn cancel_in_session(
    caller: Caller,
    PathId((_, id)): PathId<(SessionId, RunId)>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    call_off(&front, caller.organization, id).await?;
    Ok(Json(Value::Null))
}

/// The runs to cancel.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CancelRunsRequest)]
#[serde(deny_unknown_fields)]
pub struct Several {
    /// The ids of the runs, at most 100.
    run_ids: Vec<String>,
}

/// The results of canceling several runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelRunsResponse)]
pub struct Called {
    /// The runs that were canceled.
    cancelled: Vec<String>,
    /// The runs that had ended already, or do not exist.
    failed: Vec<String>,
}

/// Cancels several runs at once.
#[utoipa::path(
    post,
    path = "/v1/runs/cancel",
    tag = "Runs",
    request_body = Several,
    responses(
        (status = 200, description = "The outcome for each run", body = Called),
        (status = 422, description = "The list has too many runs"),
    ),
)]
pub async fn cancel_several(
    caller: Caller,
    body: Body<Several>,
    front: Data<Front>,
) -> Result<Json<Called>, ApiError> {
    let Body(Several { mut run_ids }) = body;
    let mut fields = Fields::new();
    fields.require("run_ids", run_ids.len(), run_ids.len() <= MOST, "expected at most 100");
    fields.finish()?;
    run_ids.sort_unstable();
    run_ids.dedup();

    let outcomes = run_ids.iter().map(async |text| match text.parse() {
        Ok(id) => call_off(&front, caller.organization, id).await.unwrap_or(false),
        Err(_) => false,
    });
    let outcomes = join_all(outcomes).await;
    let mut called = Called { cancelled: Vec::new(), failed: Vec::new() };
    for (id, was_called_off) in run_ids.into_iter().zip(outcomes) {
        if was_called_off { &mut called.cancelled } else { &mut called.failed }.push(id);
    }
    Ok(Json(called))
}
