//! `/v1/artifacts`: files that runs made.
//!
//! A client reads a file with a key of the organization, or with a valid signed link (`links.rs`).

use std::future::pending;

use actix_web::http::header::ContentType;
use actix_web::web::{Data, Json, ServiceConfig, get};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse};

use super::body::{PathId, Query};
use super::caller::Caller;
use super::content::{self, StoredFile};
use super::ending::until;
use super::error::ApiError;
use super::file_answer;
use super::front::Front;
use super::links::Signature;
use super::problem::Problem;
use crate::db;
use crate::domain::ids::{ArtifactId, OrganizationId};
use crate::domain::run::ArtifactRecord;
use crate::service::resources::artifact::{ArtifactResource, file_name};
use crate::service::resources::links::{Links, SignedUrl};

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/artifacts/{id}", get().to(show))
        .route("/v1/artifacts/{id}/content", get().to(content))
        .route("/v1/artifacts/{id}/signed-url", get().to(sign));
}

async fn find(
    front: &Front,
    organization: OrganizationId,
    id: ArtifactId,
) -> Result<ArtifactRecord, ApiError> {
    let found = db::artifacts::by_id(&front.db, organization, id).await?;
    found.ok_or_else(|| Problem::unknown::<ArtifactId>(id).into())
}

/// Returns the record of a file.
#[utoipa::path(
    get,
    path = "/v1/artifacts/{artifact_id}",
    tag = "Artifacts",
    params(("artifact_id" = String, Path, description = "`a_…`")),
    responses(
        (status = 200, description = "The metadata of the file", body = ArtifactResource),
        (status = 404, description = "There is no such file"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<ArtifactId>,
    front: Data<Front>,
) -> Result<Json<ArtifactResource>, ApiError> {
    let record = find(&front, caller.organization, id).await?;
    Ok(Json(ArtifactResource::of(&record, &Links { core: &front, caller })))
}

/// Returns a URL of a file that needs no key until it expires.
#[utoipa::path(
    get,
    path = "/v1/artifacts/{artifact_id}/signed-url",
    tag = "Artifacts",
    params(("artifact_id" = String, Path, description = "`a_…`")),
    responses(
        (status = 200, description = "The URL", body = SignedUrl),
        (status = 404, description = "There is no such file"),
    ),
)]
pub async fn sign(
    caller: Caller,
    PathId(id): PathId<ArtifactId>,
    front: Data<Front>,
) -> Result<Json<SignedUrl>, ApiError> {
    let record = find(&front, caller.organization, id).await?;
    Ok(Json(Links { core: &front, caller }.of(&record)))
}

/// Returns the content of a file. Range requests work as in RFC 9110 (section 14), so that players
/// can seek in a recording. The content breaks off when the key of the request, or of the URL, is revoked.
#[utoipa::path(
    get,
    path = "/v1/artifacts/{artifact_id}/content",
    tag = "Artifacts",
    params(
        ("artifact_id" = String, Path, description = "`a_…`"),
        ("organization" = Option<String>, Query, description = "The organization of a signed URL"),
        ("key" = Option<String>, Query, description = "The key of a signed URL"),
        ("expires" = Option<i64>, Query, description = "The end of a signed URL, in Unix seconds"),
        ("rotation" = Option<i64>, Query, description = "The rotation of a signed URL"),
        ("signature" = Option<String>, Query, description = "The signature of a signed URL"),
    ),
    responses(
        (status = 200, description = "The content", content_type = "*/*"),
        (status = 206, description = "The part of the file that `Range` names"),
        (status = 304, description = "The client has the current file"),
        (status = 412, description = "The file differs from the client's (`If-Match`)"),
        (status = 416, description = "The file has no such part; `Content-Range` has the file's length"),
        (status = 403, description = "The request has no valid key and no valid signature"),
        (status = 404, description = "There is no such file"),
        (status = 410, description = "The file is lost"),
        (status = 503, description = "The store of files does not answer; `storage_unavailable`"),
    ),
)]
pub async fn content(
    PathId(id): PathId<ArtifactId>,
    Query(signature): Query<Signature>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let (organization, key) = if signature.is_given() {
        (signature.organization(id, &front).await?, signature.key())
    } else {
        let Caller { organization, key, .. } = Caller::extract(&request).await?;
        (organization, Some(key))
    };
    let record = find(&front, organization, id).await?;
    signature.check_rotation(&record)?;
    let media_type = record.media_type.parse().unwrap_or_else(|_odd| ContentType::octet_stream().0);
    let file = StoredFile {
        key: &record.key(),
        media_type,
        size: u64::try_from(record.size).unwrap_or_default(),
        checksum: record.checksum.as_deref(),
        modified: record.created_at,
    };
    let response = content::content(&front.world.objects, &file, &request).await?;
    let cache = "private, max-age=3600, immutable";
    let answer = file_answer::headed(response, file_name(&record), &record.media_type, cache)?;
    Ok(until(answer, async move {
        let forever = pending::<()>();
        match key {
            Some(key) => drop(front.keys.unless_revoked(key, forever).await),
            None => forever.await,
        }
    }))
}
