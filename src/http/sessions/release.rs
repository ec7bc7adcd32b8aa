//! `POST /v1/browser_sessions/{id}/release`: the holder releases the occupancy.

use actix_web::web::{Data, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::ask_session;
use crate::actors::registry::Route;
use crate::actors::session::Release;
use crate::domain::ids::SessionId;
use crate::domain::lease::{LeaseHash, LeaseToken};
use crate::domain::occupancy::Generation;
use crate::http::body::{Body, PathId};
use crate::http::caller::Driver;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;

/// The proof of the holder: the values from the answer to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ReleaseRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The fencing token from the answer to begin.
    #[schema(value_type = i64)]
    pub generation: Generation,
    /// The lease token from the answer to begin.
    pub lease_token: String,
}

/// The validated proof of a holder.
#[derive(Debug)]
pub struct Proof {
    /// The fencing token that the request presents.
    pub generation: Generation,
    /// The hash of the lease token.
    pub lease: LeaseHash,
}

impl Request {
    /// Returns the proof; 422 for a malformed lease token. The session itself rejects a wrong one.
    pub fn proof(&self) -> Result<Proof, Problem> {
        let mut fields = Fields::new();
        // The error does not repeat a secret, not even a wrong one.
        let token =
            fields.check("lease_token", Value::Null, self.lease_token.parse::<LeaseToken>());
        match (token, fields.finish()) {
            (Some(token), _) => Ok(Proof { generation: self.generation, lease: token.hash() }),
            (None, refused) => Err(refused.err().unwrap_or_else(|| Problem::invalid(Vec::new()))),
        }
    }
}

/// Releases the occupancy of a session.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/release",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The session is vacant, or the next waiter holds it"),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The caller no longer holds the session"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn release(
    driver: Driver,
    PathId(id): PathId<SessionId>,
    body: Body<Request>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let Proof { generation, lease } = body.0.proof()?;
    let message = Release { generation, lease, run: None };
    ask_session(&front, Route { organization: driver.organization, session: id, message }).await?;
    Ok(Json(json!({ "released": true, "generation": generation })))
}
