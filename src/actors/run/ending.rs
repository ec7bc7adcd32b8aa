//! The end of a run, for whatever reason: it releases what it holds, and then stores its final
//! status.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::records::block_data;
use super::{Cancel, Continue, Ending, Lease, Phase, Run, RunError};
use crate::actors::ask::{Answering, Asks, Handle, Unanswered, answered};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Close, Release, SessionError, Wrap};
use crate::actors::storing::STORE_AGAIN;
use crate::actors::views::RunView;
use crate::actors::world::World;
use crate::db::Rejection;
use crate::db::store::{RunChange, StoreError};
use crate::domain::event::EventKind;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::run::{BlockStatus, RunStatus};
use crate::domain::session::SessionStatus;
use crate::workflow::engine::CALL_OFF;

/// The time limit for an execution to stop after it was canceled: the engine's own limit, and a
/// short margin.
const STOPPING: Duration = CALL_OFF.saturating_add(Duration::from_millis(100));
/// The time limit for programs and triggered runs that are being canceled. After it the run ends
/// without them.
const QUIET: Duration = Duration::from_secs(25);
/// The number of times that the run's own session is asked to close.
const CLOSE_TRIES: usize = 30;

/// True if the outcome is unknown, or if a retry may soon succeed. An actor that is gone may have
/// broken, and another one replaces it.
fn is_passing(cause: &RouteError) -> bool {
    match cause {
        RouteError::Unanswered(_)
        | RouteError::Session(SessionError::Unanswered(_) | SessionError::Starting) => true,
        RouteError::Session(SessionError::NotStored(cause)) => {
            matches!(cause, StoreError::Unavailable { .. })
        }
        RouteError::Session(_) | RouteError::Unknown(_) | RouteError::Draining => false,
    }
}

/// Closes the session that a run made for itself, in a task that outlives the run.
pub(in crate::actors) fn close_own(
    world: &World,
    registry: &Arc<impl Asks<Route<Close>> + ?Sized>,
    organization: OrganizationId,
    session: SessionId,
) {
    let registry = Arc::clone(registry);
    let close = move || {
        let message = Close { status: SessionStatus::Completed };
        registry.ask(Route { organization, session, message })
    };
    let mut asked = close();
    world.runtime.spawn(async move {
        for _ in 0..CLOSE_TRIES {
            match asked.await.map_err(RouteError::from).flatten() {
                Err(cause) if is_passing(&cause) => sleep(STORE_AGAIN).await,
                Ok(()) | Err(RouteError::Unknown(_)) => return,
                Err(cause) => return warn!(session.id = %session, "a run's session {session} is not closed: {cause}"),
            }
            asked = close();
        }
        error!(session.id = %session, "the session {session} of a run may still be open");
    });
}

/// The code of a run whose end the database refuses as it is.
const NOT_STORED: &str = "not_stored";

impl Run {
    /// Ends the run when nothing of it is under way, for the first reason that was recorded. Every
    /// outcome that stops the run's progress ends here: [`end`](Self::end) leaves the ending to
    /// them.
    pub(super) fn end_now(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        self.ending.get_or_insert(ending);
        self.paused = None;
        self.finish(ctx);
    }

    /// Ends the run, unless it is ending: the first reason counts.
    pub(super) fn end(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        self.paused = None;
        match &self.phase {
            // The operation under way completes in an `on_…` call, which finds the ending.
            Phase::Preparing if self.record.session.is_none() => {}
            Phase::Queued { called_off } if self.lease.is_none() => {
                called_off.cancel();
                if self.record.status != RunStatus::Queued {
                    self.finish(ctx);
                }
            }
            Phase::Driving { stop, abort } => {
                stop.cancel();
                let abort = abort.clone();
                ctx.run_later(STOPPING, move |_, _| abort.abort());
            }
            Phase::Preparing | Phase::Queued { .. } => self.finish(ctx),
            Phase::Releasing => {}
        }
    }

