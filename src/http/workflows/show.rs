//! `GET /v1/workflows/{id}` and `…/versions`: returns one workflow.

use actix_web::web::{Data, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::{latest, shown};
use crate::db;
use crate::domain::ids::WorkflowPermanentId;
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::dialect::Dialect;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;

/// The query of the request.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Params {
    /// The version; the latest by default.
    version: Option<i32>,
}

/// Returns a workflow, in its latest version or in the requested one.
#[utoipa::path(
    get,
    path = "/v1/workflows/{workflow_permanent_id}",
    tag = "Workflows",
    params(("workflow_permanent_id" = String, Path, description = "`wpid_…`"), Params),
    responses(
        (status = 200, description = "The workflow", body = Object),
        (status = 404, description = "There is no such workflow, or no such version of it"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    Query(Params { version }): Query<Params>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let record = match version {
        None => latest(&front, caller.organization, id).await?,
        Some(version) => db::workflows::version(&front.db, caller.organization, id, version)
            .await?
            .ok_or_else(|| Problem::unknown::<WorkflowPermanentId>(id))?,
    };
    Ok(Json(dialect.show(shown(&record)?)))
}

/// Lists all versions of a workflow, latest first.
#[utoipa::path(
    get,
    path = "/v1/workflows/{workflow_permanent_id}/versions",
    tag = "Workflows",
    params(("workflow_permanent_id" = String, Path, description = "`wpid_…`")),
    responses(
        (status = 200, description = "The versions", body = Vec<Object>),
        (status = 404, description = "There is no such workflow"),
    ),
)]
pub async fn versions(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let records = db::workflows::versions(&front.db, caller.organization, id).await?;
    if records.is_empty() {
        return Err(Problem::unknown::<WorkflowPermanentId>(id).into());
    }
    let shown = records.iter().map(|record| Ok(dialect.show(shown(record)?)));
    Ok(Json(shown.collect::<Result<_, Problem>>()?))
}
