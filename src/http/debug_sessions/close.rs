//! `DELETE /v1/debug-session/{workflow}`: ends a person's debug session.

use actix_web::web::{Data, Json};
use serde_json::{Value, json};

use super::Person;
use crate::domain::ids::{DebugSessionId, WorkflowPermanentId};
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::service::debug_sessions::{Reason, end, live};

/// Ends a person's debug session for a workflow, and closes the browser session behind it.
#[utoipa::path(
    delete,
    path = "/v1/debug-session/{workflow_permanent_id}",
    tag = "Debug sessions",
    params(
        ("workflow_permanent_id" = String, Path, description = "`wpid_…`"),
        ("x-greenroom-user" = Option<String>, Header, description = "A name for the person, within the organization"),
    ),
    responses(
        (status = 200, description = "The session has ended"),
        (status = 404, description = "There is no debug session"),
    ),
)]
pub async fn close(
    caller: Caller,
    person: Person,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let owner = person.owner(caller, id);
    let _turn = front.turns.of(&owner).await;
    let debug = live(&front, &owner).await?;
    let debug = debug.ok_or_else(|| Problem::unknown::<DebugSessionId>(format!("of {id}")))?;
    end(&front, &debug, Reason::Requested).await?;
    Ok(Json(json!({ "debug_session_id": debug.id, "message": "Debug session closed" })))
}
