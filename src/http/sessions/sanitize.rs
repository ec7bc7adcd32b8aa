//! `POST /v1/browser_sessions/{id}/sanitize`: clears the data that occupants left in a session.

use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ask_session;
use super::release::{Proof, Request as Holder};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Sanitize, SanitizeReport, SessionError};
use crate::domain::ids::SessionId;
use crate::domain::occupancy::{Generation, Refusal};
use crate::domain::sanitizing::Cleared;
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

/// An empty body, or the proof of the session's holder from the answer to begin.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = SanitizeRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The holder's fencing token.
    #[schema(value_type = Option<i64>)]
    generation: Option<Generation>,
    /// The holder's lease token, from the answer to begin.
    lease_token: Option<String>,
}

/// The outcome of a sanitizing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SanitizeResponse)]
pub struct Response {
    /// The session's id, `pbs_…`.
    browser_session_id: String,
    /// The data that was cleared.
    cleared: ClearedResource,
    /// Always true: the browser has restarted with a new profile and one empty tab. DevTools
    /// connections to the former browser have ended.
    restarted: bool,
    /// The number of attempts.
    tries: u32,
    /// The time until the browser was ready again, in milliseconds.
    took_ms: u64,
}

/// The data that was cleared.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cleared)]
struct ClearedResource {
    /// The number of cookies; null if the browser did not answer.
    cookies: Option<u64>,
    /// The number of tabs; null if the browser did not answer.
    tabs: Option<u64>,
    /// The number of files in the browser's folder of downloads. Downloads that are stored as artifacts stay.
    downloads: u64,
    /// The number of files in the browser's folder of uploads.
    uploads: u64,
    /// The names of data that was cleared without a count.
    whole: Vec<String>,
}

impl From<Cleared> for ClearedResource {
    fn from(Cleared { cookies, tabs, downloads, uploads, whole }: Cleared) -> Self {
        Self { cookies, tabs, downloads, uploads, whole }
    }
}

impl Request {
    /// Returns the proof, if the request comes from a holder.
    fn holder(self) -> Result<Option<Proof>, ApiError> {
        match (self.generation, self.lease_token) {
            (None, None) => Ok(None),
            (Some(generation), Some(lease_token)) => {
                Ok(Some(Holder { generation, lease_token }.proof()?))
            }
            // A missing secret proves nothing, like a wrong one.
            (Some(generation), None) => {
                let refusal = SessionError::Refused(Refusal::WrongLease { generation });
                Err(RouteError::Session(refusal).into())
            }
            (None, Some(_token)) => {
                let mut fields = Fields::new();
                let wrong = "expected the generation that begin returned with the `lease_token`";
                fields.require("generation", Value::Null, false, wrong);
                fields.finish()?;
                Ok(None)
            }
        }
    }
}

/// Clears the data that occupants left in a session. The browser stops, its profile and files are
/// removed, and it restarts on the same display with one empty tab. The answer comes when the
/// browser is ready again. Rejected while the session is held (`session_occupied`), unless the
/// holder presents its lease.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/sanitize",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The data that was cleared", body = Response),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is occupied, the caller no longer holds it, or its browser does not run"),
        (status = 410, description = "The session has ended, or its sanitizing failed"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn sanitize(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    body: Body<Request>,
    front: Data<Front>,
) -> Result<Json<Response>, ApiError> {
    let holder = body.0.holder()?.map(|Proof { generation, lease }| (generation, lease));
    let message = Sanitize { holder };
    let route = Route { organization: caller.organization, session: id, message };
    let SanitizeReport { cleared, tries, took } = ask_session(&front, route).await?;
    Ok(Json(Response {
        browser_session_id: id.to_string(),
        cleared: cleared.into(),
        restarted: true,
        tries,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
}
