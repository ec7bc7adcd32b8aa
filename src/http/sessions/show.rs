//! `GET /v1/browser_sessions/{id}`: the state of a session; with `after`, once it has changed.

use actix_web::web::{Data, Json};

use super::{SessionResource, find, recordings};
use crate::domain::ids::SessionId;
use crate::http::body::{PathId, Query};
use crate::http::caller::Visitor;
use crate::http::changes::{After, changed};
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Returns the present state of a session. Tickets, and keys whose role is below `organization`,
/// get no recordings, no downloads and no `egress`.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), After),
    responses(
        (status = 200, description = "The session", body = SessionResource),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn show(
    visitor: Visitor,
    PathId(id): PathId<SessionId>,
    Query(After { after }): Query<After>,
    front: Data<Front>,
) -> Result<Json<SessionResource>, ApiError> {
    let live = front.world.views.session(visitor.organization, id);
    if let (Some(after), Some(view)) = (after, live) {
        visitor.unless_over(&front, changed(view, |view| view.version > after)).await?;
    }
    let view = find(&front, visitor.organization, id).await?;
    // A signed URL outlives a ticket, so a ticket gets none.
    let (recordings, downloaded_files) = match visitor.caller {
        Some(caller) => recordings::files(&front, caller, id).await?,
        None => (Vec::new(), Vec::new()),
    };
    let session = SessionResource::of(&view, &front);
    let egress = session.egress.filter(|_egress| visitor.caller.is_some());
    Ok(Json(SessionResource { recordings, downloaded_files, egress, ..session }))
}
