//! `POST /v1/browser_sessions/{id}/egress/check`: a test of a target from a session's network.

use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::EgressRequest;
use crate::actors::registry::Route;
use crate::actors::session::CheckEgress;
use crate::domain::ids::SessionId;
use crate::domain::masking::masked_url;
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::sessions::{ask_session, find};
use crate::http::validation::Fields;
use crate::system::desktop::EgressOutcome;

/// A request to test a target.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = EgressCheckRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The target's URL, `http` or `https`.
    url: String,
    /// The changed network settings to test with: `{allow, deny, upstream}`. A missing field keeps
    /// the session's present value.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    egress: Option<EgressRequest>,
}

/// The outcome of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct EgressCheckResource {
    /// True if the target was reached.
    ok: bool,
    /// The kind of success: `tunnel` (a connection) for an `https` URL; `response` for an `http`
    /// one.
    reached: Option<String>,
    /// The HTTP status of the response.
    status: Option<u16>,
    /// The reason why the target was not reached: `address_not_public`, `upstream_credentials`, …
    code: Option<String>,
    /// The same reason for people, with a remedy.
    message: Option<String>,
    /// The duration of the test, in milliseconds.
    elapsed_ms: u64,
}

impl From<EgressOutcome> for EgressCheckResource {
    fn from(outcome: EgressOutcome) -> Self {
        let EgressOutcome { ok, reached, status, code, message, elapsed_ms } = outcome;
        Self { ok, reached, status, code, message, elapsed_ms }
    }
}

/// Tests whether the session's programs can reach a URL, under the session's policy or a changed
/// one. The test changes nothing.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/egress/check",
    tag = "Egress",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The outcome: reached or not", body = EgressCheckResource),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The network of the session is not separate (`egress_unavailable`), or the session is still starting"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn check(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Body(Request { url, egress }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<EgressCheckResource>, ApiError> {
    let mut fields = Fields::new();
    let parsed = Url::parse(&url).ok();
    let fits = parsed.is_some_and(|it| matches!(it.scheme(), "http" | "https") && it.has_host());
    fields.require("url", masked_url(&url), fits, "expected an http or https URL");
    let organization = caller.organization;
    let known = match &egress {
        Some(_) => find(&front, organization, id).await?.record.spec.proxy,
        None => None,
    };
    let patch = egress.map(|egress| egress.patch("egress", known.as_ref(), &mut fields));
    fields.finish()?;
    let message = CheckEgress { url, patch };
    let outcome = ask_session(&front, Route { organization, session: id, message }).await?;
    Ok(Json(outcome.into()))
}
