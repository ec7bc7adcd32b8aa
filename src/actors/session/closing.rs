//! The end of a session: the desktop ends first, the row last.

use actix::fut::WrapFuture as _;
use actix::{ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context};
use futures_util::future::join;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::{Instrument as _, error, info, warn};

use super::{Close, Phase, Session, SessionError};
use crate::actors::ask::{Answering, Handle, Unanswered};
use crate::actors::storing::STORE_AGAIN;
use crate::db::Rejection;
use crate::db::store::{Ended, StoreError};
use crate::domain::event::EventKind;
use crate::domain::occupancy::{Event, Occupancy};
use crate::domain::session::{Failure, SessionStatus};
use crate::system::desktop::Desktop;

/// The code of a [`not_stored`] failure.
const NOT_STORED: &str = "not_stored";

/// The failure of a session whose row the database refuses to write.
pub(super) fn not_stored(cause: &Rejection) -> Failure {
    Failure::new(NOT_STORED, format!("the database rejected the session's row: {cause}"))
}

impl Session {
    /// Ends the session as failed.
    pub(super) fn fail(&mut self, failure: Failure, ctx: &mut Context<Self>) {
        let end = self.failed(failure);
        self.end(end, ctx);
    }

    /// Logs the failure, and returns it as the end of the session.
    pub(super) fn failed(&self, failure: Failure) -> Ended {
        let id = self.record.id;
        error!(parent: &self.span, code = failure.code, "session {id} failed: {}", failure.message);
        let at = self.world.clock.now();
        Ended { failure: Some(failure), ..Ended::new(SessionStatus::Failed, at) }
    }

    /// Ends the session, unless it is ending: the first reason counts.
    pub(super) fn end(&mut self, end: Ended, ctx: &mut Context<Self>) {
        match self.begin_closing(end, ctx) {
            // The outcome arrives in an `on_…` call, which continues the closing.
            Some(Phase::Starting { call_off } | Phase::Recovering { desktop: None, call_off }) => {
                call_off.cancel()
            }
            Some(Phase::Recovering { desktop: Some(desktop), .. } | Phase::Running { desktop }) => {
                self.shut_down(desktop, ctx)
            }
            Some(Phase::Dormant) => self.on_shut_down(Vec::new(), ctx),
            Some(Phase::Closing { .. }) | None => {}
        }
    }

