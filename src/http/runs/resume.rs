//! `POST /v1/workflows/runs/{id}/continue`: resumes a paused run for a person.

use actix_web::web::{Data, Json};
use serde_json::Value;

use crate::actors::registry::{ContinueRun, RunRouteError};
use crate::actors::run::{Continue, RunError};
use crate::domain::ids::RunId;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Resumes a paused run.
#[utoipa::path(
    post,
    path = "/v1/workflows/runs/{run_id}/continue",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    responses(
        (status = 200, description = "null"),
        (status = 404, description = "There is no such run"),
        (status = 409, description = "The run is not paused"),
    ),
)]
pub async fn resume(
    caller: Caller,
    PathId(id): PathId<RunId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let organization = caller.organization;
    match front.registry.ask(ContinueRun { organization, run: id, message: Continue }).await? {
        Ok(()) => Ok(Json(Value::Null)),
        Err(RunRouteError::Unknown(_)) => {
            let status = super::find(&front, organization, id).await?.record.status;
            Err(RunRouteError::Run(RunError::NotPaused { status }).into())
        }
        Err(cause) => Err(cause.into()),
    }
}
