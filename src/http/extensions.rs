//! `/v1/extensions`: the browser extensions of an organization, uploaded as ZIP archives.
//!
//! A session that is created with one gets a copy. Deleting an extension takes it from no session.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, ServiceConfig, get, post, resource as at};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::error;
use utoipa::ToSchema;

use super::body::{PathId, RawBody};
use super::caller::Caller;
use super::front::Front;
use super::problem::Problem;
use crate::actors::journal::{FileChange, Outcome};
use crate::domain::extension::Extension;
use crate::domain::ids::ExtensionId;
use crate::system::extensions::{ExtensionError, Extensions};

pub fn routes(config: &mut ServiceConfig) {
    config.service(at("/v1/extensions").route(post().to(upload)).route(get().to(list))).service(
        at("/v1/extensions/{id}").route(get().to(show)).route(actix_web::web::delete().to(delete)),
    );
}

/// An extension that the organization has uploaded.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExtensionResource {
    /// The id, `ext_…`, for `extensions` of a session.
    pub extension_id: String,
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: String,
    /// The permissions that it declares, the optional ones included.
    pub permissions: Vec<String>,
    /// The SHA-256 of the uploaded archive, in hexadecimal digits.
    pub sha256: String,
    /// The unpacked size, in bytes.
    pub size_bytes: u64,
    /// The number of files.
    pub files: u64,
    /// The time of the upload.
    pub created_at: DateTime<Utc>,
}

impl From<Extension> for ExtensionResource {
    fn from(extension: Extension) -> Self {
        let Extension { id, name, version, permissions, sha256, bytes, files, created_at } =
            extension;
        let (extension_id, size_bytes) = (id.to_string(), bytes);
        Self { extension_id, name, version, permissions, sha256, size_bytes, files, created_at }
    }
}

/// Does work on the store, on a thread that may block.
async fn stored<T: Send + 'static>(
    front: &Front,
    work: impl FnOnce(Extensions) -> Result<T, ExtensionError> + Send + 'static,
) -> Result<T, Problem> {
    let store = front.world.launcher.extensions();
    let done = tokio::task::spawn_blocking(move || work(store)).await;
    let done = done.unwrap_or_else(|cause| Err(std::io::Error::other(cause).into()));
    done.map_err(|cause| {
        let detail = cause.to_string();
        let refusal = StatusCode::UNPROCESSABLE_ENTITY;
        match cause {
            ExtensionError::Invalid(_) => Problem::new(refusal, "extension_invalid", detail),
            ExtensionError::TooMany => Problem::new(refusal, "too_many_extensions", detail),
            ExtensionError::Io(cause) => {
                error!(error = %cause, "an extension cannot be read or stored");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Problem::new(status, "internal", "the extension cannot be read or stored")
            }
        }
    })
}

/// Records a change of the store, made or not, in the audit trail.
fn record<T>(
    front: &Front,
    caller: Caller,
    kind: &'static str,
    summary: Value,
    changed: &Result<T, Problem>,
) {
    let (outcome, note) = match changed {
        Ok(_) => (Outcome::Done, None),
        Err(problem) if problem.status.is_client_error() => {
            (Outcome::Refused, Some(problem.to_string()))
        }
        Err(problem) => (Outcome::Failed, Some(problem.to_string())),
    };
    let organization = caller.organization;
    let change = FileChange { kind, sender: "http", receiver: "extensions", organization, summary };
    front.world.journal.record(change, outcome, note);
}

/// Returns an extension of the caller's organization.
pub(super) async fn find(
    front: &Front,
    caller: Caller,
    id: ExtensionId,
) -> Result<Option<Extension>, Problem> {
    let organization = caller.organization;
    stored(front, move |store| Ok(store.get(organization, id)?)).await
}

/// Stores an extension: a ZIP archive of an unpacked extension with Manifest V3, as the body. Its
/// permissions must not undo the isolation of a session, as `debugger`, `nativeMessaging` and `proxy`
/// would.
#[utoipa::path(
    post,
    path = "/v1/extensions",
    tag = "Extensions",
    request_body(content = Vec<u8>, content_type = "application/zip"),
    responses(
        (status = 200, description = "The extension", body = ExtensionResource),
        (status = 413, description = "The archive is larger than a body may be"),
        (status = 422, description = "It is no extension that a session may have (`extension_invalid`), or there are too many"),
    ),
)]
pub async fn upload(
    caller: Caller,
    RawBody(bytes): RawBody,
    front: Data<Front>,
) -> Result<Json<ExtensionResource>, Problem> {
    let now = front.world.clock.now();
    let (organization, id) = (caller.organization, front.world.mint.mint(now));
    let allowed = front.world.settings.browsers.permissions.clone();
    let archive_bytes = bytes.len();
    let add = move |store: Extensions| store.add(organization, id, &bytes, &allowed, now);
    let added = stored(&front, add).await;
    let key = caller.key;
    let summary = match &added {
        Ok(Extension { name, version, sha256, .. }) => json!({
            "api_key_id": key, "extension_id": id, "name": name, "version": version,
            "sha256": sha256, "archive_bytes": archive_bytes,
        }),
        Err(_) => json!({ "api_key_id": key, "archive_bytes": archive_bytes }),
    };
    record(&front, caller, "upload_extension", summary, &added);
    Ok(Json(added?.into()))
}

/// Returns the extensions of the organization, newest first.
#[utoipa::path(
    get,
    path = "/v1/extensions",
    tag = "Extensions",
    responses((status = 200, description = "The extensions", body = Vec<ExtensionResource>)),
)]
pub async fn list(
    caller: Caller,
    front: Data<Front>,
) -> Result<Json<Vec<ExtensionResource>>, Problem> {
    let organization = caller.organization;
    let found = stored(&front, move |store| Ok(store.list(organization)?)).await?;
    Ok(Json(found.into_iter().map(Into::into).collect()))
}

/// Returns an extension of the organization.
#[utoipa::path(
    get,
    path = "/v1/extensions/{extension_id}",
    tag = "Extensions",
    params(("extension_id" = String, Path, description = "`ext_…`")),
    responses(
        (status = 200, description = "The extension", body = ExtensionResource),
        (status = 404, description = "There is no such extension"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<ExtensionId>,
    front: Data<Front>,
) -> Result<Json<ExtensionResource>, Problem> {
    let found = find(&front, caller, id).await?;
    found.map(|found| Json(found.into())).ok_or_else(|| Problem::unknown::<ExtensionId>(id))
}

/// Deletes an extension, and returns it. Sessions that have it keep their copy.
#[utoipa::path(
    delete,
    path = "/v1/extensions/{extension_id}",
    tag = "Extensions",
    params(("extension_id" = String, Path, description = "`ext_…`")),
    responses(
        (status = 200, description = "The deleted extension", body = ExtensionResource),
        (status = 404, description = "There is no such extension"),
    ),
)]
pub async fn delete(
    caller: Caller,
    PathId(id): PathId<ExtensionId>,
    front: Data<Front>,
) -> Result<Json<ExtensionResource>, Problem> {
    let organization = caller.organization;
    let remove = move |store: Extensions| {
        let found = store.get(organization, id)?;
        store.delete(organization, id)?;
        Ok(found)
    };
    let found = stored(&front, remove).await;
    let found = found.and_then(|found| found.ok_or_else(|| Problem::unknown::<ExtensionId>(id)));
    let summary = json!({ "api_key_id": caller.key, "extension_id": id });
    record(&front, caller, "delete_extension", summary, &found);
    Ok(Json(found?.into()))
}
