//! Browser profiles: create, list, show, change, delete.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::resource::{ProfileResource, ProfileUsage};
use crate::actors::profiles::describe;
use crate::actors::registry::Route;
use crate::actors::session::StoreProfile;
use crate::db::profiles::Filter;
use crate::db::store::StoreError;
use crate::db::{self, DbError};
use crate::domain::ids::{OrganizationId, ProfileId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::labels::{Name, RESERVED_NAME, Tags};
use crate::domain::profile::{Manager, ProfileRecord};
use crate::http::body::{Body, LargeBody, PathId, Query, beside, parse};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::lasting::lasting;
use crate::http::paging::{Listed, page};
use crate::http::problem::Problem;
use crate::http::sessions::create::without_state;
use crate::http::sessions::{ask_session, storage_state};
use crate::http::validation::Fields;
use crate::http::warnings::Warnings;
use crate::service::error::ServiceError;
use crate::service::{lookup, profile_states, profiles};
use crate::system::storage_state::StorageState;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 2000;

/// The complaint about a name that the server gives.
const RESERVED: &str = "expected a name of your own: the server names profiles by their ids";

/// The name of the list in cursors.
const LIST: &str = "profiles";

/// The most profiles on a page.
const LARGEST_PAGE: u32 = 1000;

/// A request for a profile. Without a session or run it is empty.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = BrowserProfileRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The name, unique among the organization's profiles.
    name: String,
    /// A description for people.
    description: Option<String>,
    /// The tags of the profile.
    tags: Vec<String>,
    /// The session whose profile is stored: a live one as it is now, an ended one as it was stored
    /// at its end.
    browser_session_id: Option<String>,
    /// The run whose session's profile is stored.
    workflow_run_id: Option<String>,
    /// Cookies and storage in the form of Playwright's `storageState`, which are all that the profile has: see
    /// `PUT …/storage_state`.
    #[schema(value_type = Option<Object>)]
    storage_state: Option<StorageState>,
    proxy_location: Value,
    proxy_session_id: Option<String>,
}

/// The changes of a profile.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = BrowserProfileChange)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// The new name, unique among the profiles.
    name: Option<String>,
    /// The new description; null removes it.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// The new tags, in place of all others.
    tags: Option<Vec<String>>,
    proxy_location: Value,
    proxy_session_id: Option<String>,
    rotate_proxy_session_id: Option<bool>,
}

/// Distinguishes null from a missing field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The filters and the page of a list of profiles.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The number of the page, from 1.
    page: u32,
    /// The number of profiles on a page.
    page_size: u32,
    /// True to include deleted profiles, of which nothing is kept.
    include_deleted: bool,
    /// A part of the name or the description, without regard to case.
    search_key: Option<String>,
    /// True for profiles that the server keeps by itself only, false for the others only.
    managed: Option<bool>,
    /// The whole name, as it is written.
    name: Option<String>,
    /// A tag that profiles must have; repeatable.
    tags: Vec<String>,
    /// The `x-next-cursor` of the part before, in place of a page.
    cursor: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            page: 1,
            page_size: 100,
            include_deleted: false,
            search_key: None,
            managed: None,
            name: None,
            tags: Vec::new(),
            cursor: None,
        }
    }
}

/// Reads the fields that people see.
pub(super) fn labels(
    fields: &mut Fields,
    name: Option<&str>,
    description: Option<&str>,
    tags: Option<&[String]>,
) -> (Option<Name>, Option<Tags>) {
    let is_reserved = |name: &Name| {
        let rest = name.as_str().strip_prefix(RESERVED_NAME);
        rest.is_some_and(|rest| rest.parse::<ProfileId>().is_ok())
    };
    let name = name.and_then(|name| {
        let parsed = name.parse::<Name>().map_err(|cause| cause.to_string());
        let free = parsed.and_then(|parsed| {
            if is_reserved(&parsed) { Err(RESERVED.to_owned()) } else { Ok(parsed) }
        });
        fields.check("name", name, free)
    });
    let length = description.map_or(0, |text| text.chars().count());
    let wrong = format!("expected at most {LONGEST_DESCRIPTION} characters");
    fields.require("description", length, length <= LONGEST_DESCRIPTION, wrong);
    let tags = tags.and_then(|tags| fields.check("tags", json!(tags), Tags::new(tags)));
    (name, tags)
}

/// Returns the 409 for a name that another profile has.
pub(super) fn name_taken(name: &Name) -> ApiError {
    let detail = format!("another profile has the name `{name}`: choose another name");
    Problem::new(StatusCode::CONFLICT, "name_taken", detail).into()
}

/// Refuses a name that a profile of the organization has.
pub(super) async fn refuse_taken(
    front: &Front,
    organization: OrganizationId,
    name: &Name,
) -> Result<(), ApiError> {
    let taken = Filter { name: Some(name.to_string()), managed: Some(false), ..Filter::default() };
    let found = db::profiles::list(&front.db, organization, taken, db::Page::first(1)).await?;
    if found.is_empty() { Ok(()) } else { Err(name_taken(name)) }
}

