//! Sanitizing: clears the traces of an occupant before another one begins.
//!
//! ```text
//! Running --asked for, or owed--> Recovering: downloads stored --> browser with a new profile
//!    ^                               ^    |                              |
//!    |                               +----+ failed, some times           | failed too often
//!    +------ generation, restart stored --------------------------------+--> Closing, failed
//! ```
//!
//! Before anything is cleared, a storage of the profile that is under way is completed, and the
//! permission to write to the profile is given up: from then on no end, failure or restart of the
//! server stores the cleared browser in place of the logins.
//!
//! No occupant begins meanwhile, as in any recovery. A session owes its next occupant a sanitizing
//! once an occupant of a generation above `sanitize_after` has left, or one that asked for it
//! (`sanitize_due`). Both are read from the row, so a server that ends in between changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};

use super::sanitizings::{Request, SanitizeAnswer, SanitizeReport, UnderWay};
use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered};
use crate::actors::views::SessionView;
use crate::db::store::StoreError;
use crate::domain::event::EventKind;
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::{Generation, Refusal};
use crate::domain::session::{Failure, SessionSpec, SessionStatus};
use crate::system::desktop::{Desktop, Files, RestartFailed, Sanitized};

/// The attempts before the session fails.
const TRIES: u32 = 3;

/// The pause before another attempt.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Clears the traces of occupants in the session: its browser starts again with a new profile.
/// Refused while the session is held, unless the holder asks.
#[derive(Debug)]
pub struct Sanitize {
    /// The generation and lease of a holder that asks.
    pub holder: Option<(Generation, LeaseHash)>,
}

impl Ask for Sanitize {
    type Answer = Result<SanitizeReport, SessionError>;
    const KIND: &'static str = "sanitize";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(90)
    }

    fn summary(&self) -> Value {
        json!({ "generation": self.holder.map(|(generation, _lease)| generation) })
    }
}

/// Switches the sanitizing of the session after each occupant on or off.
#[derive(Debug)]
pub struct SanitizeOnRelease {
    /// True to switch it on.
    pub on: bool,
}

impl Ask for SanitizeOnRelease {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "sanitize_on_release";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "on": self.on })
    }
}

/// Requests that the session is sanitized once its holder has left, by whatever way.
#[derive(Debug)]
pub struct SanitizeWhenLeft {
    /// The fencing token of the holder.
    pub generation: Generation,
    /// The lease of the holder.
    pub lease: LeaseHash,
}

impl Ask for SanitizeWhenLeft {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "sanitize_when_left";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "generation": self.generation })
    }
}

impl Session {
    /// Begins a sanitizing that is requested or owed. Called while no change is being stored.
    pub(super) fn sanitize_if_due(&mut self, ctx: &mut Context<Self>) {
        while let Some(Request { holder, answer }) = self.sanitizing.requests.pop_front() {
            match self.may_sanitize(holder) {
                Ok(()) => match &mut self.sanitizing.under_way {
                    Some(under_way) => under_way.waiting.push(answer),
                    None => self.begin_sanitizing("request", vec![answer], ctx),
                },
                Err(refusal) => drop(answer.send(Err(refusal))), // The caller may have left.
            }
        }
        if self.owes_sanitizing() && matches!(self.phase, Phase::Running { .. }) {
            self.begin_sanitizing("release", Vec::new(), ctx);
        }
    }

    fn owes_sanitizing(&self) -> bool {
        let occupancy = &self.record.occupancy;
        let latest = occupancy.generation();
        let spec = &self.record.spec;
        let is_due = spec.sanitize_after.is_some_and(|after| latest > after)
            || spec.sanitize_due.is_some_and(|due| latest >= due);
        occupancy.holder().is_none() && is_due
    }

    /// True if the holder's lease is over, and its lapse must be stored before another occupant
    /// begins: the session is sanitized in between.
    pub(super) fn lapses_first(&self) -> bool {
        let held = self.record.occupancy.holder();
        let is_over = held.is_some_and(|held| held.expires_at <= self.world.clock.now());
        let spec = &self.record.spec;
        is_over && (spec.sanitize_after.is_some() || spec.sanitize_due.is_some())
    }

    fn may_sanitize(&self, holder: Option<(Generation, LeaseHash)>) -> Result<(), SessionError> {
        match &self.phase {
            Phase::Running { .. } => {}
            Phase::Recovering { .. } if self.sanitizing.under_way.is_some() => {}
            Phase::Dormant | Phase::Starting { .. } | Phase::Recovering { .. } => {
                return Err(SessionError::Starting);
            }
            Phase::Closing { .. } => return Err(SessionError::Closing),
        }
        self.holds_or_finds_vacant(holder)
    }

    /// Refuses a client that does not hold the session while another one does.
    pub(super) fn holds_or_finds_vacant(
        &self,
        holder: Option<(Generation, LeaseHash)>,
    ) -> Result<(), SessionError> {
        let occupancy = &self.record.occupancy;
        match (occupancy.holder(), holder) {
            (Some(held), Some((generation, lease))) => Ok(held.check(generation, lease)?),
            (Some(held), None) if held.expires_at > self.world.clock.now() => {
                let (by, until) = (held.occupant.clone(), held.expires_at);
                Err(Refusal::Occupied { by, until }.into())
            }
            (None, Some((generation, _lease))) => Err(occupancy.lost(generation).into()),
            (Some(_) | None, None) => Ok(()),
        }
    }

