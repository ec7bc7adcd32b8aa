//! `GET /v1/browser_sessions/{id}/files.zip`: all files of a session as one archive, which is made
//! while the client reads it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::web::{Bytes, Data};
use futures_util::stream::poll_fn;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use super::{ending, files_of};
use crate::domain::ids::SessionId;
use crate::http::body::PathId;
use crate::http::caller::FileClient;
use crate::http::error::ApiError;
use crate::http::file_answer::disposition;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::shares::Shares;

/// The archives that are made at once: 16, 3 of one organization. Each has a thread.
static TURNS: LazyLock<Shares> = LazyLock::new(|| Shares::new(16, 3));

/// The bytes that go to the client in one piece.
const PIECE: usize = 64 * 1024;

/// The pieces that may wait for the client.
const WAITING: usize = 4;

/// The longest time for which the client takes no piece.
const STALL: Duration = Duration::from_secs(30);

/// The time in which the slowest client takes a piece, on average: 32 KiB in a second.
const SLOWEST: Duration = Duration::from_secs(2);

/// The time for which the archive still waits for its client.
#[derive(Debug)]
struct Patience(Duration);

impl Patience {
    /// Counts a piece for which the client took this time.
    fn spend(&mut self, waited: Duration) {
        self.0 = self.0.saturating_sub(waited).saturating_add(SLOWEST).min(STALL);
    }
}

/// The writer of an archive that goes to a client.
struct Pipe {
    out: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    runtime: Handle,
    patience: Patience,
}

impl Pipe {
    /// Waits until the client has room. For a blocking thread.
    fn send(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let began = Instant::now();
        match self.runtime.block_on(timeout(self.patience.0, self.out.send(Ok(piece.into())))) {
            Ok(Ok(())) => {
                self.patience.spend(began.elapsed());
                Ok(())
            }
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
            piece => self.send(piece),
        }
    }
}

/// Returns all complete files of a session as a ZIP archive, with names that each system takes. It breaks off
/// when the client reads less than 32 KiB in a second, and when its key or ticket, or the session, ends.
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
    let turn = TURNS.take(client.organization, 1).ok_or_else(|| {
        let detail = "other archives of the organization, or of all, are being made: read one to its end, \
                      then try again";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_archives", detail)
            .retry_after(Duration::from_secs(5))
    })?;
    let (out, mut pieces) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let mut pipe =
        Pipe { out, piece: Vec::new(), runtime: Handle::current(), patience: Patience(STALL) };
    let is_whole = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&is_whole);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        match files.archive(&mut pipe) {
            Ok(()) => done.store(true, Ordering::Release), // Before the pipe ends.
            Err(cause) => warn!("the archive of the files of {id} is not complete: {cause}"),
        }
    });
    let name = format!("{id}.zip");
    let answer = HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((CONTENT_DISPOSITION, disposition(&name, "application/zip")))
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .streaming(poll_fn(move |context| {
            pieces.poll_recv(context).map(|piece| match piece {
                // The answer breaks off, so that no client takes it for a whole archive.
                None if !is_whole.load(Ordering::Acquire) => {
                    Some(Err(io::ErrorKind::UnexpectedEof.into()))
                }
                piece => piece,
            })
        }));
    Ok(ending(answer, client, id, &front))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_slower_than_the_slowest_loses_the_patience() {
        let after = |waits: u32, each: Duration| {
            let mut patience = Patience(STALL);
            (0..waits).for_each(|_| patience.spend(each));
            patience.0
        };
        assert_eq!(after(1_000, SLOWEST), STALL);
        assert_eq!(after(1, STALL), SLOWEST);
        // It waits for the next piece for less time than such a client takes.
        assert_eq!(after(30, SLOWEST + Duration::from_secs(1)), SLOWEST);
    }
}
