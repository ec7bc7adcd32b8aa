//! `/v1/browser_sessions/{id}/recordings`: recordings of a session; and `…/artifacts`, its files.

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ask_session, find};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Record, RecordingMetadata, SessionError, StopRecording};
use crate::db;
use crate::domain::film::{FilmOptions, RECORDING};
use crate::domain::ids::{ArtifactId, OrganizationId, SessionId};
use crate::domain::run::{ArtifactRecord, DOWNLOAD};
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;
use crate::service::resources::artifact::{ArtifactResource, FileResource};
use crate::service::resources::links::Links;

/// The options of a recording; missing ones come from the server's settings.
#[derive(Debug, ToSchema)]
#[schema(as = RecordingRequest)]
#[expect(dead_code, reason = "it only describes the body that is read as `FilmOptions`")]
pub struct Request {
    /// The number of frames a second, 1 to 25.
    frame_rate: Option<u8>,
    /// The width in pixels, 200 to 7680; the height follows. Default: that of the display.
    width: Option<u16>,
    /// The file format: `mp4` or `webm`.
    format: Option<String>,
}

/// A recording that is running or completed.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingResource {
    /// The recording's id, `a_…`; its artifact gets the same id.
    pub recording_id: String,
    /// The session that is recorded.
    pub browser_session_id: String,
    /// The run that the recording belongs to.
    pub run_id: Option<String>,
    /// The recording's status: `recording` or `completed`.
    pub status: &'static str,
    /// The time at which it began; null once it is completed.
    pub began_at: Option<DateTime<Utc>>,
    /// The number of frames a second; null once it is completed.
    pub frame_rate: Option<u8>,
    /// The media type of the file.
    pub media_type: String,
    /// The file, once the recording is completed.
    pub file: Option<FileResource>,
}

impl RecordingResource {
    fn under_way(metadata: &RecordingMetadata) -> Self {
        Self {
            recording_id: metadata.id.to_string(),
            browser_session_id: metadata.session.to_string(),
            run_id: metadata.run.map(|run| run.to_string()),
            status: "recording",
            began_at: Some(metadata.began_at),
            frame_rate: Some(metadata.frame_rate),
            media_type: metadata.format.media_type().to_owned(),
            file: None,
        }
    }

    fn done(record: &ArtifactRecord, session: SessionId, links: &Links<'_>) -> Self {
        Self {
            recording_id: record.id.to_string(),
            browser_session_id: session.to_string(),
            run_id: record.run.map(|run| run.to_string()),
            status: "completed",
            began_at: None,
            frame_rate: None,
            media_type: record.media_type.clone(),
            file: Some(FileResource::of(record, links)),
        }
    }
}

/// Rejects options that no recording can have, and every recording without ffmpeg or disk space.
pub fn check(params: &FilmOptions, field: &str, front: &Front) -> Result<(), ApiError> {
    if let Err(wrong) = params.check() {
        let mut fields = Fields::new();
        let name = match field {
            "" => wrong.field.to_owned(),
            field => format!("{field}.{}", wrong.field),
        };
        fields.refuse(&name, serde_json::json!(params), wrong.expected);
        fields.finish()?;
    }
    let ready = front.world.films.ready();
    ready.map_err(|cause| RouteError::Session(SessionError::Film(cause)).into())
}

/// Starts a recording of a session.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/recordings",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The recording has started", body = RecordingResource),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 424, description = "ffmpeg is missing"),
        (status = 429, description = "The limit of recordings is reached, or the disk is full"),
    ),
)]
pub async fn start(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Body(params): Body<FilmOptions>,
    front: Data<Front>,
) -> Result<Json<RecordingResource>, ApiError> {
    check(&params, "", &front)?;
    front.check_storage(caller.organization).await?;
    let message = Record { options: params, run: None };
    let route = Route { organization: caller.organization, session: id, message };
    let metadata = ask_session(&front, route).await?;
    Ok(Json(RecordingResource::under_way(&metadata)))
}

