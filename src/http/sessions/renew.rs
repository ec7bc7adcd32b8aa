//! `POST /v1/browser_sessions/{id}/renew` and `PATCH /v1/browser_sessions/{id}`: changes to a live
//! session.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use utoipa::ToSchema;

use super::create::refuse_taken;
use super::{SessionResource, ask_session, settings};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{
    ChangeEgress, ChangeLabels, ChangeSettings, EgressChange, KeepProfile, Renew,
    SanitizeOnRelease, SessionError,
};
use crate::db::store::StoreError;
use crate::domain::browser_settings::SettingsPatch;
use crate::domain::control::Credential;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::labels::{LabelChange, Name, Tags};
use crate::domain::rfb::Role;
use crate::http::body::{Body, PathId};
use crate::http::caller::{Caller, Visitor};
use crate::http::egress::EgressRequest;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;
use crate::service::profiles;

/// The lifetime that a renewal asks for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = RenewRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Renewal {
    /// The life from now on, in seconds.
    timeout_seconds: Option<u64>,
    /// The life from now on, in minutes.
    timeout: Option<u64>,
}

/// The changes to a session; at least one field is required.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = SessionChange)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// True to store the profile when the session ends; false not to.
    generate_browser_profile: Option<bool>,
    /// The life from now on, in seconds.
    timeout_seconds: Option<u64>,
    /// The life from now on, in minutes.
    timeout: Option<u64>,
    /// The time until which the session lives at least.
    expires_at: Option<DateTime<Utc>>,
    /// The targets that the session's programs may reach, and a proxy: `{allow, deny, upstream}`. A
    /// missing field keeps its value, and null removes an earlier one. The change applies at once,
    /// without a restart of the browser; connections that are no longer allowed are cut.
    #[schema(value_type = Option<Object>)]
    egress: Option<EgressRequest>,
    /// True to clear each occupant's data before the next one begins. Switching it on applies to
    /// the present occupant, but not to former ones.
    sanitize_on_release: Option<bool>,
    /// The browser as pages see it, as in the request for a session. A missing field keeps its
    /// value, and null removes it. The change applies at once in all tabs; `http_credentials` apply
    /// to pages that are loaded from then on. `device_scale_factor`, `mobile`, `flags`,
    /// `ca_certificates`, `client_certificates` and `policies` of a running browser stay, and so
    /// does that there is a `locale`, `timezone` or `user_agent`.
    #[schema(value_type = Option<Object>)]
    settings: Option<SettingsPatch>,
    /// The name, unique among the organization's sessions that have not ended; null removes it.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// The tags, in place of all others.
    tags: Option<Vec<String>>,
}

/// Distinguishes null from a missing field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Granted duration, and a warning if it was capped.
type Granted = (Duration, Option<String>);

/// Returns the life that a renewal for `seconds` grants, capped at the maximum.
fn granted(front: &Front, seconds: u64) -> Granted {
    let most = front.world.settings.max_lifetime_seconds;
    let warning = (seconds > most)
        .then(|| format!("the renewal was capped to {} minutes, the longest allowed", most / 60));
    (Duration::from_secs(seconds.min(most)), warning)
}

fn seconds_of(timeout_seconds: Option<u64>, timeout: Option<u64>) -> Option<u64> {
    timeout_seconds.or(timeout.map(|minutes| minutes.saturating_mul(60)))
}

async fn renewed(
    front: &Front,
    organization: OrganizationId,
    session: SessionId,
    (by, warning): Granted,
) -> Result<SessionResource, ApiError> {
    let route = Route { organization, session, message: Renew { by } };
    let view = ask_session(front, route).await?;
    Ok(SessionResource { warning, ..SessionResource::of(&view, front) })
}

/// Extends a session's life to a time from now, by default its first lifetime. It never shortens
/// the life. A viewer's ticket suffices, if it allows control.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/renew",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Renewal,
    responses(
        (status = 200, description = "The session", body = SessionResource),
        (status = 403, description = "The ticket is for watching only"),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is still starting; its lifetime begins when it runs"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn renew(
    visitor: Visitor,
    PathId(id): PathId<SessionId>,
    Body(Renewal { timeout_seconds, timeout }): Body<Renewal>,
    front: Data<Front>,
) -> Result<Json<SessionResource>, ApiError> {
    if visitor.visit.role == Role::Watch {
        let detail = "this ticket is for watching only";
        return Err(Problem::new(StatusCode::FORBIDDEN, "watch_only", detail).into());
    }
    let view = super::find(&front, visitor.organization, id).await?;
    let usual = view.record.spec.lifetime.as_secs();
    let seconds = seconds_of(timeout_seconds, timeout).unwrap_or(usual);
    let granted = granted(&front, seconds);
    let session = renewed(&front, visitor.organization, id, granted).await?;
    let is_key = matches!(visitor.visit.credential, Credential::Key(_));
    let egress = session.egress.filter(|_egress| is_key);
    Ok(Json(SessionResource { egress, ..session }))
}

