//! The films of a session: recordings, and the black box.
//!
//! A film becomes a stored file, an artifact, in a task of its own that no mailbox waits for. The
//! session keeps track of films that are not stored yet, and does not end before they are.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{Instrument as _, error, info, warn};

use super::films::{FilmResult, Live};
use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered, receipt};
use crate::actors::films::{FilmArtifact, FilmOwner, drop_recording, store};
use crate::actors::journal::About;
use crate::domain::film::{BLACK_BOX, FilmOptions, RECORDING};
use crate::domain::ids::{ArtifactId, RunId};
use crate::domain::run::ArtifactRecord;
use crate::system::film::{Film, FilmError, Frozen, Recording, RecordingMetadata};

/// The time for a film's record to be stored, after the film is complete: enough for a few
/// attempts.
const STORING: Duration = Duration::from_secs(15);

/// Begins a recording. Answered with its metadata.
#[derive(Debug)]
pub struct Record {
    /// The requested options of the recording.
    pub options: FilmOptions,
    /// The run for which it is made, and with which it ends.
    pub run: Option<RunId>,
}

impl Ask for Record {
    type Answer = Result<RecordingMetadata, SessionError>;
    const KIND: &'static str = "record";
    const NEEDS_BROWSER: bool = true;
    const AUDITED: bool = true;

    fn about(&self) -> About {
        About { run: self.run, ..About::default() }
    }

    fn summary(&self) -> Value {
        json!({ "options": self.options })
    }
}

/// Ends a recording. Answered when the film is stored.
#[derive(Debug)]
pub struct StopRecording {
    /// The id of the recording.
    pub id: ArtifactId,
}

impl Ask for StopRecording {
    type Answer = Result<ArtifactRecord, SessionError>;
    const KIND: &'static str = "stop_recording";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn summary(&self) -> Value {
        json!({ "recording": self.id })
    }
}

/// Prepares for the end of a run: its recordings are finished and, if it has failed, its last
/// moments are kept. Answered when its recordings and its downloads are stored.
#[derive(Debug)]
pub struct Wrap {
    /// The run that is about to end.
    pub run: RunId,
    /// True if the run has failed.
    pub failed: bool,
}

impl Ask for Wrap {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "wrap";

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn about(&self) -> About {
        About { run: Some(self.run), ..About::default() }
    }

    fn summary(&self) -> Value {
        json!({ "failed": self.failed })
    }
}

impl Session {
    /// Connects every recording to the display, if the desktop is running.
    pub(super) fn film(&mut self) {
        if let Phase::Running { desktop } = &self.phase {
            for live in self.filming.live.values() {
                live.recording.show(desktop.screen());
            }
        }
    }

    /// Ends the black box. Its contents are removed with the traces of the occupant.
    pub(super) fn drop_box(&mut self) {
        self.filming.black_box = None;
    }

    /// Fills the black box while the session is used, and ends it otherwise.
    pub(super) fn keep_box(&mut self, used: bool) {
        if !used || !self.world.films.settings().black_box {
            self.filming.black_box = None;
        } else if let Phase::Running { desktop } = &self.phase
            && self.filming.black_box.is_none()
        {
            let screen = desktop.screen();
            self.filming.black_box = Some(self.world.films.keep_box(self.record.id, &screen));
        }
    }

    /// Begins the recording that was requested with the session.
    pub(super) fn record_if_asked(&mut self, ctx: &mut Context<Self>) {
        let asked = self.record.spec.echo.get("record").cloned();
        let options = asked.and_then(|asked| serde_json::from_value::<FilmOptions>(asked).ok());
        if let Some(options) = options
            && let Err(cause) = self.begin_recording(options, None, ctx)
        {
            warn!(parent: &self.span, "session {} is not recorded: {cause}", self.record.id);
        }
    }

    fn begin_recording(
        &mut self,
        options: FilmOptions,
        run: Option<RunId>,
        ctx: &mut Context<Self>,
    ) -> Result<RecordingMetadata, SessionError> {
        let screen = self.desktop()?.screen();
        let settings = self.world.films.settings();
        let limit = settings.max_at_once;
        if self.filming.live.len() >= limit {
            return Err(SessionError::TooManyRecordings { limit });
        }
        let now = self.world.clock.now();
        let metadata = RecordingMetadata {
            id: self.world.mint.mint(now),
            session: self.record.id,
            run,
            began_at: now,
            frame_rate: options.frame_rate.unwrap_or(settings.frame_rate),
            width: options.width,
            format: options.format.unwrap_or(settings.format),
        };
        let (recording, filmed) = self.world.films.record(metadata.clone())?;
        recording.show(screen);
        self.add_recording(metadata.clone(), recording, filmed, ctx);
        Ok(metadata)
    }

    fn add_recording(
        &mut self,
        metadata: RecordingMetadata,
        recording: Recording,
        filmed: impl Future<Output = Result<Film, FilmError>> + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        let kind = FilmArtifact { id: metadata.id, run: metadata.run, artifact_type: RECORDING };
        let result = self.store_film(kind, filmed);
        let (id, mut ended) = (metadata.id, result.clone());
        self.filming.live.insert(id, Live { metadata, recording, result });
        let over = async move { drop(ended.wait_for(Option::is_some).await) };
        ctx.spawn(over.into_actor(self).map(move |(), session, _| {
            session.filming.live.remove(&id);
            session.publish();
        }));
        self.publish();
    }

