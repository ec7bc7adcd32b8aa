//! `PATCH` and `DELETE /v1/browser_sessions/{id}/files/{folder}/{name}`: another name, and the end of
//! a file.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{FilePath, SessionFile, files_of, on_disk, shown_file, subject};
use crate::domain::event::EventKind;
use crate::domain::file_name::file_name;
use crate::http::body::Body;
use crate::http::caller::FileClient;
use crate::http::error::{self, ApiError};
use crate::http::front::Front;
use crate::http::validation::Fields;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = FileChange)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The new name, without a folder.
    name: String,
}

/// Renames a file within its folder.
#[utoipa::path(
    patch,
    path = "/v1/browser_sessions/{browser_session_id}/files/{folder}/{name}",
    tag = "Files of sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("folder" = String, Path, description = "`downloads` or `uploads`"),
        ("name" = String, Path, description = "The name, as in the list"),
    ),
    request_body = Request,
    responses(
        (status = 200, description = "The file", body = SessionFile),
        (status = 404, description = "There is no such session or file"),
        (status = 409, description = "Another file has this name"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn rename(
    client: FileClient,
    path: FilePath,
    Body(Request { name: to }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<SessionFile>, ApiError> {
    let client = client.with_key()?;
    let safe = file_name(&to);
    let mut fields = Fields::new();
    let expected = format!("expected a name that each system takes, such as `{safe}`");
    fields.require("name", to.as_str(), safe == to, expected);
    fields.finish()?;
    let FilePath { session, folder, name } = path;
    let files = files_of(&front, client.organization, session).await?;
    let (text, renaming) = (name.clone(), files.clone());
    let renamed = on_disk(move || renaming.rename(folder, &text, &to)).await?;
    renamed.map_err(|cause| error::renamed(&cause, &name))?;
    Ok(Json(shown_file(files, (session, folder, &safe), &front).await?))
}

/// Deletes a file of a session. An artifact with its content stays.
#[utoipa::path(
    delete,
    path = "/v1/browser_sessions/{browser_session_id}/files/{folder}/{name}",
    tag = "Files of sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("folder" = String, Path, description = "`downloads` or `uploads`"),
        ("name" = String, Path, description = "The name, as in the list"),
    ),
    responses(
        (status = 204, description = "The file is deleted"),
        (status = 404, description = "There is no such session or file"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn delete(
    client: FileClient,
    path: FilePath,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let client = client.with_key()?;
    let FilePath { session, folder, name } = path;
    let files = files_of(&front, client.organization, session).await?;
    let text = name.clone();
    let deleted = on_disk(move || files.delete(folder, &text)).await?;
    let deleted = deleted.map_err(|cause| error::file(&cause, &name))?;
    let data = json!({ "folder": folder.as_str(), "filename": deleted });
    let subject = subject(client.organization, session);
    front.world.events.record(subject, EventKind::SessionFileDeleted, data);
    Ok(HttpResponse::NoContent().finish())
}