fn warning(location: &Value, session: bool) -> Option<String> {
    let mut warnings = Warnings::default();
    let why = "a proxy belongs to a session";
    warnings.no_effect("proxy_location", !location.is_null(), why);
    warnings.no_effect("proxy_session_id", session, "this server has no proxies in places");
    warnings.finish()
}

/// Creates a profile: an empty one, from a session, or from a storage state. A live session's browser stands
/// still for a moment and goes on.
#[utoipa::path(
    post,
    path = "/v1/browser_profiles",
    tag = "Browser profiles",
    request_body = Request,
    responses(
        (status = 200, description = "The profile", body = ProfileResource),
        (status = 404, description = "There is no such session or run"),
        (status = 409, description = "Another profile has the name, or the session's profile is being stored already"),
        (status = 422, description = "Fields are invalid, or no profile was stored from the ended session"),
        (status = 424, description = "The profile could not be packed"),
        (status = 429, description = "The organization has used up its storage, or has as many profiles as it may have (`too_many_profiles`)"),
    ),
)]
pub async fn create(
    caller: Caller,
    LargeBody(body): LargeBody,
    front: Data<Front>,
) -> Result<Json<ProfileResource>, ApiError> {
    let length = body.len();
    let asked = beside(body, |bytes| {
        let mut asked: Request = parse(bytes).map_err(without_state)?;
        let state = asked.storage_state.take();
        let state =
            state.map(|state| storage_state::checked(state, "storage_state")).transpose()?;
        Ok((asked, state))
    });
    let (request, state) = asked.await?;
    let Request { name, description, tags, browser_session_id, workflow_run_id, .. } = &request;
    let mut fields = Fields::new();
    let (name, tags) = labels(&mut fields, Some(name), description.as_deref(), Some(tags));
    let one = browser_session_id.is_none() || workflow_run_id.is_none();
    let wrong = "expected a session or a run, not both";
    fields.require("workflow_run_id", json!(workflow_run_id), one, wrong);
    let one = state.is_none() || browser_session_id.is_none() && workflow_run_id.is_none();
    let wrong = "expected a storage state, a session or a run, not two of them";
    fields.require("storage_state", Value::Null, one, wrong);
    fields.finish()?;
    let (Some(name), Some(tags)) = (name, tags) else {
        return Err(Problem::unknown::<ProfileId>("").into()); // Unreachable: checked above.
    };
    let organization = caller.organization;
    refuse_taken(&front, organization, &name).await?;
    profiles::check_room(&front, organization).await?;
    let source = source(&front, organization, &request).await?;
    let empty = ProfileRecord {
        description: description.clone(),
        tags: tags.clone(),
        ..profiles::empty(&front, organization, name.clone())
    };
    let id = match (source, state) {
        (None, Some(state)) => {
            front.check_storage(organization).await?;
            let room = storage_state::room_for(organization, length)?;
            let core = front.clone();
            let created = lasting(async move {
                let _room = room;
                match profile_states::create(&core, empty, state).await {
                    Err(ServiceError::Store(StoreError::Rejected(_))) => Err(name_taken(&name)),
                    created => Ok(created?.profile),
                }
            });
            created.await?
        }
        (None, None) => {
            match db::profiles::insert(&front.db, &empty).await {
                Err(DbError::Conflict) => return Err(name_taken(&name)),
                inserted => inserted?,
            }
            empty.id
        }
        (Some(session), _) => {
            let view = lookup::session(&front, organization, session).await?;
            if view.record.status.is_final() {
                front.check_storage(organization).await?;
                let version = profiles::stored_from(&front, &view.record).await?;
                let core = front.clone();
                let copied =
                    lasting(async move { Ok(profiles::copy(&core, &version, empty).await?) });
                copied.await?.profile
            } else {
                let description = description.clone();
                let message = StoreProfile { name: Some(name), description, tags };
                ask_session(&front, Route { organization, session, message }).await?.profile
            }
        }
    };
    let profile = profiles::find(&front, organization, id).await?;
    let pinned = request.proxy_session_id.is_some();
    let warning = warning(&request.proxy_location, pinned);
    Ok(Json(ProfileResource { warning, ..ProfileResource::one(&front, &profile).await? }))
}

/// The session that a request for a profile names.
async fn source(
    front: &Front,
    organization: OrganizationId,
    request: &Request,
) -> Result<Option<SessionId>, ApiError> {
    if let Some(text) = &request.browser_session_id {
        let id = text.parse().map_err(|_odd| Problem::unknown::<SessionId>(text))?;
        return Ok(Some(id));
    }
    let Some(text) = &request.workflow_run_id else { return Ok(None) };
    let id: RunId = text.parse().map_err(|_odd| Problem::unknown::<RunId>(text))?;
    let run = lookup::run(front, organization, id).await?;
    let wrong = "the run has no session";
    let none = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "run_without_session", wrong);
    Ok(Some(run.record.session.ok_or(none)?))
}

