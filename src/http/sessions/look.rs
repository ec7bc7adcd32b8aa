//! `GET /v1/browser_sessions/{id}`: how a session stands; with `after`, once it has changed.

use std::time::Duration;

use actix_web::web::{Data, Json};
use serde::Deserialize;
use tokio::time::timeout;

use super::{SessionResource, find};
use crate::domain::ids::SessionId;
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// How long an unchanged session is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// The query of the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Answer when the session's version is greater than this, or after 25 s.
    after: Option<u64>,
}

pub async fn look(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(Wish { after }): Query<Wish>,
    front: Data<Front>,
) -> Result<Json<SessionResource>, ApiError> {
    let live = front.world.views.session(caller.organization, id);
    if let (Some(after), Some(mut view)) = (after, live) {
        let _ = timeout(LONGEST_WAIT, view.wait_for(|view| view.version > after)).await;
    }
    let view = find(&front, caller.organization, id).await?;
    Ok(Json(SessionResource::of(&view, &front)))
}
