//! `POST /v1/browser_sessions/{id}/extend`: adds minutes, for the SDKs of the compatible API.

use std::time::Duration;

use actix_web::web::{Data, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SessionResource, ask_session, find};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Renew, SessionError};
use crate::domain::ids::SessionId;
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ExtendRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The minutes to add to the rest of the session's life.
    additional_minutes: u64,
}

/// Extends a session's life by minutes, up to the longest life from now.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/extend",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The session, with a warning if the extension was capped", body = SessionResource),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is still starting; its lifetime begins when it runs"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn extend(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Body(Request { additional_minutes }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<SessionResource>, ApiError> {
    let mut fields = Fields::new();
    let some = additional_minutes >= 1;
    fields.require("additional_minutes", additional_minutes, some, "expected 1 or more");
    fields.finish()?;

    let organization = caller.organization;
    let Some(view) = front.world.views.session(organization, id) else {
        find(&front, organization, id).await?;
        return Err(RouteError::Session(SessionError::Closing).into());
    };
    let ends = view.borrow().record.deadlines.expires_at;
    let left = ends.map(|at| front.world.clock.until(at)).unwrap_or_default();
    let wanted = left.saturating_add(Duration::from_secs(additional_minutes.saturating_mul(60)));
    let most = front.world.settings.max_lifetime_seconds;
    let by = wanted.min(Duration::from_secs(most));
    let warning = (by < wanted).then(|| {
        format!(
            "the extension was capped: no session lives longer than {} minutes from now",
            most / 60
        )
    });
    let view =
        ask_session(&front, Route { organization, session: id, message: Renew { by } }).await?;
    Ok(Json(SessionResource { warning, ..SessionResource::of(&view, &front) }))
}
