//! `POST /v1/browser_sessions/{id}/sanitize`: clears what occupants left in a session.

use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::release::{Proof, Request as Holder};
use super::told;
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

/// The body of the request: empty, or what begin gave to the holder that asks.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = SanitizeRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The holder's fencing token.
    #[schema(value_type = Option<i64>)]
    generation: Option<Generation>,
    /// The secret that begin gave to the holder.
    lease_token: Option<String>,
}

/// The body of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SanitizeResponse)]
pub struct Response {
    /// The session, `pbs_…`.
    browser_session_id: String,
    /// The traces that were cleared.
    cleared: ClearedResource,
    /// True: the browser has started again, with a new profile and one empty tab. DevTools connections to
    /// the former one have ended.
    restarted: bool,
    /// The number of attempts.
    tries: u32,
    /// The time until the browser could be driven again, in milliseconds.
    took_ms: u64,
}

/// The traces that were cleared.
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
    /// The names of what was cleared whole and not counted.
    whole: Vec<String>,
}

impl From<Cleared> for ClearedResource {
    fn from(Cleared { cookies, tabs, downloads, uploads, whole }: Cleared) -> Self {
        Self { cookies, tabs, downloads, uploads, whole }
    }
}

impl Request {
    /// The proof of the holder that asks, if one does.
    fn holder(self) -> Result<Option<Proof>, ApiError> {
        match (self.generation, self.lease_token) {
            (None, None) => Ok(None),
            (Some(generation), Some(lease_token)) => {
                Ok(Some(Holder { generation, lease_token }.proof()?))
            }
            // Proves nothing, as a wrong secret does.
            (Some(generation), None) => {
                let refusal = SessionError::Refused(Refusal::WrongLease { generation });
                Err(RouteError::Session(refusal).into())
            }
            (None, Some(_token)) => {
                let mut fields = Fields::new();
                let wrong = "expected the generation that begin gave with the `lease_token`";
                fields.require("generation", Value::Null, false, wrong);
                fields.finish()?;
                Ok(None)
            }
        }
    }
}

/// Clears what occupants left in a session: its browser ends, its profile and files are removed, and it starts
/// again on the same display, with one empty tab. Answered when it can be driven again. Refused while somebody
/// holds the session (`session_occupied`), unless the holder presents its lease.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/sanitize",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "What was cleared", body = Response),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "Somebody holds it, the occupancy is lost, or its browser does not run"),
        (status = 410, description = "The session has ended, or failed because it could not be cleared"),
        (status = 422, description = "Fields are at fault"),
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
    let SanitizeReport { cleared, tries, took } = told(&front, route).await?;
    Ok(Json(Response {
        browser_session_id: id.to_string(),
        cleared: cleared.into(),
        restarted: true,
        tries,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
}
