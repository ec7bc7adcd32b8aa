//! `POST /v1/browser_sessions/{id}/heartbeat`: the holder renews its lease.

use std::time::Duration;

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask_session;
use super::release::{Proof, Request as Holder};
use crate::actors::registry::Route;
use crate::actors::session::{Grant, Heartbeat};
use crate::domain::ids::SessionId;
use crate::domain::occupancy::Generation;
use crate::http::body::{Body, PathId};
use crate::http::caller::Driver;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = HeartbeatRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[schema(value_type = i64)]
    generation: Generation,
    lease_token: String,
    /// The length of the lease from now, in seconds. Default: the length that begin asked for.
    ttl_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HeartbeatResponse)]
pub struct Response {
    #[schema(value_type = i64)]
    generation: Generation,
    expires_at: DateTime<Utc>,
}

/// Renews the lease of a session's holder.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/heartbeat",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The new end of the occupancy", body = Response),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The caller no longer holds the session"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn heartbeat(
    driver: Driver,
    PathId(id): PathId<SessionId>,
    body: Body<Request>,
    front: Data<Front>,
) -> Result<Json<Response>, ApiError> {
    let Body(Request { generation, lease_token, ttl_seconds }) = body;
    let Proof { generation, lease } = Holder { generation, lease_token }.proof()?;
    let longest = front.world.settings.max_lease_seconds;
    let mut fields = Fields::new();
    let within = ttl_seconds.is_none_or(|ttl| (1..=longest).contains(&ttl));
    fields.require("ttl_seconds", ttl_seconds, within, format!("expected 1 to {longest}"));
    fields.finish()?;

    let ttl = ttl_seconds.map(Duration::from_secs);
    let message = Heartbeat { generation, lease, ttl, run: None };
    let route = Route { organization: driver.organization, session: id, message };
    let Grant { generation, expires_at } = ask_session(&front, route).await?;
    Ok(Json(Response { generation, expires_at }))
}
