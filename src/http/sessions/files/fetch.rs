//! `GET /v1/browser_sessions/{id}/files/{folder}/{name}`: the content of a file.

use std::path::Path;

use actix_files::NamedFile;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{FilePath, ending, files_of, media_type, on_disk};
use crate::domain::file_name::file_name;
use crate::domain::shown_name::shown;
use crate::http::caller::FileClient;
use crate::http::error::{self, ApiError};
use crate::http::file_answer::answer;
use crate::http::front::Front;

/// Returns the content of a file of a session, under a name that each system takes. Range requests
/// work as for artifacts.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/files/{folder}/{name}",
    tag = "Files of sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("folder" = String, Path, description = "`downloads` or `uploads`"),
        ("name" = String, Path, description = "The name, as in the list"),
    ),
    responses(
        (status = 200, description = "The content", content_type = "*/*"),
        (status = 206, description = "The part of the file that `Range` names"),
        (status = 304, description = "The client has the current file"),
        (status = 412, description = "The file differs from the client's (`If-Match`)"),
        (status = 416, description = "The file has no such part; `Content-Range` has the file's length"),
        (status = 404, description = "There is no such session or file"),
        (status = 410, description = "The session has ended; its downloads are artifacts"),
    ),
)]
pub async fn fetch(
    client: FileClient,
    path: FilePath,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let FilePath { session, folder, name } = path;
    let files = files_of(&front, client.organization, session).await?;
    let text = name.clone();
    let opened = on_disk(move || files.open(folder, &text)).await?;
    let (file, real) = opened.map_err(|cause| error::file(&cause, &name))?;
    let safe = file_name(&shown(real.as_encoded_bytes()));
    let file = NamedFile::from_file(file, Path::new(&safe));
    let file = file.map_err(|cause| error::file(&cause, &name))?;
    let answer = answer(file, &safe, &media_type(&safe), "private, no-cache", &request)?;
    Ok(ending(answer, client, session, &front))
}