/// Changes a live session: its life, as a renewal does, the targets that its programs may reach,
/// its sanitizing after each occupant, the settings of its browser, its name and its tags. A session that has ended answers 409, as in the
/// compatible API. So does a session whose `egress` cannot be changed because its network is not
/// separate (`egress_unavailable`).
#[utoipa::path(
    patch,
    path = "/v1/browser_sessions/{browser_session_id}",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Change,
    responses(
        (status = 200, description = "The session", body = SessionResource),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session has ended, is still starting, or has no separate network; or another session has the name"),
        (status = 429, description = "The organization has as many browser profiles as it may have (`too_many_profiles`)"),
        (status = 422, description = "No field is given, an entry of `egress` or `settings` is invalid, or a setting needs a new session"),
    ),
)]
pub async fn change(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Body(change): Body<Change>,
    front: Data<Front>,
) -> Result<Json<SessionResource>, ApiError> {
    let changed = apply(&front, caller.organization, id, change).await;
    let resource = changed.map_err(|cause| {
        let mut problem = Problem::from(cause);
        if problem.status == StatusCode::GONE {
            problem.status = StatusCode::CONFLICT;
        }
        problem
    })?;
    Ok(Json(resource))
}

/// Reads the name and the tags of a change.
fn labels(
    fields: &mut Fields,
    name: Option<Option<String>>,
    tags: Option<&[String]>,
) -> LabelChange {
    let name = match name {
        Some(Some(name)) => fields.check("name", name.as_str(), name.parse::<Name>()).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let tags = tags.and_then(|tags| fields.check("tags", json!(tags), Tags::new(tags)));
    LabelChange { name, tags }
}

/// Changes the name and the tags of a session. A name that another live session has is refused.
async fn labelled(
    front: &Front,
    organization: OrganizationId,
    session: SessionId,
    change: LabelChange,
) -> Result<SessionResource, ApiError> {
    let name = change.name.clone().flatten();
    if let Some(name) = &name {
        refuse_taken(front, organization, name, Some(session)).await?;
    }
    let route = Route { organization, session, message: ChangeLabels { change } };
    let changed = ask_session(front, route).await;
    if let (
        Err(ApiError::Route(RouteError::Session(SessionError::NotStored(StoreError::Rejected(_))))),
        Some(name),
    ) = (&changed, &name)
    {
        // Another session has taken the name meanwhile.
        refuse_taken(front, organization, name, Some(session)).await?;
    }
    Ok(SessionResource::of(&changed?, front))
}

async fn apply(
    front: &Front,
    organization: OrganizationId,
    id: SessionId,
    change: Change,
) -> Result<SessionResource, ApiError> {
    let Change {
        generate_browser_profile,
        timeout_seconds,
        timeout,
        expires_at,
        egress,
        sanitize_on_release,
        mut settings,
        name,
        tags,
    } = change;
    let until = expires_at.map(|at| front.world.clock.until(at).as_secs());
    let seconds = seconds_of(timeout_seconds, timeout).max(until);
    let mut fields = Fields::new();
    let wrong = "expected one of generate_browser_profile, timeout_seconds, timeout, expires_at, egress, \
                 sanitize_on_release, settings, name, tags";
    let some = generate_browser_profile.is_some()
        || seconds.is_some()
        || egress.is_some()
        || sanitize_on_release.is_some()
        || settings.as_ref().is_some_and(|settings| !settings.is_empty())
        || name.is_some()
        || tags.is_some();
    fields.require("generate_browser_profile", json!(null), some, wrong);
    let labels = labels(&mut fields, name, tags.as_deref());
    fields.finish()?;
    // Everything is checked before the first change, so that a request with a fault changes nothing.
    let known = super::find(front, organization, id).await?.record;
    settings::open(&mut settings, front).await?;
    let mut fields = Fields::new();
    let egress =
        egress.map(|egress| egress.patch("egress", known.spec.proxy.as_ref(), &mut fields));
    if let Some(patch) = &settings {
        let (terms, runs) = (settings::Terms::of(front), known.desktop.is_some());
        settings::check_change(patch, &known.spec.settings, terms, runs, &mut fields);
    }
    fields.finish()?;
    if generate_browser_profile == Some(true) && known.spec.profile.is_none() {
        profiles::check_room(front, organization).await?;
    }
    let mut resource = None;
    if !labels.is_empty() {
        resource = Some(labelled(front, organization, id, labels).await?);
    }
    if let Some(patch) = egress {
        let message = ChangeEgress { change: EgressChange::Session(patch) };
        let view = ask_session(front, Route { organization, session: id, message }).await?;
        resource = Some(SessionResource::of(&view, front));
    }
    if let Some(patch) = settings {
        let message = ChangeSettings { patch };
        let view = ask_session(front, Route { organization, session: id, message }).await?;
        resource = Some(SessionResource::of(&view, front));
    }
    if let Some(on) = sanitize_on_release {
        let message = SanitizeOnRelease { on };
        let view = ask_session(front, Route { organization, session: id, message }).await?;
        resource = Some(SessionResource::of(&view, front));
    }
    if let Some(keep) = generate_browser_profile {
        let message = KeepProfile { keep };
        let view = ask_session(front, Route { organization, session: id, message }).await?;
        resource = Some(SessionResource::of(&view, front));
    }
    if let Some(seconds) = seconds {
        resource = Some(renewed(front, organization, id, granted(front, seconds)).await?);
    }
    match resource {
        Some(resource) => Ok(resource),
        None => Ok(SessionResource::of(&super::find(front, organization, id).await?, front)),
    }
}
