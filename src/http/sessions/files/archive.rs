//! `GET /v1/browser_sessions/{id}/files.zip`: all files of a session as one archive, which is made
//! while the client reads it.

use std::io::{self, Write};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::web::{Bytes, Data};
use futures_util::stream::poll_fn;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::warn;

use super::files_of;
use crate::domain::ids::SessionId;
use crate::http::body::PathId;
use crate::http::caller::FileClient;
use crate::http::error::ApiError;
use crate::http::file_answer::disposition;
use crate::http::front::Front;
use crate::http::problem::Problem;

/// The most archives that are made at once: each has a thread.
static TURNS: Semaphore = Semaphore::const_new(4);

/// The bytes that go to the client in one piece.
const PIECE: usize = 64 * 1024;

/// The pieces that may wait for the client.
const WAITING: usize = 4;

/// The longest time for which the client takes no piece.
const STALL: Duration = Duration::from_secs(30);

/// The writer of an archive that goes to a client.
struct Pipe {
    out: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    runtime: Handle,
}

impl Pipe {
    /// Waits until the client has room. For a blocking thread.
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        match self.runtime.block_on(timeout(STALL, self.out.send(piece))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_left)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_late) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.piece) {
            piece if piece.is_empty() => Ok(()),
            piece => self.send(Ok(piece.into())),
        }
    }
}

/// Returns all complete files of a session as a ZIP archive, with names that each system takes.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/files.zip",
    tag = "Files of sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The archive", content_type = "application/zip"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended; its downloads are artifacts"),
        (status = 429, description = "Other archives are being made: try again"),
    ),
)]
pub async fn archive(
    client: FileClient,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let files = files_of(&front, client.organization, id).await?;
    let turn = TURNS.try_acquire().map_err(|_none| {
        let detail = "other archives are being made: try again";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_archives", detail)
            .retry_after(Duration::from_secs(5))
    })?;
    let (out, mut pieces) = mpsc::channel(WAITING);
    let mut pipe = Pipe { out, piece: Vec::new(), runtime: Handle::current() };
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        if let Err(cause) = files.archive(&mut pipe) {
            warn!("the archive of the files of {id} is not complete: {cause}");
            // The answer breaks off, so that no client takes it for a whole archive.
            let _ = pipe.send(Err(cause));
        }
    });
    let name = format!("{id}.zip");
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((CONTENT_DISPOSITION, disposition(&name, "application/zip")))
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .streaming(poll_fn(move |context| pieces.poll_recv(context))))
}
