//! `GET /v1/runs/{id}/artifacts`: lists the files that a run produced.

use actix_web::web::{Data, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::db;
use crate::domain::ids::{BlockRunId, RunId};
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::service::resources::artifact::ArtifactResource;
use crate::service::resources::links::Links;

/// The query of the request.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Params {
    /// Only files of these types.
    artifact_type: Vec<String>,
}

/// Lists the files that a run produced, oldest first.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/artifacts",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`"), Params),
    responses(
        (status = 200, description = "The files", body = Vec<ArtifactResource>),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn artifacts(
    caller: Caller,
    PathId(id): PathId<RunId>,
    Query(Params { artifact_type }): Query<Params>,
    front: Data<Front>,
) -> Result<Json<Vec<ArtifactResource>>, ApiError> {
    super::find(&front, caller.organization, id).await?;
    let records = db::artifacts::of_run(&front.db, caller.organization, id, artifact_type).await?;
    let links = Links { core: &front, caller };
    Ok(Json(records.iter().map(|record| ArtifactResource::of(record, &links)).collect()))
}

/// Handles `GET /api/v1/workflow_run_block/{id}/artifacts`: lists the files that a block produced.
pub async fn artifacts_of_block(
    caller: Caller,
    PathId(id): PathId<BlockRunId>,
    front: Data<Front>,
) -> Result<Json<Vec<ArtifactResource>>, ApiError> {
    let records = db::artifacts::of_block(&front.db, caller.organization, id).await?;
    let links = Links { core: &front, caller };
    Ok(Json(records.iter().map(|record| ArtifactResource::of(record, &links)).collect()))
}
