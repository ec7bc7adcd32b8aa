//! `GET /v1/browser_sessions/{id}`: the state of a session; with `after`, once it has changed.

use std::time::Duration;

use actix_web::web::{Data, Json};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{SessionResource, find, recordings};
use crate::domain::ids::SessionId;
use crate::http::body::{PathId, Query};
use crate::http::caller::Visitor;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// The maximum time to wait for a change of the session.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Wish {
    /// Waits until the session's version is greater than this, for at most 25 s.
    after: Option<u64>,
}

/// Returns the present state of a session. Tickets, and keys whose role is below `organization`,
/// get no recordings, no downloads and no `egress`.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), Wish),
    responses(
        (status = 200, description = "The session", body = SessionResource),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn look(
    visitor: Visitor,
    PathId(id): PathId<SessionId>,
    Query(Wish { after }): Query<Wish>,
    front: Data<Front>,
) -> Result<Json<SessionResource>, ApiError> {
    let live = front.world.views.session(visitor.organization, id);
    if let (Some(after), Some(mut view)) = (after, live) {
        let changed = timeout(LONGEST_WAIT, view.wait_for(|view| view.version > after));
        let _ = visitor.unless_over(&front, changed).await?;
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
