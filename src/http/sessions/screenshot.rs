//! `GET /v1/browser_sessions/{id}/screenshot`: the present picture of the display.

use actix_web::http::header::{ACCEPT, CACHE_CONTROL};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::ask_session;
use crate::actors::registry::Route;
use crate::actors::session::Capture;
use crate::domain::ids::SessionId;
use crate::http::body::{PathId, Query};
use crate::http::caller::Visitor;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::picture::Encoding;

#[derive(Debug, Deserialize)]
pub struct Params {
    /// The encoding, `png` or `jpeg`. Default: that of the header `Accept`, else PNG.
    format: Option<Encoding>,
}

/// Returns a picture of the session's display.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/screenshot",
    tag = "Browser sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("format" = Option<String>, Query, description = "`png` or `jpeg`"),
    ),
    responses(
        (status = 200, description = "The picture", content_type = "image/*"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn screenshot(
    visitor: Visitor,
    PathId(id): PathId<SessionId>,
    Query(Params { format }): Query<Params>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let encoding = format.unwrap_or_else(|| Encoding::of_accept(accept.unwrap_or_default()));
    let message = Capture { format: encoding.format() };
    let route = Route { organization: visitor.organization, session: id, message };
    let turn = front.pictures.turn(visitor.organization).await;
    let picture = ask_session(&front, route).await?;
    drop(turn);
    Ok(HttpResponse::Ok()
        .content_type(encoding.media_type())
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("x-captured-at", picture.taken_at.to_rfc3339()))
        .body(picture.bytes))
}
