//! `POST /v1/workflows/runs/{id}/retry`: repeats a run that has ended.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::start::{Request, begin};
use crate::db;
use crate::domain::ids::{RunId, WorkflowPermanentId};
use crate::http::body::{PathId, parse_value};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::idempotency::Once;
use crate::http::problem::Problem;
use crate::service::resources::run::RunResource;

/// The member of a stored request with the id of the run that it repeats.
const RETRIED_FROM: &str = "retried_from_workflow_run_id";

/// The member of a stored request with the id of the run that triggered it. A repeated run has none.
const TRIGGERED_BY: &str = "parent_workflow_run_id";

/// Repeats a run that has ended, with the same version, parameters and session.
#[utoipa::path(
    post,
    path = "/v1/workflows/runs/{run_id}/retry",
    tag = "Runs",
    params(
        ("run_id" = String, Path, description = "`wr_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key start one run"),
    ),
    responses(
        (status = 200, description = "The new run", body = RunResource),
        (status = 400, description = "The run has not ended, or ran selected blocks only"),
        (status = 404, description = "There is no such run"),
        (status = 409, description = "The key was used for another request, or for a request in progress"),
        (status = 410, description = "The run's session has ended"),
    ),
)]
pub async fn retry(
    caller: Caller,
    PathId(id): PathId<RunId>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let organization = caller.organization;
    let record = super::find(&front, organization, id).await?.record;
    let not = |code: &'static str, why: String| Problem::new(StatusCode::BAD_REQUEST, code, why);
    if !record.status.is_final() {
        let why =
            format!("run {id} is {} and cannot be retried before it has ended", record.status);
        return Err(not("run_not_ended", why).into());
    }
    let mut echo = record.request.clone();
    if let Some(members) = echo.as_object_mut() {
        members.shift_remove(RETRIED_FROM);
        members.shift_remove(TRIGGERED_BY);
    }
    let asked: Request = parse_value(&echo)?;
    if asked.block_labels.is_some() {
        let why = format!("run {id} ran selected blocks only and cannot be retried");
        return Err(not("run_of_blocks", why).into());
    }
    let workflow = db::workflows::by_id(&front.db, organization, record.workflow).await?;
    let workflow = workflow.filter(|workflow| workflow.deleted_at.is_none());
    let workflow = workflow
        .ok_or_else(|| Problem::unknown::<WorkflowPermanentId>(record.workflow_permanent_id))?;
    if let Some(members) = echo.as_object_mut() {
        members.insert(RETRIED_FROM.to_owned(), Value::from(id.to_string()));
    }
    let scope = format!("POST /v1/workflows/runs/{id}/retry");
    let once = Once::of(caller, &request, &scope, &[], &front)?;
    once.answer(async move |named| begin(&front, caller, &workflow, &asked, echo, named).await)
        .await
}
