//! The black box: a recording of the last moments of a session that is in use.
//!
//! ```text
//! films/black-box/ <-- a frame for each interval in which something changed; old ones are removed
//!        |
//!        | something breaks: renamed
//!        v
//! films/black-box-<milliseconds>/ --> a film
//! ```

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ffmpeg::Take;
use super::frames::{Frames, taken_at};
use super::{Film, FilmError, Films, archive, failed, now};
use crate::domain::film::{Container, slots};
use crate::domain::ids::SessionId;
use crate::system::seam::{Picture, Reel, Screen};

/// The longest time in milliseconds for which the last frame is shown.
const LAST: u64 = 5_000;

/// Frames per second of the film: times are exact to a fifth of a second.
const RATE: u8 = 5;

/// The longest time for making one film.
const DEADLINE: Duration = Duration::from_secs(60);

/// The ring of frames that is being filled. Dropping it stops the filling, and keeps its content.
#[derive(Debug)]
pub struct BlackBox {
    _ended: DropGuard,
}

/// The frames before a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The time of the failure, in milliseconds since 1970.
    at: u64,
    folder: PathBuf,
}

impl Films {
    /// Keeps the last moments of `screen` until the result is dropped.
    pub fn keep_box(&self, session: SessionId, screen: &Arc<dyn Screen>) -> BlackBox {
        let settings = &self.0.settings;
        let folder = self.folder(session).join("black-box");
        let bytes = settings.black_box_megabytes.saturating_mul(1024 * 1024);
        let seconds = settings.black_box_seconds;
        // Both fields are bound by name, because an unbound field would be dropped at once.
        let Reel { mut frames, guard } = screen.film(settings.black_box_interval());
        let ended = CancellationToken::new();
        let over = ended.clone();
        self.0.runtime.spawn(async move {
            let _filming = guard;
            let mut ring = None;
            loop {
                let picture = tokio::select! {
                    biased;
                    () = over.cancelled() => return,
                    picture = frames.recv() => picture,
                };
                let Some(picture) = picture else { return }; // The display has ended.
                let (kept, folder) = (ring.take(), folder.clone());
                let added = tokio::task::spawn_blocking(move || {
                    let mut kept = kept.unwrap_or_else(|| Frames::of(&folder));
                    let outcome = add(&mut kept, &picture, seconds, bytes);
                    (kept, outcome)
                });
                let Ok((kept, outcome)) = added.await else { return };
                if let Err(cause) = outcome {
                    tracing::warn!(session.id = %session, error = %cause, "the black box has stopped");
                    return;
                }
                ring = Some(kept);
            }
        });
        BlackBox { _ended: ended.drop_guard() }
    }

    /// Freezes the content of the ring; none if it is empty. The ring starts anew. Fast: it renames
    /// a folder.
    pub fn freeze(&self, session: SessionId) -> Option<Frozen> {
        let films = self.folder(session);
        let at = now();
        let folder = films.join(format!("black-box-{at}"));
        fs::rename(films.join("black-box"), &folder).ok()?;
        Some(Frozen { at, folder })
    }

    /// The frozen frames that were not made into a film, because the server was killed.
    pub fn frozen(&self, session: SessionId) -> Vec<Frozen> {
        let entries = fs::read_dir(self.folder(session)).into_iter().flatten();
        let frozen = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let at = entry.file_name().to_str()?.strip_prefix("black-box-")?.parse().ok()?;
            Some(Frozen { at, folder: entry.path() })
        });
        frozen.collect()
    }

    /// Makes a film of frozen frames, or a ZIP archive without ffmpeg. The work continues if the
    /// result is dropped.
    pub fn develop(
        &self,
        session: SessionId,
        frozen: Frozen,
    ) -> BoxFuture<'static, Result<Film, FilmError>> {
        let films = self.clone();
        let work = async move {
            let _turn = films.0.making.acquire().await.map_err(failed)?;
            let outcome = films.develop_now(session, &frozen).await;
            if outcome.is_err() {
                let _ = fs::remove_dir_all(&frozen.folder); // It cannot be used.
            }
            outcome
        };
        let work = self.0.runtime.spawn(work);
        Box::pin(async move { work.await.unwrap_or_else(|cause| Err(failed(cause))) })
    }

    async fn develop_now(&self, session: SessionId, frozen: &Frozen) -> Result<Film, FilmError> {
        let Frozen { at, folder } = frozen;
        let frames = Frames::of(folder);
        let times = frames.times();
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Err(failed("there are no frames"));
        };
        // For a page that has not changed for long, its last changes are worth more than the still picture.
        let to = last.saturating_add(LAST).min(*at).max(last.saturating_add(1_000));
        let length = self.0.settings.black_box_seconds.saturating_mul(1_000);
        let from = to.saturating_sub(length).max(*first);
        let film = |container: Container| Film {
            file: folder.join("black_box").with_extension(container.extension()),
            container,
            length: Duration::from_millis(to - from),
            cut_short: None,
            folder: folder.clone(),
        };
        let Ok(ffmpeg) = self.ffmpeg() else {
            let film = film(Container::Zip);
            let file = film.file.clone();
            let packed = tokio::task::spawn_blocking(move || {
                let entries = times
                    .iter()
                    .map(|time| Ok((format!("{time}.jpg"), fs::read(frames.file(*time))?)));
                archive::write(&file, entries)
            });
            packed.await.map_err(failed)?.map_err(failed)?;
            return Ok(film);
        };
        let film = film(Container::Mp4);
        let shown = slots(&times, from, to, RATE);
        let take = Take {
            session,
            frames: shown
                .into_iter()
                .filter_map(|(place, slots)| Some((frames.file(*times.get(place)?), slots)))
                .collect(),
            rate: RATE,
            width: None,
            container: film.container,
            to: film.file.clone(),
        };
        let made = tokio::time::timeout(DEADLINE, ffmpeg.film(take)).await;
        made.unwrap_or_else(|_late| Err(failed("ffmpeg was too slow")))?;
        Ok(film)
    }
}

fn add(frames: &mut Frames, picture: &Picture, seconds: u64, bytes: u64) -> std::io::Result<()> {
    frames.add(picture)?;
    frames.forget_before(taken_at(picture).saturating_sub(seconds.saturating_mul(1_000)));
    frames.shrink_to(bytes);
    Ok(())
}
