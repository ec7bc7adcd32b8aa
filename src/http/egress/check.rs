//! `POST /v1/browser_sessions/{id}/egress/check`: a trial of what a session reaches.

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
use crate::http::sessions::{find, told};
use crate::http::validation::Fields;
use crate::system::desktop::EgressOutcome;

/// A trial.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = EgressCheckRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The target, `http` or `https`.
    url: String,
    /// What would be asked for the session's network, in place of what is: `{allow, deny, upstream}`. A
    /// field that is missing is as it is.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    egress: Option<EgressRequest>,
}

/// The outcome of a trial.
#[derive(Debug, Serialize, ToSchema)]
pub struct EgressCheckResource {
    /// True if the target was reached.
    ok: bool,
    /// What was reached: `tunnel`, a connection, of an `https` URL; `response` of an `http` one.
    reached: Option<String>,
    /// The status of the response.
    status: Option<u16>,
    /// Why it was not reached: `address_not_public`, `upstream_credentials`, …
    code: Option<String>,
    /// The same for people, with the way out.
    message: Option<String>,
    /// The time that it took.
    elapsed_ms: u64,
}

impl From<EgressOutcome> for EgressCheckResource {
    fn from(outcome: EgressOutcome) -> Self {
        let EgressOutcome { ok, reached, status, code, message, elapsed_ms } = outcome;
        Self { ok, reached, status, code, message, elapsed_ms }
    }
}

/// Tries to reach a URL as the session's programs would, under its policy or under another one. Nothing
/// is changed.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/egress/check",
    tag = "Egress",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The outcome, reached or not", body = EgressCheckResource),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "`egress_unavailable`: its network is not separate; or it is still starting"),
        (status = 410, description = "It has ended"),
        (status = 422, description = "Fields are at fault"),
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
    let outcome = told(&front, Route { organization, session: id, message }).await?;
    Ok(Json(outcome.into()))
}
