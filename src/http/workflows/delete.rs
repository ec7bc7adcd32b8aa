//! `POST /v1/workflows/{id}/delete`: deletes a workflow; its runs are kept.

use actix_web::web::{Data, Json};
use serde_json::Value;

use crate::db;
use crate::domain::ids::WorkflowPermanentId;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;

/// Deletes a workflow with all its versions.
#[utoipa::path(
    post,
    path = "/v1/workflows/{workflow_permanent_id}/delete",
    tag = "Workflows",
    params(("workflow_permanent_id" = String, Path, description = "`wpid_…`")),
    responses(
        (status = 200, description = "null"),
        (status = 404, description = "There is no such workflow"),
    ),
)]
pub async fn delete(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    if db::workflows::delete(&front.db, caller.organization, id).await? {
        Ok(Json(Value::Null))
    } else {
        Err(Problem::unknown::<WorkflowPermanentId>(id).into())
    }
}
