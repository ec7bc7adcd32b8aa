//! `POST /v1/browser_sessions/{id}/files`: a file for the session's browser.
//!
//! The body goes to the disk as it arrives. The client may take any time as long as bytes arrive.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix_multipart::Multipart;
use actix_web::dev::{Decompress, Payload};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data, Json};
use actix_web::{HttpRequest, ResponseError as _};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::form::{self, UploadForm};
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
use crate::system::desktop::files::{Folder, SessionFiles, Upload, UploadError, Uploaded};

/// The longest time without a byte of the body.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

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

/// Uploads a file into the folder `uploads` of a session; the body is the content, or a form with one
/// file (`multipart/form-data`). The answer has the name of the file, which is made safe, and numbered if another file has it; and its path for
/// the session's browser. A session that waits for its first use is started.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/files",
    tag = "Files of sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("name" = Option<String>, Query, description = "The name of the file; by default that of the part of a form"),
    ),
    request_body(content((Vec<u8> = "application/octet-stream"), (UploadForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "The file", body = SessionFile),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is still starting: try again"),
        (status = 410, description = "The session has ended"),
        (status = 413, description = "The file is larger than `desktop.uploads.max_file_mib`"),
        (status = 415, description = "The body has several parts, and is no form"),
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
    let is_form = is_form(&request)?;
    let name = name_of(&request, is_form)?;
    front.awake(organization, id).await?;
    let files = files_of(&front, organization, id).await?;
    // The rest of a refused body is read after its form was.
    let body =
        Rc::new(RefCell::new(Decompress::from_headers(payload.into_inner(), request.headers())));
    let reader = Rc::clone(&body);
    let chunks = stream::poll_fn(move |context| reader.borrow_mut().poll_next_unpin(context));
    let receiving = async {
        let received = async {
            match is_form {
                true => receive_form(chunks, &request, files.clone(), name).await,
                false => receive_body(chunks, &request, files.clone(), name).await,
            }
        };
        tokio::select! {
            received = received => received,
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
                drain(&body).await;
            }
            return Err(refusal);
        }
    };
    let data = json!({ "folder": Folder::Uploads.as_str(), "filename": name, "file_size": size });
    front.world.events.record(subject(organization, id), EventKind::SessionFileUploaded, data);
    Ok(Json(shown_file(files, (id, Folder::Uploads, &name), &front).await?))
}

/// True if the body is a form, and false if it is the content of the file.
fn is_form(request: &HttpRequest) -> Result<bool, Problem> {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
    if media_type.starts_with("multipart/form-data") {
        return Ok(true);
    }
    if media_type.starts_with("multipart/") {
        let detail = "send the content of one file as the body, and its name as `?name=`, or a form \
                      (`multipart/form-data`) with one file";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "media_type_unsupported", detail).closing());
    }
    Ok(false)
}

/// Returns the name of the file in the query. A form may have it instead.
fn name_of(request: &HttpRequest, is_form: bool) -> Result<Option<String>, Problem> {
    let Params { name } = parse_query(request.query_string())?;
    let mut fields = Fields::of(RequestPart::Query);
    match &name {
        Some(name) if name.is_empty() => {
            fields.refuse("name", name.as_str(), "expected the name of the file");
        }
        None if !is_form => fields.missing("name"),
        Some(_) | None => {}
    }
    fields.finish().map(|()| name)
}

/// The length of the body that the request announces.
fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads and discards what comes of a body for a while.
async fn drain(body: &RefCell<Decompress<Payload>>) {
    let (mut left, until) = (MOST_DRAINED, Instant::now() + DRAIN_TIMEOUT);
    let mut chunks = stream::poll_fn(|context| body.borrow_mut().poll_next_unpin(context));
    while left > 0 && Instant::now() < until {
        match timeout(DRAIN_SILENCE, chunks.next()).await {
            Ok(Some(Ok(chunk))) => left = left.saturating_sub(chunk.len()),
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

/// Returns the problem of a body of which nothing more arrives.
pub(super) fn too_slow() -> Problem {
    let detail = format!("no byte of the body arrived for {} s", SILENCE.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).closing()
}

fn refused(cause: &UploadError) -> ApiError {
    error::upload(cause).closing().into()
}

/// Receives a file whose content is the body.
async fn receive_body(
    chunks: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    request: &HttpRequest,
    files: SessionFiles,
    name: Option<String>,
) -> Result<Uploaded, ApiError> {
    files.admits(announced(request).unwrap_or_default()).map_err(|cause| refused(&cause))?;
    let chunks = chunks.map(|chunk| {
        chunk.map_err(|cause| {
            let detail = format!("the body could not be read: {cause}");
            Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", detail).closing()
        })
    });
    finished(write(chunks, files, name.unwrap_or_default()).await?).await
}

/// Receives a file that is a part of a form. It is there when the whole form has arrived.
async fn receive_form(
    chunks: impl Stream<Item = Result<Bytes, PayloadError>> + 'static,
    request: &HttpRequest,
    files: SessionFiles,
    name: Option<String>,
) -> Result<Uploaded, ApiError> {
    let least = announced(request).unwrap_or_default().saturating_sub(form::AROUND_FILE);
    files.admits(least).map_err(|cause| refused(&cause))?;
    let mut form = Multipart::new(request.headers(), chunks);
    let (part, given) = form::file(&mut form).await?;
    let chunks = part.map(|chunk| chunk.map_err(|cause| form::unreadable(&cause)));
    let upload = write(chunks, files, name.unwrap_or(given)).await?;
    form::end(&mut form).await?;
    finished(upload).await
}

/// Writes the content of a file as it arrives.
async fn write(
    mut chunks: impl Stream<Item = Result<Bytes, Problem>> + Unpin,
    files: SessionFiles,
    name: String,
) -> Result<Upload, ApiError> {
    let begun = on_disk(move || files.upload(&[], &name)).await?;
    let mut upload = begun.map_err(|cause| refused(&cause))?;
    loop {
        let chunk = timeout(SILENCE, chunks.next()).await.map_err(|_late| too_slow())?;
        let Some(chunk) = chunk.transpose()? else { return Ok(upload) };
        let written = on_disk(move || upload.write(&chunk).map(|()| upload)).await?;
        upload = written.map_err(|cause| refused(&cause))?;
    }
}

async fn finished(upload: Upload) -> Result<Uploaded, ApiError> {
    let finished = on_disk(move || upload.finish()).await?;
    finished.map_err(|cause| refused(&cause))
}
