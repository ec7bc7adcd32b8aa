//! `/v1/browser_sessions/{id}/files`: the files of a live session.
//!
//! A session has two folders: `downloads`, which its browser fills, and `uploads`, which clients
//! fill. Both end with the session. A download is also stored as an artifact when it is complete.

pub mod archive;
pub mod change;
pub mod fetch;
mod form;
pub mod upload;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::{Data, Json, ServiceConfig, get, patch, post, resource as at};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::find;
use crate::actors::registry::RouteError;
use crate::actors::session::SessionError;
use crate::domain::event::Subject;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::http::body::PathId;
use crate::http::caller::FileClient;
use crate::http::ending::until;
use crate::http::error::{self, ApiError};
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::system::desktop::files::{FileEntry, Folder, SessionFiles};

/// The characters of a segment of a path that are encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/browser_sessions/{id}/files")
                .route(get().to(list))
                .route(post().to(upload::upload)),
        )
        .route("/v1/browser_sessions/{id}/files.zip", get().to(archive::archive))
        .service(
            at("/v1/browser_sessions/{id}/files/{folder}/{name}")
                .route(get().to(fetch::fetch))
                .route(patch().to(change::rename))
                .route(actix_web::web::delete().to(change::delete)),
        );
}

/// A file of a live session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionFile {
    /// The folder: `downloads` or `uploads`.
    pub folder: &'static str,
    /// The name. Characters that would mislead a reader are shown as `%XX`; addresses take the name
    /// in this form.
    pub name: String,
    /// The address of the content, for clients with the organization's key.
    pub uri: String,
    /// The path at which the session's browser reads an uploaded file, such as for `set_input_files`
    /// over DevTools; null for downloads.
    pub path: Option<String>,
    /// The size in bytes.
    pub file_size: u64,
    /// The media type by the name, such as `image/png`.
    pub media_type: String,
    /// The SHA-256 hash of the content; null for a download that is not stored yet.
    pub checksum: Option<String>,
    /// The id of the artifact that a download is stored as, `a_…`.
    pub artifact_id: Option<String>,
    /// False for a download in progress.
    pub complete: bool,
    /// The time of the last change of the content.
    pub modified_at: DateTime<Utc>,
}

impl SessionFile {
    fn of(entry: FileEntry, session: SessionId, front: &Front) -> Self {
        let FileEntry { folder, name, path, size, modified, is_complete, content } = entry;
        let (seconds, nanoseconds) = modified;
        let path = match folder {
            Folder::Uploads => path.to_str().map(str::to_owned),
            Folder::Downloads => None,
        };
        Self {
            folder: folder.as_str(),
            uri: format!(
                "{}/v1/browser_sessions/{session}/files/{}/{}",
                front.base_url(),
                folder.as_str(),
                utf8_percent_encode(&name, SEGMENT),
            ),
            path,
            file_size: size,
            media_type: media_type(&name),
            name,
            checksum: content.checksum,
            artifact_id: content.artifact.map(|id| id.to_string()),
            complete: is_complete,
            modified_at: DateTime::from_timestamp(seconds, nanoseconds).unwrap_or_default(),
        }
    }
}

fn media_type(name: &str) -> String {
    mime_guess::from_path(name).first_or_octet_stream().to_string()
}

/// Returns the files of a session that lives here.
///
/// # Errors
///
/// 404 for an unknown session; 410 for one that has ended.
async fn files_of(
    front: &Front,
    organization: OrganizationId,
    id: SessionId,
) -> Result<SessionFiles, ApiError> {
    let view = find(front, organization, id).await?;
    if view.closing || view.record.status.is_final() {
        return Err(error::files_gone(id).into());
    }
    if front.world.views.session(organization, id).is_none() {
        return Err(RouteError::Session(SessionError::Closing).into());
    }
    Ok(front.world.directories.files_of(id))
}

/// Resolves when the session has ended, or is about to end.
async fn over(front: &Front, organization: OrganizationId, session: SessionId) {
    if let Some(mut view) = front.world.views.session(organization, session) {
        let over = view.wait_for(|view| view.closing || view.record.status.is_final());
        let _ = over.await; // A closed channel is the end too.
    }
}

/// Makes an answer break off when the client may no longer read the session's files.
fn ending(
    answer: HttpResponse,
    client: FileClient,
    session: SessionId,
    front: &Data<Front>,
) -> HttpResponse {
    let front = front.clone();
    until(answer, async move {
        let over = over(&front, client.organization, session);
        let _ = client.unless_over(&front, over).await; // Either is the end.
    })
}

fn subject(organization: OrganizationId, session: SessionId) -> Subject {
    Subject { organization, session: Some(session), run: None }
}

/// Runs file operations on a blocking thread.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|cause| error::upload(&std::io::Error::other(cause).into()).into())
}

/// Lists the files of both folders.
async fn listed(
    files: SessionFiles,
    session: SessionId,
    front: &Front,
) -> Result<Vec<SessionFile>, ApiError> {
    let entries = on_disk(move || files.list()).await?;
    let entries = entries.map_err(|cause| error::file(&cause, ""))?;
    Ok(entries.into_iter().map(|entry| SessionFile::of(entry, session, front)).collect())
}

/// Returns one file as it is now.
async fn shown_file(
    files: SessionFiles,
    (session, folder, name): (SessionId, Folder, &str),
    front: &Front,
) -> Result<SessionFile, ApiError> {
    let text = name.to_owned();
    let entry = on_disk(move || files.entry(folder, &text)).await?;
    let entry = entry.map_err(|cause| error::file(&cause, name))?;
    Ok(SessionFile::of(entry, session, front))
}

/// The folder and the name of a file in a path.
#[derive(Debug)]
pub struct FilePath {
    session: SessionId,
    folder: Folder,
    name: String,
}

impl FromRequest for FilePath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = |name: &str| request.match_info().get(name).unwrap_or_default();
        // The path as it came: the router decodes only a part of the escapes.
        let name = request.uri().path().rsplit('/').next().unwrap_or_default();
        let unknown = || error::file(&std::io::ErrorKind::NotFound.into(), name);
        let read = || {
            let session =
                text("id").parse().map_err(|_odd| Problem::unknown::<SessionId>(text("id")));
            let folder = Folder::from_name(text("folder")).ok_or_else(unknown);
            let decoded = percent_decode_str(name).decode_utf8().map_err(|_odd| unknown());
            Ok(Self { session: session?, folder: folder?, name: decoded?.into_owned() })
        };
        ready(read())
    }
}

/// Lists the files of a session's folders, by folder and name, at most 1000 of each. A session whose
/// browser has not started has none.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/files",
    tag = "Files of sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The files", body = Vec<SessionFile>),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended; its downloads are artifacts"),
    ),
)]
pub async fn list(
    client: FileClient,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Vec<SessionFile>>, ApiError> {
    let files = files_of(&front, client.organization, id).await?;
    Ok(Json(listed(files, id, &front).await?))
}
