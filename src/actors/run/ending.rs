//! How a run ends, whatever the reason: it gives back what it has, and then says so.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context};
use futures_util::future::join;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::records::block_data;
use super::{Cancel, Continue, Ending, Lease, Phase, Run, RunError};
use crate::actors::ask::{Answering, Handle, Unanswered, answered};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Close, Release, Wrap};
use crate::actors::views::RunView;
use crate::db::Rejection;
use crate::db::store::{RunChange, StoreError};
use crate::domain::event::EventKind;
use crate::domain::run::{BlockStatus, RunRecord, RunStatus};
use crate::domain::session::SessionStatus;

/// How long an execution that was asked to stop may take to do so.
const STOPPING: Duration = Duration::from_millis(800);
/// How long to wait before the end is written again.
const STORE_AGAIN: Duration = Duration::from_secs(2);

/// The code of a run whose end the database refuses as it is.
const NOT_STORED: &str = "not_stored";

impl Run {
    /// Ends the run, unless it is ending: the first reason counts.
    pub(super) fn end(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        self.paused = None;
        match &self.phase {
            // What is under way here comes back as an `on_…` call, which finds the ending.
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

    /// Gives the session back, closes it if it was the run's own, and stores the end.
    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.phase, Phase::Releasing) {
            return;
        }
        self.enter(Phase::Releasing);
        let wrapped = self.wrap();
        ctx.spawn(wrapped.into_actor(self).map(|wrapped, run, ctx| {
            if let Err(cause) = wrapped {
                warn!(parent: &run.span, "the run's films and downloads are not known to be stored: {cause}");
            }
            run.give_back(ctx);
        }));
    }

    /// What was filmed and downloaded in the run is stored while it still holds its session.
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

    fn give_back(&mut self, ctx: &mut Context<Self>) {
        if let Some(heartbeat) = self.heartbeat.take() {
            ctx.cancel_future(heartbeat);
        }
        let released = self.release();
        let closed = self.close_own_session();
        ctx.spawn(released.into_actor(self).map(move |released, run, ctx| {
            if let Err(cause) = released {
                // Its lease lapses by itself; a session that has ended holds nothing.
                warn!(parent: &run.span, "the session was not released: {cause}");
            }
            run.store_end(ctx);
        }));
        ctx.spawn(closed.into_actor(self).map(|closed, run, _| {
            if let Err(cause) = closed {
                warn!(parent: &run.span, "the run's own session was not closed: {cause}");
            }
        }));
    }

    fn release(&mut self) -> impl Future<Output = Result<(), RouteError>> + use<> {
        let route = self.lease.take().zip(self.record.session).map(|(lease, session)| {
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

    fn close_own_session(&self) -> impl Future<Output = Result<(), RouteError>> + use<> {
        let own = self.record.session.filter(|_session| self.record.owns_session);
        let asked = own.map(|session| {
            let message = Close { status: SessionStatus::Completed };
            self.registry.ask(Route { organization: self.record.organization, session, message })
        });
        async move {
            match asked {
                Some(asked) => asked.await?,
                None => Ok(()),
            }
        }
    }

    /// The final status comes last, and is written until it is stored.
    fn store_end(&mut self, ctx: &mut Context<Self>) {
        let now = self.world.clock.now();
        let Ending { status, failure } =
            self.ending.clone().unwrap_or(Ending { status: RunStatus::Completed, failure: None });
        let change = RunChange {
            status: Some(status),
            outputs: Some(self.record.outputs.clone()),
            failure: failure.clone(),
            finished_at: Some(now),
            ..RunChange::default()
        };
        let open: Vec<_> = self.close_blocks(status);
        for block in &open {
            self.tell(EventKind::BlockEnded, block_data(block));
        }
        let blocks: Vec<_> =
            open.into_iter().map(|block| self.world.store.end_block(block)).collect();
        let stored = join(
            futures_util::future::join_all(blocks),
            self.world.store.change_run(self.record.id, change),
        );
        ctx.spawn(stored.into_actor(self).map(move |(_, stored), run, ctx| match stored {
            Ok(()) | Err(StoreError::Final | StoreError::Missing) => {
                run.record.status = status;
                run.record.failure = failure;
                run.record.finished_at = Some(now);
                run.record.modified_at = now;
                run.on_ended(ctx);
            }
            Err(cause @ (StoreError::Unavailable(_) | StoreError::Conflict { .. })) => {
                warn!(parent: &run.span, "the end of the run is not stored yet: {cause}");
                ctx.run_later(STORE_AGAIN, |run, ctx| run.store_end(ctx));
            }
            Err(StoreError::Rejected(cause)) => run.on_end_refused(&cause, ctx),
        }));
    }

    /// What is refused once is refused again. The end is written once more, without what the run
    /// brought forth. After that the row stays as it is, until the next server ends it.
    fn on_end_refused(&mut self, cause: &Rejection, ctx: &mut Context<Self>) {
        let id = self.record.id;
        let bare = super::failed(NOT_STORED, format!("the database refuses its outputs: {cause}"));
        let ending = self.ending.as_ref().and_then(|ending| ending.failure.as_ref());
        if ending.is_none_or(|failure| failure.code != NOT_STORED) {
            warn!(parent: &self.span, "the outputs of {id} are left out of its row: {cause}");
            self.record.outputs = json!({});
            self.ending = Some(bare);
            return self.store_end(ctx);
        }
        error!(parent: &self.span, "the end of {id} is not stored, and never will be: {cause}");
        self.record.status = RunStatus::Failed;
        self.record.failure = bare.failure;
        self.record.finished_at = Some(self.world.clock.now());
        self.on_ended(ctx);
    }

    /// Ends the blocks that were cut off, and gives them to be stored.
    fn close_blocks(&mut self, status: RunStatus) -> Vec<crate::domain::run::BlockRecord> {
        let now = self.world.clock.now();
        let status = match status {
            RunStatus::TimedOut => BlockStatus::TimedOut,
            RunStatus::Canceled => BlockStatus::Canceled,
            RunStatus::Created
            | RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Completed
            | RunStatus::Failed
            | RunStatus::Terminated => BlockStatus::Failed,
        };
        let open = self.blocks.iter_mut().filter(|block| block.status == BlockStatus::Running);
        open.map(|block| {
            block.status = status;
            block.finished_at = Some(now);
            block.clone()
        })
        .collect()
    }

    fn on_ended(&mut self, ctx: &mut Context<Self>) {
        let RunRecord { status, failure, .. } = &self.record;
        self.tell(EventKind::RunEnded, json!({ "status": status, "failure": failure }));
        self.publish();
        let view = self.view.borrow().clone();
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(view.clone()); // An asker that left hears nothing.
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
        let (tell, ended) = oneshot::channel();
        self.waiting.push(tell);
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
