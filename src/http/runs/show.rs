//! `GET /v1/runs/{id}`: returns the state of a run; with `after`, once it has changed.

use actix_web::web::{Data, Json};

use super::{artifacts_of, find, webhook_failure};
use crate::db;
use crate::domain::ids::{RunId, WorkflowPermanentId};
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::changes::{After, changed};
use crate::http::dialect::Dialect;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::workflows;
use crate::service::resources::egress::refused_of_run;
use crate::service::resources::links::Links;
use crate::service::resources::run::{RunBaseResource, RunResource};

/// Returns the state of a run.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`"), After),
    responses(
        (status = 200, description = "The run", body = RunResource),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<RunId>,
    Query(After { after }): Query<After>,
    front: Data<Front>,
) -> Result<Json<RunResource>, ApiError> {
    let live = front.world.views.run(caller.organization, id);
    if let (Some(after), Some(view)) = (after, live) {
        let risen = changed(view, |view| view.version > after || view.record.status.is_final());
        front.keys.unless_revoked(caller.key, risen).await?;
    }
    let view = find(&front, caller.organization, id).await?;
    let artifacts = artifacts_of(&front, &view.record).await?;
    let egress_refused = refused_of_run(&front, &view.record).await?;
    let links = Links { core: &front, caller };
    Ok(Json(RunResource { egress_refused, ..RunResource::of(&view, &artifacts, &links) }))
}

/// Returns a run in its older form, with the workflow that it executes.
#[utoipa::path(
    get,
    path = "/v1/workflows/runs/{run_id}",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    responses(
        (status = 200, description = "The run, with its `workflow`", body = RunBaseResource),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn show_with_workflow(
    caller: Caller,
    PathId(id): PathId<RunId>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<RunBaseResource>, ApiError> {
    let view = find(&front, caller.organization, id).await?;
    let artifacts = artifacts_of(&front, &view.record).await?;
    let workflow = view.record.workflow;
    let workflow = db::workflows::by_id(&front.db, caller.organization, workflow).await?;
    let workflow = workflow.and_then(|workflow| workflows::shown(&workflow).ok());
    let workflow = workflow.map(|workflow| dialect.show(workflow));
    let webhook_failure_reason = webhook_failure(&front, &view.record).await?;
    let base = RunBaseResource::of(&view, &artifacts, &Links { core: &front, caller });
    Ok(Json(RunBaseResource { workflow, webhook_failure_reason, ..base }))
}

/// Handles the legacy route `GET /api/v1/workflows/{workflow}/runs/{run}`.
pub async fn show_in_workflow(
    caller: Caller,
    PathId((_, id)): PathId<(WorkflowPermanentId, RunId)>,
    front: Data<Front>,
) -> Result<Json<RunBaseResource>, ApiError> {
    let view = find(&front, caller.organization, id).await?;
    let artifacts = artifacts_of(&front, &view.record).await?;
    let webhook_failure_reason = webhook_failure(&front, &view.record).await?;
    let base = RunBaseResource::of(&view, &artifacts, &Links { core: &front, caller });
    Ok(Json(RunBaseResource { webhook_failure_reason, ..base }))
}
