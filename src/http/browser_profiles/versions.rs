//! The versions of a profile: store, list, roll back, remove.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::endpoints::{labels, name_taken, refuse_taken};
use super::resource::{ProfileResource, VersionResource};
use crate::actors::profiles::{ProfileError, describe};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{SessionError, StoreProfile};
use crate::db;
use crate::db::store::StoreError;
use crate::domain::ids::{ProfileId, SessionId};
use crate::domain::profile::ProfileAccess;
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::lasting::lasting;
use crate::http::problem::Problem;
use crate::http::sessions::ask_session;
use crate::http::validation::Fields;
use crate::service::{lookup, profiles};

/// A request to store the profile of a live session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = StoreProfileRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The name of a new profile. Without one, the session's own profile gets another version, if
    /// the session may write to it; else a new profile is made.
    name: Option<String>,
    /// The description of a new profile.
    description: Option<String>,
    /// The tags of a new profile.
    tags: Vec<String>,
}

/// A request to start sessions from another version.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RollbackRequest)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The number of the version.
    version: i64,
}

/// Stores the profile of a live session without stopping it: its browser stands still for a moment,
/// and goes on.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/profile",
    tag = "Browser profiles",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The profile with its new version", body = ProfileResource),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is still starting, its profile is being stored already, or the name is taken"),
        (status = 410, description = "The session has ended"),
        (status = 424, description = "The profile could not be packed"),
        (status = 429, description = "The organization has as many profiles as it may have (`too_many_profiles`)"),
        (status = 503, description = "The profile could not be stored"),
    ),
)]
pub async fn store(
    caller: Caller,
    PathId(session): PathId<SessionId>,
    Body(Request { name, description, tags }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<ProfileResource>, ApiError> {
    let organization = caller.organization;
    let mut fields = Fields::new();
    let (name, tags) = labels(&mut fields, name.as_deref(), description.as_deref(), Some(&tags));
    fields.finish()?;
    let tags = tags.unwrap_or_default();
    if let Some(name) = &name {
        // Checked before the browser stands still.
        refuse_taken(&front, organization, name).await?;
    }
    let view = lookup::session(&front, organization, session).await?;
    let own = view.record.spec.profile.as_ref();
    let is_version = own.is_some_and(|used| used.access == ProfileAccess::Write);
    if name.is_some() || !is_version {
        profiles::check_room(&front, organization).await?;
    }
    let message = StoreProfile { name: name.clone(), description, tags };
    let stored = ask_session(&front, Route { organization, session, message }).await;
    let stored = match (stored, name) {
        (
            Err(ApiError::Route(RouteError::Session(SessionError::Profile(ProfileError::Row(
                StoreError::Rejected(_),
            ))))),
            Some(name),
        ) => return Err(name_taken(&name)),
        (stored, _) => stored?,
    };
    let profile = profiles::find(&front, organization, stored.profile).await?;
    Ok(Json(ProfileResource::one(&front, &profile).await?))
}

/// Lists the versions of a profile, the newest first.
#[utoipa::path(
    get,
    path = "/v1/browser_profiles/{browser_profile_id}/versions",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`")),
    responses(
        (status = 200, description = "The versions", body = Vec<VersionResource>),
        (status = 404, description = "There is no such profile"),
    ),
)]
pub async fn list(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    front: Data<Front>,
) -> Result<Json<Vec<VersionResource>>, ApiError> {
    let profile = profiles::find(&front, caller.organization, id).await?;
    let versions = db::profiles::versions_of(&front.db, id).await?;
    let shown = versions.iter().map(|version| VersionResource::of(version, profile.current));
    Ok(Json(shown.collect()))
}

/// Lets sessions start from another version of a profile. The later versions stay.
#[utoipa::path(
    post,
    path = "/v1/browser_profiles/{browser_profile_id}/rollback",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`")),
    request_body = Rollback,
    responses(
        (status = 200, description = "The profile", body = ProfileResource),
        (status = 404, description = "There is no such profile, or no such version"),
    ),
)]
pub async fn roll_back(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    Body(Rollback { version }): Body<Rollback>,
    front: Data<Front>,
) -> Result<Json<ProfileResource>, ApiError> {
    profiles::find(&front, caller.organization, id).await?;
    let change = db::profiles::Change { current: Some(version), ..db::profiles::Change::default() };
    let changed = db::profiles::change(&front.db, caller.organization, id, change).await?;
    let profile = changed.ok_or_else(|| unknown(id, version))?;
    describe(&front.world, caller.organization, id).await;
    Ok(Json(ProfileResource::one(&front, &profile).await?))
}

/// Returns the 404 for a version that a profile does not have.
pub(super) fn unknown(id: ProfileId, version: i64) -> Problem {
    let detail = format!("the profile {id} has no version {version}");
    Problem::new(StatusCode::NOT_FOUND, "profile_version_unknown", detail)
}

/// Removes a version of a profile from which no session starts.
#[utoipa::path(
    delete,
    path = "/v1/browser_profiles/{browser_profile_id}/versions/{version}",
    tag = "Browser profiles",
    params(
        ("browser_profile_id" = String, Path, description = "`bp_…`"),
        ("version" = i64, Path, description = "The number of the version"),
    ),
    responses(
        (status = 204, description = "The version is removed"),
        (status = 404, description = "There is no such profile, or no such version"),
        (status = 409, description = "Sessions start from this version"),
    ),
)]
pub async fn remove(
    caller: Caller,
    path: Path<(String, String)>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let (id, number) = path.into_inner();
    let id: ProfileId = id.parse().map_err(|_odd| Problem::unknown::<ProfileId>(&id))?;
    profiles::find(&front, caller.organization, id).await?;
    let number: i64 = number.parse().map_err(|_odd| unknown(id, 0))?;
    let version = db::profiles::version(&front.db, caller.organization, id, number).await?;
    let version = version.ok_or_else(|| unknown(id, number))?;
    let removed = lasting(async move { Ok(profiles::remove_version(&front, &version).await?) });
    if !removed.await? {
        let detail =
            format!("sessions start from version {number}: roll back to another one first");
        let problem = Problem::new(StatusCode::CONFLICT, "profile_version_current", detail);
        return Err(problem.with("current", json!(number)).into());
    }
    Ok(HttpResponse::NoContent().finish())
}
