//! Requests of the compatible API's pages about a debug session, with constant answers.

use actix_web::web::{Data, Json};
use serde_json::{Value, json};

use crate::domain::ids::WorkflowPermanentId;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::workflows;

/// Handles `GET /v1/debug-session/{workflow}/viewer-state`: a run never has another session than that
/// of its debug session.
pub async fn viewer_state(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    workflows::latest(&front, caller.organization, id).await?;
    Ok(Json(json!({ "active_run_session_id": null })))
}

/// Handles `GET /v1/debug-session/{workflow}/login-block-compatibility`: without profiles, no block
/// needs another one.
pub async fn login_block_compatibility(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    workflows::latest(&front, caller.organization, id).await?;
    Ok(Json(json!({ "compatible": true, "reason": null })))
}
