//! `POST /v1/browser_sessions/{id}/files`: a file for the session's browser.
//!
//! The body goes to the disk as it arrives. The client may take any time as long as bytes arrive.

use std::time::Duration;

use actix_web::dev::{Decompress, Payload};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data, Json};
use actix_web::{HttpRequest, ResponseError as _};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{SessionFile, files_of, on_disk, over, shown_file, subject};
use crate::actors::registry::RouteError;
use crate::domain::event::EventKind;
use crate::domain::ids::SessionId;
use crate::http::body::{PathId, parse_query};
use crate::http::caller::FileClient;
use crate::http::error::{self, ApiError};
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::{Fields, RequestPart};
use crate::system::desktop::files::{Folder, SessionFiles, UploadError, Uploaded};

/// The longest time without a byte of the body.
const SILENCE: Duration = Duration::from_secs(30);

/// The rest of the body of a refused request that is read before the answer, in bytes and time: a
/// client that is still sending may not read an answer whose connection is closed.
const MOST_DRAINED: usize = 32 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DRAIN_SILENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    name: Option<String>,
}

/// Uploads a file into the folder `uploads` of a session; the body is the content. The answer has
/// the name of the file, which is made safe, and numbered if another file has it; and its path for
/// the session's browser. A session that waits for its first use is started.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/files",
    tag = "Files of sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("name" = String, Query, description = "The name of the file"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The file", body = SessionFile),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is still starting: try again"),
        (status = 410, description = "The session has ended"),
        (status = 413, description = "The file is larger than `desktop.uploads.max_file_mib`"),
        (status = 415, description = "The body is a form, and not the content of one file"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 429, description = "A limit of `desktop.uploads` is reached, or the disk is full"),
    ),
)]
pub async fn upload(
    client: FileClient,
    PathId(id): PathId<SessionId>,
    request: HttpRequest,
    payload: web::Payload,
    front: Data<Front>,
) -> Result<Json<SessionFile>, ApiError> {
    let organization = client.organization;
    files_of(&front, organization, id).await?;
    let name = name_of(&request)?;
    front.awake(organization, id).await?;
    let files = files_of(&front, organization, id).await?;
    let mut body = Decompress::from_headers(payload.into_inner(), request.headers());
    let receiving = async {
        tokio::select! {
            received = receive(&mut body, files.clone(), name, announced(&request)) => received,
            () = over(&front, organization, id) => Err(error::files_gone(id).closing().into()),
            () = front.closing.cancelled() => Err(RouteError::Draining.into()),
        }
    };
    let received = client.unless_over(&front, receiving).await.map_err(Problem::closing);
    let Uploaded { name, size, .. } = match received.map_err(ApiError::from).flatten() {
        Ok(uploaded) => uploaded,
        Err(refusal) => {
            let limits = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::TOO_MANY_REQUESTS];
            if limits.contains(&refusal.status_code()) {
                drain(&mut body).await;
            }
            return Err(refusal);
        }
    };
    let data = json!({ "folder": Folder::Uploads.as_str(), "filename": name, "file_size": size });
    front.world.events.record(subject(organization, id), EventKind::SessionFileUploaded, data);
    Ok(Json(shown_file(files, (id, Folder::Uploads, &name), &front).await?))
}

/// Returns the name of the file.
fn name_of(request: &HttpRequest) -> Result<String, Problem> {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if media_type.is_some_and(|it| it.to_ascii_lowercase().starts_with("multipart/")) {
        let detail = "forms are not read: send the content of one file as the body, and its name as \
                      `?name=`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "media_type_unsupported", detail).closing());
    }
    let Params { name } = parse_query(request.query_string())?;
    let mut fields = Fields::of(RequestPart::Query);
    match name {
        Some(name) if !name.is_empty() => Ok(name),
        Some(name) => {
            fields.refuse("name", name, "expected the name of the file");
            fields.finish().map(|()| String::new())
        }
        None => {
            fields.missing("name");
            fields.finish().map(|()| String::new())
        }
    }
}

/// The length of the body that the request announces.
fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads and discards what comes of a body for a while.
async fn drain(body: &mut Decompress<Payload>) {
    let (mut left, until) = (MOST_DRAINED, Instant::now() + DRAIN_TIMEOUT);
    while left > 0 && Instant::now() < until {
        match timeout(DRAIN_SILENCE, body.next()).await {
            Ok(Some(Ok(chunk))) => left = left.saturating_sub(chunk.len()),
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

async fn receive(
    body: &mut Decompress<Payload>,
    files: SessionFiles,
    name: String,
    announced: Option<u64>,
) -> Result<Uploaded, ApiError> {
    let refused = |cause: UploadError| ApiError::from(error::upload(&cause).closing());
    files.admits(announced.unwrap_or_default()).map_err(refused)?;
    let begun = on_disk(move || files.upload(&[], &name)).await?;
    let mut upload = begun.map_err(refused)?;
    loop {
        let chunk = match timeout(SILENCE, body.next()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_late) => {
                let detail = format!("no byte of the body arrived for {} s", SILENCE.as_secs());
                let status = StatusCode::REQUEST_TIMEOUT;
                return Err(Problem::new(status, "body_too_slow", detail).closing().into());
            }
        };
        let chunk: Bytes = chunk.map_err(|cause| {
            let detail = format!("the body could not be read: {cause}");
            Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", detail).closing()
        })?;
        let written = on_disk(move || upload.write(&chunk).map(|()| upload)).await?;
        upload = written.map_err(refused)?;
    }
    let finished = on_disk(move || upload.finish()).await?;
    finished.map_err(refused)
}
