//! `/v1/api_keys`: the keys of an organization, managed by callers that have one of them.
//!
//! A page's token manages no keys: a key that it made would outlive the token's hour.

mod making;
mod resource;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Json, ServiceConfig, get, post, resource as at};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload};
use std::pin::Pin;

pub use self::making::{ApiKeyRequest, Rotation, make, revoke, rotate};
pub use self::resource::ApiKeyResource;
use super::body::{Body, PathId, RawBody, parse};
use super::caller::{Bearer, Caller, key_of, refused};
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use crate::db;
use crate::domain::ids::{ApiKeyId, OrganizationId};
use crate::domain::tenancy::{ApiKey, KeyRole};
use crate::service::keys::is_page_token;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(at("/v1/api_keys").route(post().to(create)).route(get().to(list)))
        .service(
            at("/v1/api_keys/{key}").route(get().to(show)).route(actix_web::web::delete().to(end)),
        )
        .route("/v1/api_keys/{key}/rotate", post().to(renew));
}

/// A caller that may manage the keys of the organization: a key whose role is at least
/// `organization`.
#[derive(Debug, Clone, Copy)]
pub struct Manager {
    /// The caller that the key belongs to.
    caller: Caller,
    /// The role of the caller's key, which is the highest that it may grant.
    role: KeyRole,
}

impl FromRequest for Manager {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_token = key_of(request).is_some_and(|key| is_page_token(&key));
        let bearer = Bearer::from_request(request, payload);
        Box::pin(async move {
            if is_token {
                return Err(refused());
            }
            let bearer = bearer.await?;
            let role = bearer.role;
            Ok(Self { caller: bearer.whole()?, role })
        })
    }
}

/// Finds a key of an organization, revoked or not.
///
/// # Errors
///
/// 404 if there is none.
pub async fn find(
    front: &Front,
    organization: OrganizationId,
    id: ApiKeyId,
) -> Result<ApiKey, ApiError> {
    let found = db::api_keys::by_id(&front.db, organization, id).await?;
    found.ok_or_else(|| Problem::unknown::<ApiKeyId>(id).into())
}

/// Lists the keys of an organization as the API shows them, newest first.
///
/// # Errors
///
/// [`crate::db::DbError::Unavailable`].
pub async fn shown(
    front: &Front,
    organization: OrganizationId,
) -> Result<Json<Vec<ApiKeyResource>>, ApiError> {
    let keys = db::api_keys::list(&front.db, organization).await?;
    Ok(Json(keys.into_iter().map(|key| ApiKeyResource::of(key, front)).collect()))
}

/// Returns an answer that shows a key in clear, which no cache may keep.
pub fn answer_once(resource: &ApiKeyResource) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(resource)
}

/// Creates a key. Only this response shows it, as `key`.
#[utoipa::path(
    post,
    path = "/v1/api_keys",
    tag = "Credentials",
    request_body = ApiKeyRequest,
    responses(
        (status = 200, description = "The key, with `key`", body = ApiKeyResource),
        (status = 403, description = "The role is above the role of the caller's key"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn create(
    manager: Manager,
    Body(request): Body<ApiKeyRequest>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let organization = manager.caller.organization;
    Ok(answer_once(&make(&front, organization, manager.role, request).await?))
}

/// Lists the organization's keys, including those that have ended, newest first.
#[utoipa::path(
    get,
    path = "/v1/api_keys",
    tag = "Credentials",
    responses((status = 200, description = "The keys", body = Vec<ApiKeyResource>)),
)]
pub async fn list(
    manager: Manager,
    front: Data<Front>,
) -> Result<Json<Vec<ApiKeyResource>>, ApiError> {
    shown(&front, manager.caller.organization).await
}

/// Returns one key, without its secret.
#[utoipa::path(
    get,
    path = "/v1/api_keys/{api_key_id}",
    tag = "Credentials",
    params(("api_key_id" = String, Path, description = "`oat_…`")),
    responses(
        (status = 200, description = "The key", body = ApiKeyResource),
        (status = 404, description = "There is no such key"),
    ),
)]
pub async fn show(
    manager: Manager,
    PathId(id): PathId<ApiKeyId>,
    front: Data<Front>,
) -> Result<Json<ApiKeyResource>, ApiError> {
    let key = find(&front, manager.caller.organization, id).await?;
    Ok(Json(ApiKeyResource::of(key, &front)))
}

/// Revokes a key, and ends at once everything that was opened with it: requests, DevTools, streams,
/// tickets, leases, links and pages' tokens. A key may revoke itself. Repeating the request is
/// harmless.
#[utoipa::path(
    delete,
    path = "/v1/api_keys/{api_key_id}",
    tag = "Credentials",
    params(("api_key_id" = String, Path, description = "`oat_…`")),
    responses(
        (status = 200, description = "The revoked key", body = ApiKeyResource),
        (status = 403, description = "The role of the key is above the role of the caller's key"),
        (status = 404, description = "There is no such key"),
    ),
)]
pub async fn end(
    manager: Manager,
    PathId(id): PathId<ApiKeyId>,
    front: Data<Front>,
) -> Result<Json<ApiKeyResource>, ApiError> {
    revoke(&front, manager.caller.organization, manager.role, id).await.map(Json)
}

/// Replaces a key by a new one. The former key stays valid for a while and then ends.
#[utoipa::path(
    post,
    path = "/v1/api_keys/{api_key_id}/rotate",
    tag = "Credentials",
    params(("api_key_id" = String, Path, description = "`oat_…`")),
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The new key, with `key`", body = ApiKeyResource),
        (status = 403, description = "The role of the key is above the role of the caller's key"),
        (status = 404, description = "There is no such key"),
        (status = 409, description = "The key has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn renew(
    manager: Manager,
    PathId(id): PathId<ApiKeyId>,
    RawBody(body): RawBody,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let rotation = if body.is_empty() { Rotation::default() } else { parse(&body)? };
    let organization = manager.caller.organization;
    Ok(answer_once(&rotate(&front, organization, manager.role, id, rotation).await?))
}
