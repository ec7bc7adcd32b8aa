//! `/admin/organizations`: the tenants of the server, and their keys.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::retention;
use crate::db;
use crate::domain::ids::{ApiKeyId, OrganizationId};
use crate::domain::retention::Retention;
use crate::domain::tenancy::{KeyRole, Organization};
use crate::http::api_keys::{self, ApiKeyRequest, ApiKeyResource, Rotation};
use crate::http::body::{Body, PathId, RawBody, parse};
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::quotas::{self, QuotaUse, Uses};
use crate::http::validation::Fields;

/// The longest name, in characters.
const LONGEST_NAME: usize = 100;

/// The body of a request for a new organization.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationRequest {
    /// The name for people, which is unique.
    name: String,
    /// The id, `o_` and a number, for organizations of another server whose keys name it; a new id by default.
    #[schema(value_type = Option<String>)]
    organization_id: Option<OrganizationId>,
}

/// A change of an organization.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OrganizationChange)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// The name for people, which is unique.
    name: Option<String>,
    /// True to suspend its keys and to end its sessions and runs; false to accept its keys again.
    suspended: Option<bool>,
    /// Limits by quota, 0 to 1000000000, or null for the default of the settings: `{"sessions": 5, "viewers":
    /// null}`. Other limits are unchanged. They apply at once to new requests; nothing that runs is ended. The
    /// names are those of `GET /v1/quotas`.
    #[schema(value_type = Option<Object>)]
    quotas: Option<Map<String, Value>>,
    /// Limits of stored files by name, `artifacts_days`, `artifacts_max_mib`, `recordings_days`, `recordings_max_mib`,
    /// `profile_versions_days` and `profile_versions_max_mib`, or null for the default of the settings: `{"recordings_days": 30}`. Other limits are
    /// unchanged. Older files, and the oldest beyond a size, are removed at once and then every hour.
    #[schema(value_type = Option<Object>)]
    retention: Option<Map<String, Value>>,
}

/// An organization, as the API returns it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationResource {
    /// The organization's id, `o_…`.
    organization_id: String,
    /// Its name for people.
    name: String,
    /// The time at which it was created.
    created_at: DateTime<Utc>,
    /// The time at which its keys were suspended; null while they are accepted.
    suspended_at: Option<DateTime<Utc>>,
    /// The time at which its deletion started; null otherwise.
    deleted_at: Option<DateTime<Utc>>,
    /// Its live sessions on this server.
    live_sessions: usize,
    /// Its quotas by name: limits and their use. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, QuotaUse>>)]
    quotas: Option<Uses>,
    /// The limits of its stored files in force; null for none. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Option<u64>>>)]
    retention: Option<Retention>,
}

impl OrganizationResource {
    pub(super) fn of(organization: Organization, front: &Front) -> Self {
        Self {
            organization_id: organization.id.to_string(),
            live_sessions: front.world.views.sessions(organization.id).len(),
            name: organization.name,
            created_at: organization.created_at,
            suspended_at: organization.suspended_at,
            deleted_at: organization.deleted_at,
            quotas: None,
            retention: None,
        }
    }

    /// The organization with its quotas, their use, and its retention.
    async fn whole(organization: Organization, front: &Front) -> Result<Self, ApiError> {
        let quotas = quotas::uses(front, organization.id).await?;
        let own = db::retention::limits_of(&front.db, organization.id).await?;
        let retention = Some(own.or(front.retention.defaults));
        Ok(Self { quotas: Some(quotas), retention, ..Self::of(organization, front) })
    }
}

pub(super) async fn find(front: &Front, id: OrganizationId) -> Result<Organization, ApiError> {
    let found = db::organizations::by_id(&front.db, id).await?;
    found.ok_or_else(|| Problem::unknown::<OrganizationId>(id).into())
}

