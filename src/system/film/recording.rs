//! One recording, from its first frame to the film.
//!
//! ```text
//! films/<id>/slate.json                    the metadata, for a later server
//!           /frames/<milliseconds>.jpg     frames that ffmpeg has not encoded yet
//!           /part-<from>-<to>.mp4          encoded parts, in milliseconds since the beginning
//!           /recording.mp4                 the film
//! ```
//!
//! A frame that would have to wait is dropped: in the channel from the capture, or here if ffmpeg
//! is far behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::ffmpeg::{Ffmpeg, Take};
use super::frames::Frames;
use super::{Film, FilmError, Films, failed, now};
use crate::domain::film::{Container, slots};
use crate::domain::ids::{ArtifactId, RunId, SessionId};
use crate::system::seam::{Picture, Reel, Screen};

/// The fraction of the allowed size that may wait for ffmpeg before frames are dropped: an eighth.
const WAITING: u64 = 8;

/// The longest wait for the first frame if a recording ends before it has any. A display that takes
/// longer for a picture counts as hung.
const FIRST: Duration = Duration::from_secs(10);

/// The longest time for joining the existing parts after the deadline.
const LAST_RESORT: Duration = Duration::from_secs(5);

/// The metadata of a recording: its subject and format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingMetadata {
    /// The id of the recording, and of the artifact that it becomes.
    pub id: ArtifactId,
    /// The session that is filmed.
    pub session: SessionId,
    /// The run for which it is filmed, if any.
    pub run: Option<RunId>,
    /// The time at which it began.
    pub began_at: DateTime<Utc>,
    /// The number of frames per second.
    pub frame_rate: u8,
    /// The width in pixels; the display's own if none.
    pub width: Option<u16>,
    /// The container format of the film.
    pub format: Container,
}

/// A recording in progress. Dropping it leaves its files on the disk, for a later server.
#[derive(Debug)]
pub struct Recording {
    stop: CancellationToken,
    screen: watch::Sender<Option<Arc<dyn Screen>>>,
}

impl Recording {
    /// Ends the recording: the film is made of the existing frames.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Continues with another display, because the previous one has ended.
    pub fn show(&self, screen: Arc<dyn Screen>) {
        self.screen.send_replace(Some(screen));
    }
}

/// Resolves with the film, once the recording was stopped, has reached a limit, or cannot continue.
pub type Filmed = BoxFuture<'static, Result<Film, FilmError>>;

impl Films {
    /// Begins a recording, without frames until it is [shown](Recording::show) a display.
    pub fn record(&self, metadata: RecordingMetadata) -> Result<(Recording, Filmed), FilmError> {
        let ffmpeg = self.ffmpeg()?;
        self.room()?;
        Ok(self.go_on(metadata, ffmpeg, true))
    }

    /// The recordings of a session that were in progress under a previous server.
    pub fn recordings(&self, session: SessionId) -> Vec<RecordingMetadata> {
        let entries = fs::read_dir(self.folder(session)).into_iter().flatten();
        let under_way = entries.filter_map(|entry| {
            let metadata = fs::read(entry.ok()?.path().join("slate.json")).ok()?;
            serde_json::from_slice(&metadata).ok()
        });
        under_way.collect()
    }

    /// Continues a recording of a previous server. Without a display and stopped at once, it
    /// becomes the film of that server's frames.
    pub fn resume(&self, metadata: RecordingMetadata) -> Result<(Recording, Filmed), FilmError> {
        let ffmpeg = self.ffmpeg()?;
        Ok(self.go_on(metadata, ffmpeg, false))
    }

    /// Removes the files of a previous server's recording that cannot be finished.
    pub fn drop_recording(&self, metadata: &RecordingMetadata) -> io::Result<()> {
        fs::remove_dir_all(self.folder(metadata.session).join(metadata.id.to_string()))
    }

