//! The start of runs, and their removal from the registry.

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{Actor as _, ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::{
    Registry, RegistryError, Resident, Resides, RouteRun, RunAccepted, RunRouteError, StartRun,
};
use crate::actors::ask::{Address, Answering, Ask, Handle, Unanswered, answered, receipt};
use crate::actors::journal::{About, Name};
use crate::actors::receipt::Receipt;
use crate::actors::run::{Assignment, Cancel, Run, RunError, close_own};
use crate::actors::session::Evict;
use crate::actors::storing::until_stored;
use crate::actors::views::RunView;
use crate::db::store::RunChange;
use crate::domain::event::{EventKind, Subject};
use crate::domain::ids::RunId;
use crate::domain::occupancy::{Occupant, RunnableType};
use crate::domain::run::{RunRecord, RunStatus};
use crate::domain::session::Failure;
use crate::traces;

impl<T, M> Handle<RouteRun<M>> for Registry
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, RunError>>,
    Run: Handle<M>,
{
    fn handle(
        &mut self,
        RouteRun { organization, run, message }: RouteRun<M>,
        _: &mut Context<Self>,
    ) -> Answering<Result<T, RunRouteError>> {
        match self.runs.get(&run) {
            Some(entry) if entry.organization == organization => {
                let answer = entry.address.forward(message);
                let view = self.world.views.run(organization, run);
                let has_ended =
                    move || view.as_ref().is_some_and(|it| it.borrow().record.status.is_final());
                Box::pin(async move {
                    match answer.await {
                        // The run stopped with the message still in its mailbox.
                        Err(Unanswered::Gone) if has_ended() => Err(RunRouteError::Unknown(run)),
                        answer => Ok(answer??),
                    }
                })
            }
            Some(_) | None => answered(Err(RunRouteError::Unknown(run))),
        }
    }
}

impl Handle<StartRun> for Registry {
    fn handle(
        &mut self,
        StartRun { run, assignment }: StartRun,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<RunAccepted, RegistryError>> {
        if let Some(id) = run.id {
            if let Some(view) = self.world.views.run(run.organization, id) {
                return answered(Ok(RunAccepted { id, view }));
            }
            if self.runs_coming.contains(&id) {
                return answered(Err(RegistryError::UnderWay));
            }
        }
        let limit = self.world.settings.max_runs;
        if self.draining.is_some() {
            return answered(Err(RegistryError::Draining));
        }
        if self.runs.len() + self.runs_coming.len() >= limit {
            return answered(Err(RegistryError::TooManyRuns { limit }));
        }
        let (organization, quotas) = (run.organization, self.world.quotas.clone());
        if let Err(refusal) = quotas.check_run(&self.world.views, organization) {
            return answered(Err(refusal.into()));
        }

        let now = self.world.clock.now();
        let record = RunRecord {
            id: run.id.unwrap_or_else(|| self.world.mint.mint(now)),
            organization: run.organization,
            node: self.world.node,
            workflow: run.workflow,
            workflow_permanent_id: run.workflow_permanent_id,
            session: run.session,
            owns_session: false,
            debug_session: run.debug_session,
            title: run.title,
            status: RunStatus::Created,
            parameters: run.parameters,
            request: run.request,
            outputs: Value::Null,
            failure: None,
            created_at: run.id.map_or(now, RunId::minted_at),
            queued_at: None,
            started_at: None,
            finished_at: None,
            modified_at: now,
            api_key: run.api_key,
        };
        self.runs_coming.insert(record.id);
        // A run whose asker chose the id is found again by it.
        let receipt = if run.id.is_some() { Receipt::default() } else { receipt() };
        let (answer, accepted) = oneshot::channel();
        let stored = self.world.store.insert_run(record.clone(), quotas.limits(organization));
        let trace = traces::current();
        ctx.spawn(stored.into_actor(self).map(move |stored, registry, ctx| {
            registry.runs_coming.remove(&record.id);
            let accepted = match stored {
                Ok(Some(full)) => Err(quotas.full(organization, full).into()),
                Ok(None) => {
                    let id = record.id;
                    let admit = || registry.admit_run(record, assignment, ctx);
                    let view = traces::call_within(trace, admit);
                    registry.cancel_if_unheard(id, receipt, ctx);
                    Ok(RunAccepted { id, view })
                }
                Err(cause) => Err(RegistryError::NotStored(cause)),
            };
            let _ = answer.send(accepted); // The receipt reports the delivery.
        }));
        Box::pin(async move { accepted.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Registry {
    /// Cancels a run as soon as its asker turns out not to have received the answer.
    fn cancel_if_unheard(&self, id: RunId, receipt: Receipt, ctx: &mut Context<Self>) {
        let Some(Resides { address, .. }) = self.runs.get(&id) else { return };
        let address = address.downgrade();
        let cancels = async move {
            if !receipt.heard().await {
                info!(run.id = %id, "run {id} is canceled: its client left before the answer");
                let why = "its client left before the answer";
                let _ = address.ask(Cancel { why: why.to_owned() }).await;
            }
        };
        ctx.spawn(cancels.into_actor(self));
    }

    /// Starts the actor of a run whose row is stored.
    fn admit_run(
        &mut self,
        record: RunRecord,
        assignment: Assignment,
        ctx: &mut Context<Self>,
    ) -> watch::Receiver<RunView> {
        let (id, organization) = (record.id, record.organization);
        let about = About { organization: Some(organization), session: None, run: Some(id) };
        let registry = self.address(&id.to_string(), ctx).downgrade();
        let registry = registry.within(traces::current());
        let registration = Self::registration(registry.clone(), Resident::Run(id));
        let (world, node) = (Arc::clone(&self.world), Arc::new(registry));
        let (run, view) = Run::new(world, record, assignment, node, registration);

        self.world.views.add_run(view.clone());
        let inner = Run::start_in_arbiter(&self.next_arbiter(), |_| run);
        let name = Name::from(id.to_string().as_str());
        let address = Address::new(inner, name, about, Arc::clone(&self.world.journal));
        self.runs.insert(id, Resides { organization, address });
        info!(run.id = %id, "run {id} starts");
        view
    }

    pub(super) fn on_run_gone(&mut self, id: RunId, in_order: bool, ctx: &mut Context<Self>) {
        let Some(gone) = self.runs.remove(&id) else { return };
        let view = self.world.views.run(gone.organization, id);
        self.world.views.remove_run(id);
        if in_order {
            return;
        }

        error!(run.id = %id, "the actor of run {id} has ended without finishing it");
        let record = view.map(|view| view.borrow().record.clone());
        let session = record.as_ref().and_then(|record| record.session);
        let resides = session.and_then(|session| self.sessions.get(&session));
        if let (Some(resides), Ok(runnable_id)) = (resides, id.to_string().parse()) {
            let occupant = Occupant { runnable_type: RunnableType::WorkflowRun, runnable_id };
            let evicted = resides.address.ask(Evict { occupant });
            ctx.spawn(evicted.into_actor(self).map(move |evicted, _, _| {
                if !matches!(evicted, Ok(Ok(()))) {
                    warn!(run.id = %id, "the session of run {id} is not released until its lease lapses");
                }
            }));
        }
        if let Some(session) = session.filter(|_session| record.is_some_and(|it| it.owns_session)) {
            let registry = Arc::new(self.address(&id.to_string(), ctx).downgrade());
            close_own(&self.world, &registry, gone.organization, session);
        }
        let failure = Failure::new("run_actor_ended", "the run's actor ended unexpectedly")
            .hint("see the server's log for the cause; start the run again");
        let subject = Subject { organization: gone.organization, session, run: Some(id) };
        let data = json!({ "status": RunStatus::Failed });
        let change = RunChange {
            status: Some(RunStatus::Failed),
            failure: Some(failure),
            finished_at: Some(self.world.clock.now()),
            events: vec![self.world.events.make(subject, EventKind::RunEnded, data)],
            ..RunChange::default()
        };
        self.store_broken(id, change, ctx);
    }

    /// Stores the end of a run whose actor broke, and retries until it is stored.
    fn store_broken(&self, id: RunId, change: RunChange, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.world.store);
        let events = change.events.clone();
        let write = move || store.change_run(id, change.clone());
        let stored = until_stored(format!("the end of run {id}"), u32::MAX, write);
        ctx.spawn(stored.into_actor(self).map(move |stored, registry, _| match stored {
            Ok(()) => registry.world.events.send(events),
            Err(cause) => warn!(run.id = %id, "the end of run {id} is not stored: {cause}"),
        }));
    }
}