/// A name that no other organization has.
async fn checked_name(
    front: &Front,
    name: &str,
    of: Option<OrganizationId>,
) -> Result<String, ApiError> {
    let name = name.trim();
    let mut fields = Fields::new();
    let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
    fields.require("name", name, fits, "expected 1 to 100 characters");
    fields.finish()?;
    let all = db::organizations::list(&front.db).await?;
    let same = |other: &Organization| other.name.to_lowercase() == name.to_lowercase();
    if all.iter().any(|other| same(other) && Some(other.id) != of) {
        let detail = format!("another organization is called `{name}`");
        return Err(Problem::new(StatusCode::CONFLICT, "organization_exists", detail).into());
    }
    Ok(name.to_owned())
}

/// Refuses an id that an organization has, or had before it was deleted.
async fn check_id(front: &Front, id: OrganizationId) -> Result<(), ApiError> {
    if db::organizations::is_known(&front.db, id).await? {
        let detail = format!("another organization has or had the id {id}");
        return Err(Problem::new(StatusCode::CONFLICT, "organization_exists", detail).into());
    }
    Ok(())
}

/// Creates an organization, which has no key yet.
#[utoipa::path(
    post,
    path = "/admin/organizations",
    tag = "Operation",
    request_body = OrganizationRequest,
    responses(
        (status = 200, description = "The organization", body = OrganizationResource),
        (status = 403, description = "This is not an operator key"),
        (status = 409, description = "Another organization has this name or id"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn create(
    _: Operator,
    Body(request): Body<OrganizationRequest>,
    front: Data<Front>,
) -> Result<Json<OrganizationResource>, ApiError> {
    let name = checked_name(&front, &request.name, None).await?;
    let now = front.world.clock.now();
    if let Some(id) = request.organization_id {
        check_id(&front, id).await?;
    }
    let id = request.organization_id.unwrap_or_else(|| front.world.mint.mint(now));
    let organization = Organization::new(id, name, now);
    db::organizations::insert(&front.db, &organization).await?;
    tracing::info!("organization {id} is created");
    Ok(Json(OrganizationResource::of(organization, &front)))
}

/// All organizations, the oldest first.
#[utoipa::path(
    get,
    path = "/admin/organizations",
    tag = "Operation",
    responses(
        (status = 200, description = "The organizations", body = Vec<OrganizationResource>),
        (status = 403, description = "This is not an operator key"),
    ),
)]
pub async fn list(
    _: Operator,
    front: Data<Front>,
) -> Result<Json<Vec<OrganizationResource>>, ApiError> {
    let all = db::organizations::list(&front.db).await?.into_iter();
    Ok(Json(all.map(|organization| OrganizationResource::of(organization, &front)).collect()))
}

/// Returns an organization by its id.
#[utoipa::path(
    get,
    path = "/admin/organizations/{organization_id}",
    tag = "Operation",
    params(("organization_id" = String, Path, description = "`o_…`")),
    responses(
        (status = 200, description = "The organization", body = OrganizationResource),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such organization"),
    ),
)]
pub async fn show(
    _: Operator,
    PathId(id): PathId<OrganizationId>,
    front: Data<Front>,
) -> Result<Json<OrganizationResource>, ApiError> {
    Ok(Json(OrganizationResource::whole(find(&front, id).await?, &front).await?))
}