    /// Prepares the folder on a blocking thread: an actor calls this, and a slow disk would block
    /// every actor of its thread.
    fn go_on(
        &self,
        metadata: RecordingMetadata,
        ffmpeg: Ffmpeg,
        is_new: bool,
    ) -> (Recording, Filmed) {
        let folder = self.folder(metadata.session).join(metadata.id.to_string());
        let (screen, screens) = watch::channel(None);
        let stop = CancellationToken::new();
        let recording = Recording { stop: stop.clone(), screen };
        let (films, own) = (self.clone(), folder.clone());
        let prepared = self.0.runtime.spawn_blocking(move || {
            if is_new {
                save(&metadata, &own).map_err(failed)?;
            }
            Ok(Recorder {
                films,
                ffmpeg,
                frames: Frames::of(&own.join("frames")),
                parts: parts_in(&own, metadata.format),
                began: u64::try_from(metadata.began_at.timestamp_millis()).unwrap_or(0),
                metadata,
                folder: own,
            })
        });
        let work = self.0.runtime.spawn(async move {
            let recorder: Recorder = prepared.await.map_err(failed)??;
            recorder.run(screens, stop).await
        });
        let filmed = Box::pin(async move {
            let outcome = work.await.unwrap_or_else(|cause| Err(failed(cause)));
            if outcome.is_err() {
                let _ = fs::remove_dir_all(&folder); // It cannot be used.
            }
            outcome
        });
        (recording, filmed)
    }
}

/// Creates the folder of a new recording, so that a later server can continue it.
fn save(metadata: &RecordingMetadata, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("frames"))?;
    fs::write(folder.join("slate.json"), serde_json::to_vec_pretty(metadata)?)
}

/// A finished part of the film, with its start and end in milliseconds since the beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    from: u64,
    to: u64,
    file: PathBuf,
}

fn parts_in(folder: &Path, container: Container) -> Vec<Segment> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut parts: Vec<Segment> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let span = name.to_str()?.strip_prefix("part-")?;
            let span = span.strip_suffix(container.extension())?.strip_suffix('.')?;
            let (from, to) = span.split_once('-')?;
            Some(Segment { from: from.parse().ok()?, to: to.parse().ok()?, file: entry.path() })
        })
        .collect();
    parts.sort_unstable();
    parts
}

struct Recorder {
    films: Films,
    ffmpeg: Ffmpeg,
    metadata: RecordingMetadata,
    folder: PathBuf,
    /// The beginning in milliseconds since 1970, as in frames.
    began: u64,
    frames: Frames,
    parts: Vec<Segment>,
}

type Making = JoinHandle<Result<Segment, FilmError>>;

