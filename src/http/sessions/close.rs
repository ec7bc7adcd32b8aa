//! `POST /v1/browser_sessions/{id}/close`: ends a session, and answers when none of its programs
//! runs.

use actix_web::web::{Data, Json};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::find;
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::Close;
use crate::domain::ids::SessionId;
use crate::domain::session::SessionStatus;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Ends a session, and answers when none of its programs runs.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/close",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The session is closed, and none of its processes runs"),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn close(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    end(&front, caller, id).await?;
    Ok(Json(json!({ "message": "Browser session closed" })))
}

/// Ends a session, or finds that it has ended.
///
/// # Errors
///
/// 404 for an unknown session.
pub async fn end(front: &Front, caller: Caller, id: SessionId) -> Result<(), ApiError> {
    let message = Close { status: SessionStatus::Completed };
    let route = Route { organization: caller.organization, session: id, message };
    match front.registry.ask(route).await? {
        Ok(()) => {}
        // A session that has ended may be closed again.
        Err(RouteError::Unknown(_)) => drop(find(front, caller.organization, id).await?),
        Err(cause) => return Err(cause.into()),
    }
    Ok(())
}

/// `POST /api/v1/browser_sessions/close`: ends all of the organization's sessions, as in an older
/// version of the compatible API.
pub async fn close_all(caller: Caller, front: Data<Front>) -> Result<Json<Value>, ApiError> {
    let views = front.world.views.sessions(caller.organization);
    let closing = views.iter().map(|view| end(&front, caller, view.record.id));
    try_join_all(closing).await?;
    Ok(Json(json!({ "message": "Browser sessions closed", "closed": views.len() })))
}