    fn begin_sanitizing(
        &mut self,
        by: &'static str,
        waiting: Vec<SanitizeAnswer>,
        ctx: &mut Context<Self>,
    ) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        let call_off = CancellationToken::new();
        let called_off = call_off.clone();
        let left = self.enter(Phase::Recovering { desktop: None, call_off });
        let Phase::Running { desktop } = left else { return };
        info!(parent: &self.span, "session {} is sanitized ({by})", self.record.id);
        let since = self.world.clock.now();
        let under_way = UnderWay { by, since, tries: 0, waiting, cleared: None };
        self.sanitizing.under_way = Some(under_way);
        self.following = None;
        self.drop_box();
        let stored = self.world.store.retry_session(self.record.id);
        // Downloads are artifacts of the organization, and not traces in the browser.
        let downloads = desktop.downloads().finish();
        let picture = self.last_picture();
        let storing = self.profile.storing.clone();
        let given_up = self.keep_no_profile(ctx);
        let work = async move {
            let stored = stored.await;
            downloads.await;
            remove_picture(&picture).await;
            let is_apart = async move {
                if let Some(over) = storing {
                    over.cancelled().await;
                }
                given_up.await;
            };
            tokio::select! {
                () = is_apart => {}
                () = called_off.cancelled() => {} // The session is closing.
            }
            (stored, desktop)
        };
        ctx.spawn(work.into_actor(self).map(|(stored, desktop), session, ctx| {
            match stored {
                Ok(()) => {
                    session.record.status = SessionStatus::Retry;
                    session.record.modified_at = session.world.clock.now();
                    session.publish();
                }
                // The row is written again when the session runs.
                Err(cause) => warn!(parent: &session.span, "the retry is not stored: {cause}"),
            }
            session.sanitize(desktop, ctx);
        }));
    }

    /// The file with the last picture of occupants that are not runs. The picture of a run belongs
    /// to the run.
    fn last_picture(&self) -> PathBuf {
        let folder = self.world.pictures.join(self.record.organization.to_string());
        folder.join(self.record.id.to_string()).with_extension("png")
    }

    fn sanitize(&mut self, desktop: Box<dyn Desktop>, ctx: &mut Context<Self>) {
        if matches!(self.phase, Phase::Closing { .. }) {
            return self.shut_down(desktop, ctx);
        }
        let Phase::Recovering { call_off, .. } = &self.phase else { return };
        let work = desktop.sanitize(call_off.clone()).instrument(self.span.clone());
        ctx.spawn(
            work.into_actor(self).map(|outcome, session, ctx| session.on_sanitized(outcome, ctx)),
        );
    }

    fn on_sanitized(&mut self, outcome: Result<Sanitized, RestartFailed>, ctx: &mut Context<Self>) {
        let is_closing = matches!(self.phase, Phase::Closing { .. });
        let tries = self.sanitizing.under_way.as_mut().map_or(TRIES, |under_way| {
            under_way.tries += 1;
            under_way.tries
        });
        match outcome {
            Ok(Sanitized { desktop, .. }) | Err(RestartFailed { desktop: Some(desktop), .. })
                if is_closing =>
            {
                self.shut_down(desktop, ctx);
            }
            Ok(Sanitized { desktop, cleared }) => {
                if let Some(under_way) = &mut self.sanitizing.under_way {
                    under_way.cleared = Some(cleared);
                }
                self.store_sanitized(desktop, ctx);
            }
            Err(RestartFailed { failure, desktop: None }) => {
                self.give_up(not_sanitized(failure), Files::AsSet, ctx);
            }
            Err(RestartFailed { failure, desktop: Some(half) }) => {
                warn!(parent: &self.span, code = failure.code, "{}", failure.message);
                self.hold(half);
                if tries >= TRIES {
                    return self.fail(not_sanitized(failure), ctx);
                }
                ctx.run_later(RETRY_DELAY, |session, ctx| {
                    if let Phase::Recovering { desktop, .. } = &mut session.phase
                        && let Some(desktop) = desktop.take()
                    {
                        session.sanitize(desktop, ctx);
                    }
                });
            }
        }
    }

    /// Stores first that no sanitizing is owed. If that fails, a later server sanitizes once more.
    fn store_sanitized(&mut self, desktop: Box<dyn Desktop>, ctx: &mut Context<Self>) {
        let occupancy = &self.record.occupancy;
        let is_vacant = occupancy.holder().is_none();
        if !is_vacant {
            return self.store_restart(desktop, None, ctx); // Cleared after the present holder.
        }
        let generation = occupancy.generation();
        let (store, id) = (Arc::clone(&self.world.store), self.record.id);
        let SessionSpec { sanitize_after, sanitize_due, .. } = self.record.spec;
        let stored = async move {
            if sanitize_after.is_some() {
                store.set_sanitize_after(id, Some(generation)).await?;
            }
            if sanitize_due.is_some() {
                store.set_sanitize_due(id, None).await?;
            }
            Ok::<_, StoreError>(())
        };
        ctx.spawn(stored.into_actor(self).map(move |stored, session, ctx| {
            if let Err(cause) = stored {
                warn!(parent: &session.span, "the completed sanitizing is not stored: {cause}");
            }
            let spec = &mut session.record.spec;
            // It may have been switched off meanwhile.
            spec.sanitize_after = spec.sanitize_after.map(|before| before.max(generation));
            spec.sanitize_due = None;
            session.store_restart(desktop, None, ctx);
        }));
    }

    /// Reports and answers a complete sanitizing, once the session runs again.
    pub(super) fn report_sanitizing(&mut self) {
        let is_complete = |under_way: &mut UnderWay| under_way.cleared.is_some();
        let Some(under_way) = self.sanitizing.under_way.take_if(is_complete) else { return };
        let UnderWay { by, since, tries, waiting, cleared } = under_way;
        let cleared = cleared.unwrap_or_default();
        let took = (self.world.clock.now() - since).to_std().unwrap_or_default();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        info!(parent: &self.span, "session {} was sanitized in {took_ms} ms", self.record.id);
        let data = json!({ "cleared": cleared, "by": by, "tries": tries, "took_ms": took_ms });
        self.record_event(EventKind::SessionSanitized, data);
        let report = SanitizeReport { cleared, tries, took };
        for answer in waiting {
            let _ = answer.send(Ok(report.clone())); // The caller may have left.
        }
    }

    /// Answers the clients that wait for a sanitizing: the session is ending.
    pub(super) fn dismiss_sanitizing(&mut self) {
        let requests = std::mem::take(&mut self.sanitizing.requests);
        let under_way = self.sanitizing.under_way.take();
        let waiting = under_way.into_iter().flat_map(|under_way| under_way.waiting);
        for answer in requests.into_iter().map(|request| request.answer).chain(waiting) {
            let _ = answer.send(Err(SessionError::Closing)); // The caller may have left.
        }
    }
}