    /// Moves to `Closing`, and returns the phase before; `None` if the session was closing already.
    pub(super) fn begin_closing(&mut self, end: Ended, ctx: &mut Context<Self>) -> Option<Phase> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return None;
        }
        let data = json!({ "status": end.status, "failure": end.failure });
        let left = self.enter(Phase::Closing { end, waiting: Vec::new() });
        self.record_event(EventKind::SessionClosing, data);
        self.dismiss_waiters();
        self.dismiss_sanitizing();
        self.dismiss_rotations();
        self.ended.cancel();
        self.following = None;
        self.reporting = None;
        self.set_timer(ctx);
        self.publish();
        Some(left)
    }

    pub(super) fn shut_down(&mut self, mut desktop: Box<dyn Desktop>, ctx: &mut Context<Self>) {
        if self.profile.storing.is_some() {
            // Its browser stands still, and the version that it stores must not be the later one.
            self.shut_down_later = Some(desktop);
            return;
        }
        self.collect_downloads(&*desktop);
        self.pack_at_end(&mut *desktop);
        let (films, downloads) = (self.wrap_films(), desktop.downloads().finish());
        let work = async move {
            join(films, downloads).await;
            desktop.shut_down().await
        };
        let work = work.instrument(self.span.clone()).into_actor(self);
        ctx.spawn(work.map(|left, session, ctx| session.on_shut_down(left, ctx)));
    }

    /// Stores the end of the session. The row comes last: once it says that the session has ended,
    /// none of its programs is running.
    pub(super) fn on_shut_down(&mut self, left: Vec<String>, ctx: &mut Context<Self>) {
        for what in left {
            error!(parent: &self.span, "left behind by session {}: {what}", self.record.id);
        }
        let Phase::Closing { end, .. } = &mut self.phase else { return };
        end.at = self.world.clock.now();
        self.store_end(ctx);
    }

    fn store_end(&mut self, ctx: &mut Context<Self>) {
        let Phase::Closing { end, .. } = &mut self.phase else { return };
        if end.events.is_empty() {
            let data = json!({ "status": end.status, "failure": end.failure });
            end.events = vec![self.world.events.make(&self.record, EventKind::SessionEnded, data)];
        }
        let work = self.world.store.end_session(self.record.id, end.clone());
        ctx.spawn(work.into_actor(self).map(|outcome, session, ctx| match outcome {
            // The end is already written, whichever process wrote it.
            Ok(()) | Err(StoreError::Final | StoreError::Missing) => session.on_ended(ctx),
            Err(StoreError::Rejected(cause)) => session.on_end_refused(cause, ctx),
            Err(cause @ (StoreError::Unavailable(_) | StoreError::Conflict { .. })) => {
                session.on_end_not_stored(cause, ctx)
            }
        }));
    }

    /// Handles an end that could not be stored: the desktop is gone, so the write is repeated until
    /// it succeeds.
    fn on_end_not_stored(&mut self, cause: StoreError, ctx: &mut Context<Self>) {
        warn!(parent: &self.span, "the end of {} is not stored yet: {cause}", self.record.id);
        self.answer_closers(&cause);
        ctx.run_later(STORE_AGAIN, |session, ctx| session.store_end(ctx));
    }

    /// Handles an end that the database refuses: a refused write would be refused again. The end is
    /// written once more without text from clients or programs. If that is refused too, the row
    /// stays as it is, which the ledger of leaks reports, and the session ends.
    fn on_end_refused(&mut self, cause: Rejection, ctx: &mut Context<Self>) {
        let id = self.record.id;
        let Phase::Closing { end, .. } = &mut self.phase else { return };
        if end.failure.as_ref().is_some_and(|failure| failure.code != NOT_STORED) {
            end.failure = Some(not_stored(&cause));
            end.events.clear();
            warn!(parent: &self.span, "the failure of {id} is left out of its row: {cause}");
            return self.store_end(ctx);
        }
        error!(parent: &self.span, "the end of {id} is not stored, and never will be: {cause}");
        self.answer_closers(&StoreError::Rejected(cause));
        self.on_ended(ctx);
    }

    fn answer_closers(&mut self, cause: &StoreError) {
        if let Phase::Closing { waiting, .. } = &mut self.phase {
            for done in waiting.drain(..) {
                let _ = done.send(Err(SessionError::NotStored(cause.clone())));
            }
        }
    }

    fn on_ended(&mut self, ctx: &mut Context<Self>) {
        let Phase::Closing { end, waiting } = &mut self.phase else { return };
        self.record.status = end.status;
        self.record.failure = end.failure.clone();
        self.record.completed_at = Some(end.at);
        self.record.modified_at = end.at;
        let last = self.record.occupancy.generation();
        let closed = self.record.occupancy.after(Event::Close);
        self.record.occupancy = closed.unwrap_or(Occupancy::Closed { last });
        let waiting = std::mem::take(waiting);
        self.world.events.send(std::mem::take(&mut end.events));
        self.publish();
        // A client that is notified of the end finds no contradicting view.
        for done in waiting {
            let _ = done.send(Ok(()));
        }
        let (id, status) = (self.record.id, self.record.status);
        info!(parent: &self.span, "session {id} has ended: {status}");
        self.notify_left();
        self.registration.in_order();
        ctx.stop();
    }
}

impl Handle<Close> for Session {
    fn handle(
        &mut self,
        Close { status }: Close,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let at = self.world.clock.now();
        self.end(Ended::new(status, at), ctx);
        let (done, closed) = oneshot::channel();
        if let Phase::Closing { waiting, .. } = &mut self.phase {
            waiting.push(done);
        }
        Box::pin(async move { closed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