/// Renames an organization, changes its quotas and its retention, suspends it, or resumes it. A suspended organization keeps its
/// stored data; its keys are not accepted, and its runs and sessions are ended in order.
#[utoipa::path(
    patch,
    path = "/admin/organizations/{organization_id}",
    tag = "Operation",
    params(("organization_id" = String, Path, description = "`o_…`")),
    request_body = Change,
    responses(
        (status = 200, description = "The organization", body = OrganizationResource),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such organization"),
        (status = 409, description = "Another organization has this name, or this one is being deleted"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn change(
    _: Operator,
    PathId(id): PathId<OrganizationId>,
    Body(Change { name, suspended, quotas, retention }): Body<Change>,
    front: Data<Front>,
) -> Result<Json<OrganizationResource>, ApiError> {
    if find(&front, id).await?.deleted_at.is_some() {
        let detail = format!("organization {id} is being deleted");
        return Err(Problem::new(StatusCode::CONFLICT, "organization_deleted", detail).into());
    }
    let limits = quotas.as_ref().map(quotas::checked).transpose()?;
    let retention = retention.as_ref().map(retention::checked).transpose()?;
    if let Some(name) = name {
        let name = checked_name(&front, &name, Some(id)).await?;
        db::organizations::rename(&front.db, id, &name).await?;
    }
    if let Some(limits) = limits {
        quotas::changed(&front, id, limits).await?;
    }
    if let Some(retention) = retention {
        retention::changed(&front, id, retention).await?;
    }
    if let Some(suspended) = suspended {
        let at = suspended.then(|| front.world.clock.now());
        if db::organizations::set_suspended(&front.db, id, at).await? {
            let what = if suspended { "suspended" } else { "in force again" };
            tracing::info!("organization {id} is {what}");
        }
        let keys = db::api_keys::list(&front.db, id).await?;
        front.keys.ended(&keys.iter().map(|key| key.id).collect::<Vec<_>>());
        front.suspended.notify_one();
    }
    Ok(Json(OrganizationResource::whole(find(&front, id).await?, &front).await?))
}

/// Creates a key of an organization. Only this response shows it, as `key`.
#[utoipa::path(
    post,
    path = "/admin/organizations/{organization_id}/api_keys",
    tag = "Operation",
    params(("organization_id" = String, Path, description = "`o_…`")),
    request_body = ApiKeyRequest,
    responses(
        (status = 200, description = "The key, with `key`", body = ApiKeyResource),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such organization"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn make_key(
    _: Operator,
    PathId(id): PathId<OrganizationId>,
    Body(request): Body<ApiKeyRequest>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    find(&front, id).await?;
    let made = api_keys::make(&front, id, KeyRole::Operator, request).await?;
    Ok(api_keys::answer_once(&made))
}

/// Lists the keys of an organization, including those that have ended, newest first.
#[utoipa::path(
    get,
    path = "/admin/organizations/{organization_id}/api_keys",
    tag = "Operation",
    params(("organization_id" = String, Path, description = "`o_…`")),
    responses(
        (status = 200, description = "The keys", body = Vec<ApiKeyResource>),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such organization"),
    ),
)]
pub async fn list_keys(
    _: Operator,
    PathId(id): PathId<OrganizationId>,
    front: Data<Front>,
) -> Result<Json<Vec<ApiKeyResource>>, ApiError> {
    find(&front, id).await?;
    api_keys::shown(&front, id).await
}

/// Revokes a key of an organization, and ends at once everything that was opened with it.
#[utoipa::path(
    delete,
    path = "/admin/organizations/{organization_id}/api_keys/{api_key_id}",
    tag = "Operation",
    params(
        ("organization_id" = String, Path, description = "`o_…`"),
        ("api_key_id" = String, Path, description = "`oat_…`"),
    ),
    responses(
        (status = 200, description = "The revoked key", body = ApiKeyResource),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such key"),
    ),
)]
pub async fn revoke_key(
    _: Operator,
    PathId((id, key)): PathId<(OrganizationId, ApiKeyId)>,
    front: Data<Front>,
) -> Result<Json<ApiKeyResource>, ApiError> {
    api_keys::revoke(&front, id, KeyRole::Operator, key).await.map(Json)
}

/// Replaces a key of the organization by a new one. The former key stays valid for a while and then ends.
#[utoipa::path(
    post,
    path = "/admin/organizations/{organization_id}/api_keys/{api_key_id}/rotate",
    tag = "Operation",
    params(
        ("organization_id" = String, Path, description = "`o_…`"),
        ("api_key_id" = String, Path, description = "`oat_…`"),
    ),
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The new key, with `key`", body = ApiKeyResource),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such key"),
        (status = 409, description = "The key has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn rotate_key(
    _: Operator,
    PathId((id, key)): PathId<(OrganizationId, ApiKeyId)>,
    RawBody(body): RawBody,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let rotation = if body.is_empty() { Rotation::default() } else { parse(&body)? };
    let made = api_keys::rotate(&front, id, KeyRole::Operator, key, rotation).await?;
    Ok(api_keys::answer_once(&made))
}
