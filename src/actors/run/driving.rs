//! The driving phase of a run: it occupies its session, drives it and keeps its lease.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::Value;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field, info, warn};

use super::host::RunHost;
use super::work::Taken;
use super::{Ending, Finished, Lease, Phase, Run, WorkContext, failed};
use crate::actors::journal::About;
use crate::actors::registry::{Route, RouteError, awake};
use crate::actors::session::{
    Begin, Beginner, Grant, Heartbeat, Record, SanitizeWhenLeft, SessionError, Wait,
};
use crate::actors::views::SessionView;
use crate::db::store::{RunChange, StoreError};
use crate::domain::event::{EventKind, Subject};
use crate::domain::ids::SessionId;
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::{Generation, Occupant, RunnableId, RunnableType};
use crate::domain::run::RunStatus;
use crate::domain::session::{Failure, SessionStatus};
use crate::traces;

impl Run {
    /// Stores that the run waits for `session`, and then waits for it.
    pub(super) fn queue(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return self.finish(ctx);
        }
        let now = self.world.clock.now();
        let of_session = Subject { session: Some(session), ..Subject::from(&self.record) };
        let event = self.world.events.make(of_session, EventKind::RunQueued, Value::Null);
        let change = RunChange {
            status: Some(RunStatus::Queued),
            session: Some(session),
            owns_session: Some(self.record.owns_session),
            queued_at: Some(now),
            events: vec![event.clone()],
            ..RunChange::default()
        };
        self.enter(Phase::Queued { called_off: CancellationToken::new() });
        let stored = self.world.store.change_run(self.record.id, change);
        ctx.spawn(stored.into_actor(self).map(move |stored, run, ctx| match stored {
            Ok(()) if run.ending.is_some() => {
                run.world.events.send([event]);
                run.finish(ctx)
            }
            Ok(()) => {
                run.record.status = RunStatus::Queued;
                run.record.session = Some(session);
                run.record.queued_at = Some(now);
                run.world.events.send([event]);
                run.publish();
                run.begin(session, ctx);
            }
            Err(cause) => run.end_now(not_stored(&cause), ctx),
        }));
    }

    /// Drives under the occupancy of the parent run, which waits for this one, for as long as that
    /// occupancy lasts.
    pub(super) fn borrow(&mut self, session: SessionId, lent: Generation, ctx: &mut Context<Self>) {
        self.watch_session(session, ctx);
        if let Some(mut view) = self.session_view(session) {
            let over = async move {
                let lasts = |view: &SessionView| {
                    view.record.occupancy.holder().is_some_and(|held| held.generation == lent)
                };
                let _ = view.wait_for(|view| !lasts(view)).await; // Or it has ended.
            };
            ctx.spawn(over.into_actor(self).map(|(), run, ctx| {
                let message = "the run that lent its session no longer holds it".to_owned();
                run.end(failed("occupancy_lost", message), ctx);
            }));
        }
        self.store_start(session, ctx);
    }

    fn occupant(&self) -> Option<Occupant> {
        let runnable_id: RunnableId = self.record.id.to_string().parse().ok()?;
        Some(Occupant { runnable_type: RunnableType::WorkflowRun, runnable_id })
    }

    fn begin(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let (Phase::Queued { called_off }, Some(occupant)) = (&self.phase, self.occupant()) else {
            return;
        };
        let view = self.session_view(session);
        if view.is_some_and(|view| view.borrow().record.is_dormant()) {
            let called_off = called_off.clone();
            return self.wake(session, called_off, ctx);
        }
        let token = self.world.secrets.fresh_lease();
        let message = Begin {
            occupant,
            lease: token.clone(),
            ttl: self.world.settings.default_lease(),
            wait: Some(Wait { patience: self.assignment.wait, gone: called_off.clone() }),
            by: Beginner::Run,
        };
        let route = Route { organization: self.record.organization, session, message };
        let begun = self.registry.ask(route);
        ctx.spawn(begun.into_actor(self).map(move |begun, run, ctx| {
            run.on_begun(session, token, begun.unwrap_or_else(|cause| Err(cause.into())), ctx);
        }));
    }

    /// Starts the browser of a session that waits for its first use, and then begins the occupancy.
    fn wake(&mut self, session: SessionId, called_off: CancellationToken, ctx: &mut Context<Self>) {
        let (registry, views) = (Arc::clone(&self.registry), self.world.views.clone());
        let organization = self.record.organization;
        let wakes = async move {
            tokio::select! {
                woken = awake(&*registry, &views, organization, session) => woken,
                () = called_off.cancelled() => Ok(()), // The run is ending.
            }
        };
        ctx.spawn(wakes.into_actor(self).map(move |woken, run, ctx| match woken {
            Ok(()) if run.ending.is_some() => run.finish(ctx),
            Ok(()) => run.begin(session, ctx),
            Err(cause) => {
                let what = "Failed to begin browser session for workflow run";
                run.end_now(failed("session_not_begun", format!("{what}: {cause}")), ctx);
            }
        }));
    }

    fn on_begun(
        &mut self,
        session: SessionId,
        token: LeaseToken,
        begun: Result<Grant, RouteError>,
        ctx: &mut Context<Self>,
    ) {
        match begun {
            Ok(grant) => {
                self.lease = Some(Lease { token, grant });
                if self.ending.is_some() {
                    return self.finish(ctx);
                }
                self.set_heartbeat(ctx);
                self.watch_session(session, ctx);
                if self.assignment.sanitize && !self.record.owns_session {
                    return self.have_sanitized(session, ctx);
                }
                self.store_start(session, ctx);
            }
            Err(cause) => {
                let ending = self.not_begun(session, &cause);
                self.end_now(ending, ctx);
            }
        }
    }

    /// Requests that the session is sanitized once this run has left it. The run drives nothing
    /// before the request is stored.
    fn have_sanitized(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let Some(lease) = &self.lease else { return };
        let (generation, lease) = (lease.grant.generation, lease.token.hash());
        let message = SanitizeWhenLeft { generation, lease };
        let route = Route { organization: self.record.organization, session, message };
        let stored = self.registry.ask(route);
        ctx.spawn(stored.into_actor(self).map(move |stored, run, ctx| {
            match stored.unwrap_or_else(|cause| Err(RouteError::from(cause))) {
                Ok(()) => run.store_start(session, ctx),
                Err(cause) => {
                    let message = format!("the session cannot be cleared after the run: {cause}");
                    run.end_now(failed("session_not_begun", message), ctx);
                }
            }
        }));
    }

    /// The reason why the session could not be begun: the session's own failure, if it has one.
    fn not_begun(&self, session: SessionId, cause: &RouteError) -> Ending {
        let failure =
            self.session_view(session).and_then(|view| view.borrow().record.failure.clone());
        let code = match cause {
            RouteError::Session(SessionError::WaitedInVain { .. }) => "session_occupied",
            RouteError::Unknown(_) | RouteError::Session(SessionError::Closing) => "session_ended",
            RouteError::Draining => "server_stopping",
            RouteError::Session(_) | RouteError::Unanswered(_) => "session_not_begun",
        };
        let what = failure.map_or_else(|| cause.to_string(), |failure| failure.message);
        failed(code, format!("Failed to begin browser session for workflow run: {what}"))
    }

    fn store_start(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return self.finish(ctx);
        }
        let now = self.world.clock.now();
        let event = self.make_event(EventKind::RunStarted, Value::Null);
        let change = RunChange {
            status: Some(RunStatus::Running),
            started_at: Some(now),
            events: vec![event.clone()],
            ..RunChange::default()
        };
        let stored = self.world.store.change_run(self.record.id, change);
        ctx.spawn(stored.into_actor(self).map(move |stored, run, ctx| match stored {
            Ok(()) if run.ending.is_some() => {
                run.world.events.send([event]);
                run.finish(ctx)
            }
            Ok(()) => {
                run.record.status = RunStatus::Running;
                run.record.started_at = Some(now);
                run.world.events.send([event]);
                run.publish();
                run.record(session, ctx);
            }
            Err(cause) => run.end_now(not_stored(&cause), ctx),
        }));
    }

    /// Drives the session. If a recording is wanted, it starts before the first block.
    fn record(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let Some(options) = self.assignment.record else { return self.drive(session, ctx) };
        let message = Record { options, run: Some(self.record.id) };
        let route = Route { organization: self.record.organization, session, message };
        let begun = self.registry.ask(route);
        ctx.spawn(begun.into_actor(self).map(move |begun, run, ctx| {
            if let Err(cause) = begun.unwrap_or_else(|cause| Err(RouteError::from(cause))) {
                warn!(parent: &run.span, "the run is not recorded: {cause}");
            }
            run.drive(session, ctx);
        }));
    }

    fn drive(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return self.finish(ctx);
        }
        self.span.record("session.id", field::display(session));
        info!(parent: &self.span, "run {} drives {session}", self.record.id);
        let work = std::mem::replace(&mut self.assignment.work, Box::new(Taken));
        let job = WorkContext { run: self.record.id, session };
        let host = Arc::new(RunHost::new(self, session, self.address(ctx).downgrade()));
        self.host = Some(Arc::clone(&host));
        let stop = CancellationToken::new();
        // A task of its own: a panic in it becomes an outcome here, and cannot stop the actor.
        let executing = work.execute(job, host, stop.clone());
        let about = About {
            organization: Some(self.record.organization),
            session: Some(session),
            run: Some(self.record.id),
        };
        let has_failed = |finished: &Finished| finished.failure.is_some();
        let executing = traces::spanned("execute run", about, has_failed, executing);
        let executing = traces::within(self.trace.clone(), executing);
        let task = self.world.runtime.spawn(executing.instrument(self.span.clone()));
        self.enter(Phase::Driving { stop, abort: task.abort_handle() });
        ctx.spawn(task.into_actor(self).map(|outcome, run, ctx| run.on_executed(outcome, ctx)));
    }

    fn on_executed(&mut self, outcome: Result<Finished, JoinError>, ctx: &mut Context<Self>) {
        let ending = match outcome {
            Ok(Finished { status, outputs, failure }) => {
                self.record.outputs = outputs;
                Ending { status, failure }
            }
            Err(cause) => failed("execution_panicked", format!("the execution ended: {cause}")),
        };
        self.end_now(ending, ctx);
    }

    /// Ends the run when its session ends.
    fn watch_session(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let Some(mut view) = self.session_view(session) else {
            let message = format!("the session {session} has ended");
            return self.end(failed("session_ended", message), ctx);
        };
        let ends = async move {
            let broke = |view: &SessionView| view.record.status == SessionStatus::Retry;
            let ended = view
                .wait_for(|view| view.closing || view.record.status.is_final() || broke(view))
                .await;
            ended.ok().map(|view| (broke(&view), view.record.failure.clone()))
        };
        ctx.spawn(ends.into_actor(self).map(move |ended: Option<(bool, _)>, run, ctx| {
            let (broke, failure): (bool, Option<Failure>) = ended.unwrap_or_default();
            if broke {
                // The session continues, but without the pages that the run drove.
                let message = format!("the browser of session {session} failed and was restarted");
                return run.end(failed("browser_crashed", message), ctx);
            }
            let what = failure.map_or_else(|| "it was closed".to_owned(), |cause| cause.message);
            run.end(failed("session_ended", format!("the session {session} ended: {what}")), ctx);
        }));
    }

    /// Schedules the next heartbeat. Three fit into a lease, so that two may be lost.
    fn set_heartbeat(&mut self, ctx: &mut Context<Self>) {
        let every = self.world.settings.default_lease() / 3;
        self.heartbeat = Some(ctx.run_later(every, Self::send_heartbeat));
    }

    fn send_heartbeat(&mut self, ctx: &mut Context<Self>) {
        self.heartbeat = None;
        let (Some(Lease { token, grant }), Some(session)) = (&self.lease, self.record.session)
        else {
            return;
        };
        let message = Heartbeat {
            generation: grant.generation,
            lease: token.hash(),
            ttl: None,
            run: Some(self.record.id),
        };
        let route = Route { organization: self.record.organization, session, message };
        let heard = self.registry.ask(route);
        ctx.spawn(heard.into_actor(self).map(|heard, run, ctx| {
            run.on_heartbeat(heard.unwrap_or_else(|cause| Err(cause.into())), ctx);
        }));
    }

    fn on_heartbeat(&mut self, heard: Result<Grant, RouteError>, ctx: &mut Context<Self>) {
        match heard {
            Ok(grant) => {
                if let Some(lease) = &mut self.lease {
                    lease.grant = grant;
                }
            }
            Err(cause @ RouteError::Session(SessionError::Refused(_))) => {
                self.lease = None; // Another occupant has the session; nothing to release.
                let message = format!("the run lost its session: {cause}");
                return self.end(failed("occupancy_lost", message), ctx);
            }
            Err(cause @ RouteError::Unknown(_)) => {
                self.lease = None; // The lease ended with the session.
                return self.end(failed("session_ended", cause.to_string()), ctx);
            }
            // Unanswered or not stored: the lease still lasts, and the next heartbeat may succeed.
            Err(cause) => warn!(parent: &self.span, "a heartbeat failed: {cause}"),
        }
        if self.lease.is_some() {
            self.set_heartbeat(ctx);
        }
    }

    /// Ends the run, which has reached its time limit.
    pub(super) fn on_limit(&mut self, ctx: &mut Context<Self>) {
        let limit: Duration = self.assignment.limit;
        let message = format!("the run took longer than {} s", limit.as_secs());
        let Ending { failure, .. } = failed("run_timed_out", message);
        self.end(Ending { status: RunStatus::TimedOut, failure }, ctx);
    }
}

fn not_stored(cause: &StoreError) -> Ending {
    failed("run_not_stored", format!("the run's progress could not be stored: {cause}"))
}
