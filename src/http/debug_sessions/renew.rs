//! `POST /v1/debug-session/{workflow}/new`: replaces the current debug session.

use actix_web::web::{Data, Json};

use super::Person;
use super::show::{Wanted, respond_with};
use crate::domain::ids::WorkflowPermanentId;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::service::resources::debug_session::DebugSessionResource;

/// Replaces a person's debug session for a workflow, unless it was created within the last 30 s.
#[utoipa::path(
    post,
    path = "/v1/debug-session/{workflow_permanent_id}/new",
    tag = "Debug sessions",
    params(
        ("workflow_permanent_id" = String, Path, description = "`wpid_…`"),
        ("x-greenroom-user" = Option<String>, Header, description = "A name for the person, within the organization"),
    ),
    responses(
        (status = 200, description = "The debug session", body = DebugSessionResource),
        (status = 404, description = "There is no such workflow"),
        (status = 424, description = "The browser could not be started"),
    ),
)]
pub async fn renew(
    caller: Caller,
    person: Person,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<DebugSessionResource>, ApiError> {
    respond_with(front, caller, person, id, Wanted::New).await
}