async fn remove_picture(picture: &Path) {
    match tokio::fs::remove_file(picture).await {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            warn!(error = %cause, "{} is not removed", picture.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// The failure of a session that cannot be sanitized: no other occupant may use it.
fn not_sanitized(cause: Failure) -> Failure {
    let message = format!("the data of its occupant could not be cleared: {}", cause.message);
    let hint = "create another session; this one admits no more occupants".to_owned();
    Failure { code: "sanitize_failed".to_owned(), message, hint: Some(hint), ..cause }
}

impl Handle<Sanitize> for Session {
    fn handle(
        &mut self,
        Sanitize { holder }: Sanitize,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SanitizeReport, SessionError>> {
        let (answer, sanitized) = oneshot::channel();
        self.sanitizing.requests.push_back(Request { holder, answer });
        self.next_turn(ctx);
        Box::pin(async move { sanitized.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<SanitizeOnRelease> for Session {
    fn handle(
        &mut self,
        SanitizeOnRelease { on }: SanitizeOnRelease,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SessionView, SessionError>> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return answered(Err(SessionError::Closing));
        }
        let occupancy = &self.record.occupancy;
        let before = self.record.spec.sanitize_after;
        // The traces of a present holder count; those of occupants that left before do not.
        let from_now = match occupancy.holder() {
            Some(_held) => Generation::default(),
            None => occupancy.generation(),
        };
        let after = on.then(|| before.unwrap_or(from_now));
        let (answer, changed) = oneshot::channel();
        let stored = self.world.store.set_sanitize_after(self.record.id, after);
        ctx.spawn(stored.into_actor(self).map(
            move |stored: Result<(), StoreError>, session, ctx| {
                let outcome = stored.map_err(SessionError::NotStored).map(|()| {
                    session.record.spec.sanitize_after = after;
                    session.record.modified_at = session.world.clock.now();
                    session.publish();
                    session.view.borrow().clone()
                });
                let _ = answer.send(outcome); // The caller may have left.
                session.next_turn(ctx);
            },
        ));
        Box::pin(async move { changed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<SanitizeWhenLeft> for Session {
    fn handle(
        &mut self,
        SanitizeWhenLeft { generation, lease }: SanitizeWhenLeft,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let occupancy = &self.record.occupancy;
        let checked = match occupancy.holder() {
            Some(held) => held.check(generation, lease),
            None => Err(occupancy.lost(generation)),
        };
        if let Err(refusal) = checked {
            return answered(Err(refusal.into()));
        }
        let (answer, changed) = oneshot::channel();
        let stored = self.world.store.set_sanitize_due(self.record.id, Some(generation));
        ctx.spawn(stored.into_actor(self).map(
            move |stored: Result<(), StoreError>, session, ctx| {
                if stored.is_ok() {
                    session.record.spec.sanitize_due = Some(generation);
                    session.publish();
                }
                // The caller may have left.
                let _ = answer.send(stored.map_err(SessionError::NotStored));
                session.next_turn(ctx);
            },
        ));
        Box::pin(async move { changed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
