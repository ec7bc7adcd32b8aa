//! `GET /v1/debug-session/{workflow}`: returns a person's debug session for a workflow, and renews
//! it.

use std::time::Duration;

use actix_web::web::{Data, Json};
use tokio::time::timeout;

use super::Person;
use crate::domain::ids::WorkflowPermanentId;
use crate::domain::session::SessionStatus;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::counting;
use crate::http::error::{ApiError, failed_start};
use crate::http::front::Front;
use crate::http::lasting::lasting;
use crate::http::workflows;
use crate::service::debug_sessions::{Opened, open, replace};
use crate::service::resources::debug_session::DebugSessionResource;

/// The longest time that the response waits for the browser.
const STARTING: Duration = Duration::from_secs(45);

/// The debug session that a request asks for.
pub(super) enum Wanted {
    /// The present one; a new one only if that cannot be used.
    Present,
    /// A new one in place of the present one.
    New,
}

/// Opens a person's debug session for a workflow, and responds with it.
pub(super) async fn respond_with(
    front: Data<Front>,
    caller: Caller,
    person: Person,
    id: WorkflowPermanentId,
    wanted: Wanted,
) -> Result<Json<DebugSessionResource>, ApiError> {
    workflows::latest(&front, caller.organization, id).await?;
    let (owner, made) = (person.owner(caller, id), front.clone());
    let opened = lasting(async move {
        Ok(match wanted {
            Wanted::Present => open(&made, &owner).await?,
            Wanted::New => replace(&made, &owner).await?,
        })
    });
    answer(&front, &opened.await?).await
}

/// Responds once the browser is running, or waits for its first use. A session that failed to start
/// is reported as failed; the next call replaces it.
async fn answer(front: &Front, opened: &Opened) -> Result<Json<DebugSessionResource>, ApiError> {
    let debug = &opened.debug;
    if let Some(mut view) = front.world.views.session(debug.organization, debug.session) {
        let settled = view.wait_for(|view| {
            view.record.status != SessionStatus::Created || view.record.is_dormant()
        });
        counting::waits();
        let _ = timeout(STARTING, settled).await; // After a timeout the client watches the start.
        let failure = view.borrow().record.failure.clone();
        if let Some(failure) = failure {
            let problem = failed_start(&failure).with("browser_session_id", debug.session);
            return Err(problem.into());
        }
    }
    Ok(Json(DebugSessionResource::opened(opened, front)))
}

/// Returns a person's debug session for a workflow, and renews it. It is created if there is none,
/// and replaced if its browser session has ended.
#[utoipa::path(
    get,
    path = "/v1/debug-session/{workflow_permanent_id}",
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
pub async fn show(
    caller: Caller,
    person: Person,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<DebugSessionResource>, ApiError> {
    respond_with(front, caller, person, id, Wanted::Present).await
}