impl Recorder {
    async fn run(
        mut self,
        mut screens: watch::Receiver<Option<Arc<dyn Screen>>>,
        stop: CancellationToken,
    ) -> Result<Film, FilmError> {
        let mut making: Option<Making> = None;
        let mut was_stopped = false;
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => {
                was_stopped = true;
                Ok(None)
            }
            outcome = self.record(&mut screens, &mut making) => outcome,
        };
        // A frame may have been written at the moment of the stop.
        self.frames = Frames::of(&self.folder.join("frames"));
        let why = match outcome {
            Err(cause) if self.parts.is_empty() => return Err(cause),
            Err(cause) => Some(cause.to_string()),
            Ok(why) => why,
        };
        let screen = screens.borrow().clone();
        if let Some(screen) = &screen {
            self.at_least_one_frame(screen).await?;
        }
        // The recording of a previous server ends with its last frame.
        let last = self.frames.times().last().copied().unwrap_or(self.began);
        let is_live = screen.is_some();
        let end =
            if was_stopped && !is_live { last.saturating_add(1_000).min(now()) } else { now() };
        self.finish(making, end, why).await
    }

    /// Takes a frame if there is none, so that an immediately stopped recording shows the display.
    async fn at_least_one_frame(&mut self, screen: &Arc<dyn Screen>) -> Result<(), FilmError> {
        if !self.parts.is_empty() || !self.frames.times().is_empty() {
            return Ok(());
        }
        let mut reel = screen.film(Duration::from_secs(1));
        match timeout(FIRST, reel.frames.recv()).await {
            Ok(Some(picture)) => self.keep(picture, self.films.settings().max_megabytes).await,
            Ok(None) | Err(_) => Ok(()), // The display has ended.
        }
    }

    /// Takes frames until a limit is reached, and returns its name.
    async fn record(
        &mut self,
        screens: &mut watch::Receiver<Option<Arc<dyn Screen>>>,
        making: &mut Option<Making>,
    ) -> Result<Option<String>, FilmError> {
        let interval = Duration::from_millis(1_000 / u64::from(self.metadata.frame_rate.max(1)));
        let settings = self.films.settings().clone();
        let part = settings.part_seconds.saturating_mul(1_000);
        let mut reel: Option<Reel> = None;
        loop {
            let next = self.done().saturating_add(part);
            let wait = Duration::from_millis((self.began + next).saturating_sub(now()));
            let due = Instant::now() + wait.max(Duration::from_millis(100));
            let longest = self.began.saturating_add(settings.max_seconds.saturating_mul(1_000));
            let over = Instant::now() + Duration::from_millis(longest.saturating_sub(now()));
            tokio::select! {
                changed = screens.changed() => {
                    if changed.is_err() {
                        // The handle was dropped: a later server continues.
                        std::future::pending::<()>().await;
                    }
                    let screen = screens.borrow_and_update().clone();
                    reel = screen.map(|screen| screen.film(interval));
                }
                picture = frame(&mut reel) => match picture {
                    Some(picture) => self.keep(picture, settings.max_megabytes).await?,
                    None => reel = None,
                },
                made = made(making) => {
                    *making = None;
                    self.on_made(made?);
                }
                () = sleep_until(over) => {}
                () = sleep_until(due), if making.is_none() => {
                    *making = self.make(next).map(|take| self.start(take));
                }
            }
            if now() >= longest {
                return Ok(Some(format!("recording.max_seconds is {}", settings.max_seconds)));
            }
            if self.size() >= settings.max_megabytes.saturating_mul(1024 * 1024) {
                return Ok(Some(format!("recording.max_megabytes is {}", settings.max_megabytes)));
            }
            if let Err(cause) = self.films.room() {
                return Ok(Some(cause.to_string()));
            }
        }
    }

    async fn keep(&mut self, picture: Picture, megabytes: u64) -> Result<(), FilmError> {
        let allowed = megabytes.saturating_mul(1024 * 1024) / WAITING;
        if self.frames.bytes() > allowed {
            return Ok(()); // ffmpeg is behind: pictures are dropped, the film is not delayed.
        }
        let mut frames = self.frames.clone();
        let added = tokio::task::spawn_blocking(move || {
            let outcome = frames.add(&picture);
            (frames, outcome)
        });
        let (frames, outcome) = added.await.map_err(failed)?;
        self.frames = frames;
        outcome.map_err(failed)
    }

    /// The time up to which the film is done, in milliseconds since the beginning.
    fn done(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.to)
    }

    fn size(&self) -> u64 {
        let bytes = |part: &Segment| part.file.metadata().map_or(0, |file| file.len());
        self.frames.bytes() + self.parts.iter().map(bytes).sum::<u64>()
    }

    /// The next part, up to `to`; none if that would be empty.
    fn make(&self, to: u64) -> Option<(Take, Segment)> {
        let from = self.done();
        let times = self.frames.times();
        let shown = slots(
            &times,
            self.began + from,
            self.began.saturating_add(to),
            self.metadata.frame_rate,
        );
        let RecordingMetadata { session, frame_rate: rate, width, format: container, .. } =
            self.metadata.clone();
        let name = format!("part-{from:010}-{to:010}.{}", container.extension());
        let frames: Vec<_> = shown
            .into_iter()
            .filter_map(|(place, slots)| Some((self.frames.file(*times.get(place)?), slots)))
            .collect();
        if frames.is_empty() {
            return None;
        }
        let file = self.folder.join(name);
        let take = Take { session, frames, rate, width, container, to: file.clone() };
        Some((take, Segment { from, to, file }))
    }

    fn start(&self, (take, part): (Take, Segment)) -> Making {
        let (films, ffmpeg) = (self.films.clone(), self.ffmpeg.clone());
        self.films.0.runtime.spawn(async move {
            let _turn = films.0.making.acquire().await.map_err(failed)?;
            ffmpeg.film(take).await?;
            Ok(part)
        })
    }

    fn on_made(&mut self, part: Segment) {
        self.frames.forget_before(self.began + part.to);
        self.parts.push(part);
    }

    /// Makes the film up to `end`, in milliseconds since 1970. Parts that are not done in time are
    /// left out, which the film's `cut_short` reports.
    async fn finish(
        mut self,
        mut making: Option<Making>,
        end: u64,
        mut cut_short: Option<String>,
    ) -> Result<Film, FilmError> {
        let deadline = Instant::now() + self.films.settings().finish();
        let to = end.saturating_sub(self.began);
        let to = self.whole(to.max(self.done()));
        let rest = timeout_at(deadline, self.rest(&mut making, to)).await;
        if let Some(making) = &making {
            making.abort();
        }
        match rest {
            Ok(Ok(())) => {}
            Ok(Err(cause)) if self.parts.is_empty() => return Err(cause),
            Ok(Err(cause)) => cut_short = Some(cause.to_string()),
            Err(_late) => {
                let seconds = self.films.settings().finish_seconds;
                cut_short = Some(format!("recording.finish_seconds is {seconds}"));
            }
        }
        let container = self.metadata.format;
        let file = self.folder.join("recording").with_extension(container.extension());
        let parts: Vec<PathBuf> = self.parts.iter().map(|part| part.file.clone()).collect();
        match parts.as_slice() {
            [] => return Err(failed("no picture was recorded in time")),
            [only] => fs::rename(only, &file).map_err(failed)?,
            several => {
                let splice = self.ffmpeg.splice(several, container, self.metadata.session, &file);
                let late = |_| Err(failed("the parts were not joined in time"));
                let deadline = deadline.max(Instant::now() + LAST_RESORT);
                timeout_at(deadline, splice).await.unwrap_or_else(late)?;
            }
        }
        let length = Duration::from_millis(self.done());
        Ok(Film { file, container, length, cut_short, folder: self.folder })
    }

    /// Makes the remaining part, up to `to`.
    async fn rest(&mut self, making: &mut Option<Making>, to: u64) -> Result<(), FilmError> {
        if making.is_some() {
            let part = made(making).await?;
            *making = None;
            self.on_made(part);
        }
        if let Some(next) = self.make(to) {
            *making = Some(self.start(next));
            let part = made(making).await?;
            *making = None;
            self.on_made(part);
        }
        Ok(())
    }

    /// The next time, in milliseconds since the beginning, that begins a slot. A film has at least
    /// one slot.
    fn whole(&self, time: u64) -> u64 {
        let rate = u64::from(self.metadata.frame_rate.max(1));
        time.saturating_mul(rate).div_ceil(1_000).max(1).saturating_mul(1_000).div_ceil(rate)
    }
}

/// Resolves with the next frame; never without a display.
async fn frame(reel: &mut Option<Reel>) -> Option<Picture> {
    match reel {
        Some(reel) => reel.frames.recv().await,
        None => std::future::pending().await,
    }
}

/// Resolves with the part that is being made; never if there is none.
async fn made(making: &mut Option<Making>) -> Result<Segment, FilmError> {
    match making {
        Some(making) => making.await.unwrap_or_else(|cause| Err(failed(cause))),
        None => std::future::pending().await,
    }
}
