//! `/v1/browser_profiles/{id}/storage_state`: the cookies and the storage of a profile, without a browser.
//!
//! They are logins: a client needs a key of the organization, and no answer to a fault repeats a value.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::versions::unknown;
use crate::db;
use crate::domain::ids::ProfileId;
use crate::http::body::{LargeBody, PathId, Query, beside, parse_with_nul};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::lasting::lasting;
use crate::http::problem::Problem;
use crate::http::sessions::storage_state::{
    StorageStateResource, checked, room_for, selection, unstored, without_values,
};
use crate::service::{profile_states, profiles};
use crate::system::storage_state::{Mode, StorageState};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ReadParams {
    /// The number of the version; by default that from which sessions start.
    version: Option<i64>,
    /// False to leave out IndexedDB.
    indexed_db: Option<bool>,
    /// The origins to read, such as `https://example.com`; then only the cookies that they get are read as
    /// well. All of them by default.
    origins: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct WriteParams {
    /// True to leave out all other cookies, and the storage, caches and service workers of all origins.
    replace: Option<bool>,
}

/// A version with a storage state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProfileStorageStateStored)]
pub struct Response {
    /// The profile's id, `bp_…`.
    browser_profile_id: String,
    /// The number of the new version, from which sessions start now.
    version: i64,
    /// The number of cookies in the request.
    cookies: usize,
    /// The number of origins in the request.
    origins: usize,
}

/// Returns the cookies and the `localStorage` of a profile in the form of Playwright's `storageState`, without
/// starting a browser. Databases of IndexedDB are there only if a client wrote them into this version: a browser
/// alone can read those in its files, and `warning` names their origins.
#[utoipa::path(
    get,
    path = "/v1/browser_profiles/{browser_profile_id}/storage_state",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`"), ReadParams),
    responses(
        (status = 200, description = "The storage state; `warning` names what was left out", body = StorageStateResource),
        (status = 404, description = "There is no such profile, or no such version"),
        (status = 422, description = "Parameters are invalid, or the state is larger than 32 MiB"),
        (status = 424, description = "The archive of the version is damaged or missing"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    Query(params): Query<ReadParams>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let ReadParams { version: number, indexed_db, origins } = params;
    let selection = selection(origins, indexed_db)?;
    let organization = caller.organization;
    let profile = profiles::find(&front, organization, id).await?;
    let version = match number {
        Some(number) => {
            let version = db::profiles::version(&front.db, organization, id, number).await?;
            Some(version.ok_or_else(|| unknown(id, number))?)
        }
        None => db::profiles::current(&front.db, organization, id).await?,
    };
    let state = profile_states::read(&front, &profile, version.as_ref(), selection).await?;
    let bytes = serde_json::to_vec(&state).map_err(|_cause| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", "the storage state could not be written as JSON")
    })?;
    Ok(unstored(bytes))
}

/// Writes cookies, `localStorage` and databases into a new version of a profile, from a file of Playwright's
/// `storageState`. A session that starts from it gets them before its first page. The files of the current
/// version stay. Rejected while a session may write to the profile (`profile_in_use`).
#[utoipa::path(
    put,
    path = "/v1/browser_profiles/{browser_profile_id}/storage_state",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`"), WriteParams),
    request_body = StorageStateResource,
    responses(
        (status = 200, description = "The new version", body = Response),
        (status = 404, description = "There is no such profile"),
        (status = 409, description = "A session may write to the profile; `writer` names it. Or other requests change it at the same time"),
        (status = 422, description = "Fields are invalid, or the state of the profile would be too large"),
        (status = 424, description = "The archive of the current version is damaged or missing"),
        (status = 429, description = "The organization has used up its storage, or writes other states (`too_many_storage_states`)"),
        (status = 503, description = "The storage is unavailable"),
    ),
)]
pub async fn put(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    Query(params): Query<WriteParams>,
    LargeBody(body): LargeBody,
    front: Data<Front>,
) -> Result<Json<Response>, ApiError> {
    let room = room_for(caller.organization, body.len())?;
    let state = beside(body, |bytes| {
        let state = parse_with_nul::<StorageState>(bytes).map_err(without_values)?;
        checked(state, "")
    });
    let state = state.await?;
    let (cookies, origins) = (state.cookies.len(), state.origins.len());
    let mode = if params.replace == Some(true) { Mode::Replace } else { Mode::Merge };
    let profile = profiles::find(&front, caller.organization, id).await?;
    front.check_storage(caller.organization).await?;
    let core = front.clone();
    let written = lasting(async move {
        let _room = room;
        Ok(profile_states::write(&core, &profile, &state, mode).await?)
    });
    let version = written.await?.number;
    Ok(Json(Response { browser_profile_id: id.to_string(), version, cookies, origins }))
}