/// Lists the organization's profiles, the newest first.
#[utoipa::path(
    get,
    path = "/v1/browser_profiles",
    tag = "Browser profiles",
    params(Params),
    responses(
        (
            status = 200,
            description = "The profiles",
            body = Vec<ProfileResource>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn list(
    caller: Caller,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<ProfileResource>, ApiError> {
    let Params { page: number, page_size, search_key, managed, name, tags, cursor, .. } = params;
    let page = page(LIST, number, page_size, LARGEST_PAGE, cursor.as_deref())?;
    let filter = Filter { search: search_key, managed, name, tags };
    let found = db::profiles::list(&front.db, caller.organization, filter, page).await?;
    let shown = ProfileResource::all(&front, &found).await?;
    Ok(Listed::of(LIST, page_size, &found, shown))
}

/// Returns a profile with its current version.
#[utoipa::path(
    get,
    path = "/v1/browser_profiles/{browser_profile_id}",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`")),
    responses(
        (status = 200, description = "The profile", body = ProfileResource),
        (status = 404, description = "There is no such profile"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    front: Data<Front>,
) -> Result<Json<ProfileResource>, ApiError> {
    let profile = profiles::find(&front, caller.organization, id).await?;
    Ok(Json(ProfileResource::one(&front, &profile).await?))
}

/// Changes the name, the description or the tags of a profile.
#[utoipa::path(
    patch,
    path = "/v1/browser_profiles/{browser_profile_id}",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`")),
    request_body = Change,
    responses(
        (status = 200, description = "The profile", body = ProfileResource),
        (status = 404, description = "There is no such profile"),
        (status = 409, description = "Another profile has the name"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn change(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    Body(change): Body<Change>,
    front: Data<Front>,
) -> Result<Json<ProfileResource>, ApiError> {
    let Change { name, description, tags, proxy_location, proxy_session_id, .. } = change;
    let mut fields = Fields::new();
    let text = description.as_ref().and_then(Option::as_deref);
    let (name, tags) = labels(&mut fields, name.as_deref(), text, tags.as_deref());
    fields.finish()?;
    let changes = db::profiles::Change { name: name.clone(), description, tags, current: None };
    let changed = db::profiles::change(&front.db, caller.organization, id, changes).await;
    let changed = match (changed, name) {
        (Err(DbError::Conflict), Some(name)) => return Err(name_taken(&name)),
        (changed, _) => changed?,
    };
    let profile = changed.ok_or_else(|| Problem::unknown::<ProfileId>(id))?;
    describe(&front.world, caller.organization, id).await;
    let pinned = proxy_session_id.is_some() || change.rotate_proxy_session_id == Some(true);
    let warning = warning(&proxy_location, pinned);
    Ok(Json(ProfileResource { warning, ..ProfileResource::one(&front, &profile).await? }))
}

/// Deletes a profile with all its versions. Sessions that have a copy go on.
#[utoipa::path(
    delete,
    path = "/v1/browser_profiles/{browser_profile_id}",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`")),
    responses(
        (status = 204, description = "The profile is removed"),
        (status = 404, description = "There is no such profile"),
        (status = 409, description = "A session may write to it; `writer` names it"),
        (status = 503, description = "The storage is unavailable; nothing but some versions may be removed"),
    ),
)]
pub async fn remove(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let profile = profiles::find(&front, caller.organization, id).await?;
    lasting(async move { Ok(profiles::remove(&front, &profile).await?) }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Returns the sessions that use a profile, and its size.
#[utoipa::path(
    get,
    path = "/v1/browser_profiles/{browser_profile_id}/usage",
    tag = "Browser profiles",
    params(("browser_profile_id" = String, Path, description = "`bp_…`")),
    responses(
        (status = 200, description = "The use of the profile", body = ProfileUsage),
        (status = 404, description = "There is no such profile"),
    ),
)]
pub async fn usage(
    caller: Caller,
    PathId(id): PathId<ProfileId>,
    front: Data<Front>,
) -> Result<Json<ProfileUsage>, ApiError> {
    let profile = profiles::find(&front, caller.organization, id).await?;
    let sessions = profiles::sessions_of(&front, caller.organization, id).await?;
    let versions = db::profiles::versions_of(&front.db, id).await?;
    Ok(Json(ProfileUsage::of(&profile, &sessions, &versions)))
}

/// Removes the profile that the server keeps for a workflow with `persist_browser_session`. Its next
/// run starts with an empty browser.
#[utoipa::path(
    post,
    path = "/v1/workflows/{workflow_permanent_id}/browser_session/reset_profile",
    tag = "Browser profiles",
    params(("workflow_permanent_id" = String, Path, description = "`wpid_…`")),
    responses(
        (status = 204, description = "The workflow has no profile"),
        (status = 404, description = "There is no such workflow"),
        (status = 409, description = "A session of the workflow may write to the profile"),
    ),
)]
pub async fn reset(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let organization = caller.organization;
    lookup::workflow(&front, organization, id).await?;
    let removed = lasting(async move {
        for profile in db::profiles::managed_for(&front.db, organization, id).await? {
            if matches!(profile.manager, Some(Manager::Workflow { .. })) {
                profiles::remove(&front, &profile).await?;
            }
        }
        Ok(())
    });
    removed.await?;
    Ok(HttpResponse::NoContent().finish())
}