/// Stops a recording, and answers when its file is ready. The request may be repeated.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/recordings/{recording_id}/stop",
    tag = "Browser sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("recording_id" = String, Path, description = "`a_…`"),
    ),
    responses(
        (status = 200, description = "The recording", body = RecordingResource),
        (status = 404, description = "There is no such session or recording"),
        (status = 410, description = "The session has ended"),
        (status = 424, description = "The recording failed"),
    ),
)]
pub async fn stop(
    caller: Caller,
    PathId((session, id)): PathId<(SessionId, ArtifactId)>,
    front: Data<Front>,
) -> Result<Json<RecordingResource>, ApiError> {
    let organization = caller.organization;
    let route = Route { organization, session, message: StopRecording { id } };
    let record = match ask_session(&front, route).await {
        Ok(record) => record,
        // The recording or its session may have ended by itself.
        Err(cause) => match finished(&front, organization, session, id).await? {
            Some(record) => record,
            None => {
                let gone =
                    matches!(&cause, ApiError::Route(RouteError::Session(SessionError::Closing)));
                let unknown = Problem::unknown::<ArtifactId>(id);
                return Err(if gone { unknown.into() } else { cause });
            }
        },
    };
    Ok(Json(RecordingResource::done(&record, session, &Links { core: &front, caller })))
}

async fn finished(
    front: &Front,
    organization: OrganizationId,
    session: SessionId,
    id: ArtifactId,
) -> Result<Option<ArtifactRecord>, ApiError> {
    let record = db::artifacts::by_id(&front.db, organization, id).await?;
    Ok(record.filter(|it| it.session == Some(session) && it.artifact_type == RECORDING))
}

/// Lists the recordings of a session, newest first.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/recordings",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The recordings", body = Vec<RecordingResource>),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn list(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Vec<RecordingResource>>, ApiError> {
    let view = find(&front, caller.organization, id).await?;
    let records = db::artifacts::of_session(&front.db, caller.organization, id).await?;
    let done = records.iter().rev().filter(|record| record.artifact_type == RECORDING);
    let links = Links { core: &front, caller };
    let done = done.map(|record| RecordingResource::done(record, id, &links));
    // A recording that was stored in between is completed.
    let is_stored =
        |metadata: &&RecordingMetadata| !records.iter().any(|record| record.id == metadata.id);
    let live = view.recordings.iter().rev().filter(is_stored).map(RecordingResource::under_way);
    Ok(Json(live.chain(done).collect()))
}

/// Returns the completed recordings and the downloads of a session, newest first, as the compatible
/// API lists them.
pub async fn files(
    front: &Front,
    caller: Caller,
    session: SessionId,
) -> Result<(Vec<FileResource>, Vec<FileResource>), ApiError> {
    let organization = caller.organization;
    let records = match front.world.views.session(organization, session) {
        Some(_lives_here) => db::artifacts::of_live_session(&front.db, organization, session).await,
        None => db::artifacts::of_session(&front.db, organization, session).await,
    }?;
    let links = Links { core: front, caller };
    let of_type = |artifact_type: &str| {
        let files = records.iter().rev().filter(|record| record.artifact_type == artifact_type);
        files.map(|record| FileResource::of(record, &links)).collect()
    };
    Ok((of_type(RECORDING), of_type(DOWNLOAD)))
}

/// Lists the files of a session and of the runs in it, oldest first, including recordings and black
/// boxes.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/artifacts",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The files", body = Vec<ArtifactResource>),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn artifacts(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Vec<ArtifactResource>>, ApiError> {
    find(&front, caller.organization, id).await?;
    let records = db::artifacts::of_session(&front.db, caller.organization, id).await?;
    let links = Links { core: &front, caller };
    Ok(Json(records.iter().map(|record| ArtifactResource::of(record, &links)).collect()))
}