    /// Stops the recordings of runs that no longer hold the session.
    pub(super) fn stop_what_is_over(&self) {
        let holder = self.record.occupancy.holder().map(|held| held.occupant.runnable_id.clone());
        self.filming.stop(|metadata| {
            metadata.run.is_some_and(|run| {
                holder.as_ref().is_none_or(|holder| holder.as_str() != run.to_string())
            })
        });
    }

    /// Keeps the last moments before a failure as a black box film.
    pub(super) fn keep_last_moments(&mut self, run: Option<RunId>) {
        self.filming.black_box = None;
        if self.world.films.settings().black_box
            && let Some(frozen) = self.world.films.freeze(self.record.id)
        {
            self.develop(frozen, run);
        }
    }

    /// The run that holds the session.
    pub(super) fn run_inside(&self) -> Option<RunId> {
        self.record.occupancy.holder()?.occupant.runnable_id.as_str().parse().ok()
    }

    fn develop(&mut self, frozen: Frozen, run: Option<RunId>) {
        let id = self.world.mint.mint(self.world.clock.now());
        let film = self.world.films.develop(self.record.id, frozen);
        drop(self.store_film(FilmArtifact { id, run, artifact_type: BLACK_BOX }, film));
    }

    /// Continues the films of a former server. Recordings continue when a display is
    /// [filmed](Self::film).
    pub(super) fn take_up_films(&mut self, ctx: &mut Context<Self>) {
        let films = self.world.films.clone();
        for metadata in films.recordings(self.record.id) {
            match films.resume(metadata.clone()) {
                Ok((recording, filmed)) => self.add_recording(metadata, recording, filmed, ctx),
                Err(cause) => drop_recording(&films, &metadata, &cause),
            }
        }
        for frozen in films.frozen(self.record.id) {
            self.develop(frozen, None);
        }
        self.stop_what_is_over();
    }

    /// Stops every recording. Resolves when all films are stored, or cannot be.
    pub(super) fn wrap_films(&mut self) -> impl Future<Output = ()> + use<> {
        self.filming.black_box = None;
        self.filming.stop(|_| true);
        let open = std::mem::take(&mut self.filming.open);
        let limit = self.world.films.settings().finish() + STORING;
        async move {
            if timeout(limit, all(open)).await.is_err() {
                error!("films were not stored in time and are lost");
            }
        }
    }

    fn store_film(
        &mut self,
        kind: FilmArtifact,
        film: impl Future<Output = Result<Film, FilmError>> + Send + 'static,
    ) -> FilmResult {
        self.filming.open.retain(|result| result.borrow().is_none());
        let (sender, result) = watch::channel(None);
        self.filming.open.push(result.clone());
        let place = FilmOwner { organization: self.record.organization, session: self.record.id };
        let world = Arc::clone(&self.world);
        let work = async move {
            let stored = match film.await {
                Ok(film) => store(&world, place, kind, film).await,
                Err(cause) => Err(cause),
            };
            match &stored {
                Ok(artifact) => {
                    info!("{} {}: {} bytes", kind.artifact_type, kind.id, artifact.size);
                }
                Err(cause) => warn!("no {} {}: {cause}", kind.artifact_type, kind.id),
            }
            sender.send_replace(Some(stored));
        };
        self.world.runtime.spawn(work.instrument(self.span.clone()));
        result
    }
}

async fn all(open: Vec<FilmResult>) {
    for mut result in open {
        // A closed channel also means that the film has ended.
        let _ = result.wait_for(Option::is_some).await;
    }
}

impl Handle<Record> for Session {
    fn handle(
        &mut self,
        Record { options, run }: Record,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<RecordingMetadata, SessionError>> {
        if let Some(run) = run
            && self.run_inside() != Some(run)
        {
            return answered(Err(SessionError::NotInside { run }));
        }
        let begun = self.begin_recording(options, run, ctx);
        if let Ok(metadata) = &begun {
            // No client could stop a recording whose id it did not receive.
            let id = metadata.id;
            ctx.spawn(receipt().heard().into_actor(self).map(move |heard, session, _| {
                if !heard {
                    session.filming.stop(|metadata| metadata.id == id);
                }
            }));
        }
        answered(begun)
    }
}

impl Handle<StopRecording> for Session {
    fn handle(
        &mut self,
        StopRecording { id }: StopRecording,
        _: &mut Context<Self>,
    ) -> Answering<Result<ArtifactRecord, SessionError>> {
        let Some(mut result) = self.filming.stop(|metadata| metadata.id == id).pop() else {
            return answered(Err(SessionError::UnknownRecording(id)));
        };
        Box::pin(async move {
            let result =
                result.wait_for(Option::is_some).await.map_err(|_gone| Unanswered::Gone)?;
            let stored = result.clone().ok_or(Unanswered::Gone)?;
            Ok(stored?)
        })
    }
}

impl Handle<Wrap> for Session {
    fn handle(
        &mut self,
        Wrap { run, failed }: Wrap,
        _: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        if failed {
            self.keep_last_moments(Some(run));
            self.use_changed();
        }
        let open = self.filming.stop(|metadata| metadata.run == Some(run));
        let downloads = self.downloads_settled();
        Box::pin(async move {
            join(all(open), downloads).await;
            Ok(())
        })
    }
}