    /// Releases the session, closes it if it was the run's own, and stores the end.
    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.phase, Phase::Releasing) {
            return;
        }
        self.enter(Phase::Releasing);
        let host = self.host.take();
        let quiet = async move {
            match host {
                Some(host) => timeout(QUIET, host.quiet()).await.is_ok(),
                None => true,
            }
        };
        ctx.spawn(quiet.into_actor(self).map(|quiet, run, ctx| {
            if !quiet {
                error!(parent: &run.span, "the executor of a block has not ended in time");
            }
            run.wrap_films(ctx);
        }));
    }

    fn wrap_films(&mut self, ctx: &mut Context<Self>) {
        let wrapped = self.wrap();
        ctx.spawn(wrapped.into_actor(self).map(|wrapped, run, ctx| {
            if let Err(cause) = wrapped {
                warn!(parent: &run.span, "the run's films and downloads may not be stored: {cause}");
            }
            run.release_session(ctx);
        }));
    }

    /// Has the films and downloads of the run stored while it still holds its session.
    fn wrap(&self) -> impl Future<Output = Result<(), RouteError>> + use<> {
        let status = self.ending.as_ref().map(|ending| ending.status);
        let failed = matches!(status, Some(RunStatus::Failed | RunStatus::TimedOut));
        let session = self.record.session.filter(|_session| self.lease.is_some());
        let asked = session.map(|session| {
            let message = Wrap { run: self.record.id, failed };
            self.registry.ask(Route { organization: self.record.organization, session, message })
        });
        async move {
            match asked {
                Some(asked) => asked.await?,
                None => Ok(()),
            }
        }
    }

    fn release_session(&mut self, ctx: &mut Context<Self>) {
        if let Some(heartbeat) = self.heartbeat.take() {
            ctx.cancel_future(heartbeat);
        }
        let released = self.release();
        if !self.is_closing {
            self.is_closing = true;
            if let Some(session) = self.record.session.filter(|_session| self.record.owns_session) {
                // Queued behind the release, which was sent before.
                close_own(&self.world, &self.registry, self.record.organization, session);
            }
        }
        ctx.spawn(released.into_actor(self).map(move |released, run, ctx| {
            if let Err(cause) = released {
                warn!(parent: &run.span, "the session was not released: {cause}");
                if run.may_still_hold(&cause) {
                    ctx.run_later(STORE_AGAIN, Self::release_session);
                    return;
                }
            }
            run.lease = None;
            run.store_end(ctx);
        }));
    }

    /// True if a failed release should be repeated: the lease has not expired, and the failure may
    /// pass.
    fn may_still_hold(&self, cause: &RouteError) -> bool {
        let lasts = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.grant.expires_at > self.world.clock.now());
        lasts && is_passing(cause)
    }

    fn release(&mut self) -> impl Future<Output = Result<(), RouteError>> + use<> {
        let route = self.lease.as_ref().zip(self.record.session).map(|(lease, session)| {
            let Lease { token, grant } = lease;
            let (generation, lease) = (grant.generation, token.hash());
            let message = Release { generation, lease, run: Some(self.record.id) };
            Route { organization: self.record.organization, session, message }
        });
        let asked = route.map(|route| self.registry.ask(route));
        async move {
            match asked {
                Some(asked) => asked.await?,
                None => Ok(()),
            }
        }
    }

    /// Records that the write of a block has completed, and stores the end if it waited for that.
    pub(super) fn wrote(&mut self, ctx: &mut Context<Self>) {
        self.writing = self.writing.saturating_sub(1);
        if self.writing == 0 && std::mem::take(&mut self.end_waits) {
            self.store_end(ctx);
        }
    }

    /// Stores the end. The final status comes last, with the end of the blocks that were cut off.
    /// It waits for the block writes under way: a block must not be stored after the end of its
    /// run.
    fn store_end(&mut self, ctx: &mut Context<Self>) {
        if self.writing > 0 {
            self.end_waits = true;
            return;
        }
        let now = self.world.clock.now();
        let status = self.ending.as_ref().map_or(RunStatus::Completed, |ending| ending.status);
        let mut cut_off = Vec::new();
        for block in self.blocks.iter_mut().filter(|it| it.status == BlockStatus::Running) {
            block.status = BlockStatus::cut_off_by(status);
            block.finished_at = Some(now);
            self.world.metrics.blocks.add(block.status.as_str(), 1);
            cut_off.push(block_data(block));
        }
        for data in cut_off {
            self.record_event(EventKind::BlockEnded, data);
        }
        self.store_status(ctx);
    }

    fn store_status(&mut self, ctx: &mut Context<Self>) {
        let now = self.world.clock.now();
        let Ending { status, failure } =
            self.ending.clone().unwrap_or(Ending { status: RunStatus::Completed, failure: None });
        // The same event over all tries: a lost answer may hide that one of them was stored.
        let event = match self.end_event.take() {
            Some(event) => event,
            None => {
                let data = json!({ "status": status, "failure": failure });
                self.make_event(EventKind::RunEnded, data)
            }
        };
        self.end_event = Some(event.clone());
        let change = RunChange {
            status: Some(status),
            events: vec![event],
            outputs: Some(self.record.outputs.clone()),
            failure: failure.clone(),
            finished_at: Some(now),
            ..RunChange::default()
        };
        let stored = self.world.store.change_run(self.record.id, change);
        ctx.spawn(stored.into_actor(self).map(move |stored, run, ctx| match stored {
            Ok(()) | Err(StoreError::Final | StoreError::Missing) => {
                run.record.status = status;
                run.record.failure = failure;
                run.record.finished_at = Some(now);
                run.record.modified_at = now;
                run.on_ended(ctx);
            }
            Err(cause @ (StoreError::Unavailable(_) | StoreError::Conflict { .. })) => {
                warn!(parent: &run.span, "the end of the run is not stored yet: {cause}");
                ctx.run_later(STORE_AGAIN, Self::store_status);
            }
            Err(StoreError::Rejected(cause)) => run.on_end_refused(&cause, ctx),
        }));
    }

    /// Handles an end that the database refuses: a refused write would be refused again. The end is
    /// written once more without the run's outputs. If that is refused too, the row stays as it is,
    /// until the next server ends it.
    fn on_end_refused(&mut self, cause: &Rejection, ctx: &mut Context<Self>) {
        let id = self.record.id;
        let bare = super::failed(NOT_STORED, format!("the database rejected its outputs: {cause}"));
        let ending = self.ending.as_ref().and_then(|ending| ending.failure.as_ref());
        if ending.is_none_or(|failure| failure.code != NOT_STORED) {
            warn!(parent: &self.span, "the outputs of {id} are left out of its row: {cause}");
            self.record.outputs = json!({});
            (self.ending, self.end_event) = (Some(bare), None);
            return self.store_status(ctx);
        }
        error!(parent: &self.span, "the end of {id} is not stored, and never will be: {cause}");
        self.record.status = RunStatus::Failed;
        self.record.failure = bare.failure;
        self.record.finished_at = Some(self.world.clock.now());
        self.on_ended(ctx);
    }

    fn on_ended(&mut self, ctx: &mut Context<Self>) {
        self.world.metrics.runs.add(self.record.status.as_str(), 1);
        self.world.events.send(self.end_event.take());
        self.publish();
        let view = self.view.borrow().clone();
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(view.clone()); // The caller may have left.
        }
        info!(parent: &self.span, "run {} has ended: {}", self.record.id, self.record.status);
        self.registration.in_order();
        ctx.stop();
    }
}

impl Handle<Cancel> for Run {
    fn handle(
        &mut self,
        Cancel { why }: Cancel,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<RunView, RunError>> {
        let Ending { failure, .. } = super::failed("canceled", why);
        self.end(Ending { status: RunStatus::Canceled, failure }, ctx);
        let (notify, ended) = oneshot::channel();
        self.waiting.push(notify);
        Box::pin(async move { Ok(ended.await.map_err(|_gone| Unanswered::Gone)?) })
    }
}

impl Handle<Continue> for Run {
    fn handle(
        &mut self,
        Continue: Continue,
        _: &mut Context<Self>,
    ) -> Answering<Result<(), RunError>> {
        let status = self.record.status;
        let went_on = self.paused.take().and_then(|paused| paused.send(()).ok());
        answered(went_on.ok_or(RunError::NotPaused { status }))
    }
}
