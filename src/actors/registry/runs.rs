//! The start of runs, and their removal from the registry.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{Actor as _, ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::{Registry, RegistryError, Resident, Resides};
use crate::actors::ask::{
    Address, Answering, Ask, Classified, Handle, Unanswered, answered, receipt,
};
use crate::actors::journal::{About, Name, Outcome};
use crate::actors::receipt::Receipt;
use crate::actors::registration::Registration;
use crate::actors::run::{Assignment, Cancel, Continue, Run, RunError, close_own};
use crate::actors::session::Evict;
use crate::actors::views::RunView;
use crate::db::store::{RunChange, StoreError};
use crate::domain::event::{EventKind, Subject};
use crate::domain::ids::{
    ApiKeyId, DebugSessionId, OrganizationId, RunId, SessionId, WorkflowId, WorkflowPermanentId,
};
use crate::domain::occupancy::{Occupant, RunnableType};
use crate::domain::run::{RunRecord, RunStatus};
use crate::domain::session::Failure;

/// The delay before the end of a run whose actor broke is written again.
const STORE_AGAIN: Duration = Duration::from_secs(2);

/// The properties of a run that has no id yet.
#[derive(Debug)]
pub struct NewRun {
    /// The organization that will own the run.
    pub organization: OrganizationId,
    /// The id of the workflow version that it executes.
    pub workflow: WorkflowId,
    /// The same workflow over all versions.
    pub workflow_permanent_id: WorkflowPermanentId,
    /// The session that it drives; without one the run creates its own.
    pub session: Option<SessionId>,
    /// The debug session that it belongs to.
    pub debug_session: Option<DebugSessionId>,
    /// A title for people.
    pub title: Option<String>,
    /// The values of the workflow's parameters.
    pub parameters: Value,
    /// The original request, unabridged.
    pub request: Value,
    /// The API key of the request.
    pub api_key: Option<ApiKeyId>,
    /// The id, if the asker chooses it in order to find the run again. A repeated request is
    /// answered with the same run.
    pub id: Option<RunId>,
}

/// Starts a run. Answered when its row is stored and its actor has started. If the asker did not
/// receive the answer, the run is canceled at once, unless the asker chose its id.
#[derive(Debug)]
pub struct StartRun {
    /// The properties of the run.
    pub run: NewRun,
    /// The work of the run, and its limits.
    pub assignment: Assignment,
}

/// A run that has been started.
#[derive(Debug)]
pub struct RunAccepted {
    /// The id of the run.
    pub id: RunId,
    /// The view of its state.
    pub view: watch::Receiver<RunView>,
}

impl Ask for StartRun {
    type Answer = Result<RunAccepted, RegistryError>;
    const KIND: &'static str = "start_run";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn about(&self) -> About {
        let NewRun { organization, session, .. } = &self.run;
        About { organization: Some(*organization), session: *session, run: None }
    }

    fn summary(&self) -> Value {
        json!({ "workflow_permanent_id": self.run.workflow_permanent_id })
    }
}

/// The reason why a message did not reach its run, or was not done there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunRouteError {
    /// No such run is under way; those of other organizations do not exist for the asker.
    #[error("run {0} does not exist or has ended")]
    Unknown(RunId),
    /// The run refused the message or failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run or the registry did not answer.
    #[error("no answer: {0}")]
    Unanswered(#[from] Unanswered),
}

impl Classified for RunRouteError {
    fn class(&self) -> Outcome {
        match self {
            Self::Unknown(_) => Outcome::Refused,
            Self::Run(cause) => cause.class(),
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}

/// Forwards a message to a run, if the organization owns it.
#[derive(Debug)]
pub struct RouteRun<M> {
    /// The organization of the asker.
    pub organization: OrganizationId,
    /// The id of the run.
    pub run: RunId,
    /// The message to the run.
    pub message: M,
}

impl<T, M> Ask for RouteRun<M>
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, RunError>>,
{
    type Answer = Result<T, RunRouteError>;
    const KIND: &'static str = M::KIND;

    fn patience(&self) -> Duration {
        self.message.patience().saturating_add(Duration::from_secs(1))
    }

    fn about(&self) -> About {
        About { organization: Some(self.organization), run: Some(self.run), session: None }
    }

    fn summary(&self) -> Value {
        self.message.summary()
    }
}

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
        ctx.spawn(stored.into_actor(self).map(move |stored, registry, ctx| {
            registry.runs_coming.remove(&record.id);
            let accepted = match stored {
                Ok(Some(full)) => Err(quotas.full(organization, full).into()),
                Ok(None) => {
                    let id = record.id;
                    let view = registry.admit_run(record, assignment, ctx);
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
                info!("run {id} is canceled: its client left before the answer");
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
        let registration = Registration::new(registry.clone(), Resident::Run(id));
        let (run, view) =
            Run::new(Arc::clone(&self.world), record, assignment, registry, registration);

        self.world.views.add_run(view.clone());
        let inner = Run::start_in_arbiter(&self.next_arbiter(), |_| run);
        let name = Name::from(id.to_string().as_str());
        let address = Address::new(inner, name, about, Arc::clone(&self.world.journal));
        self.runs.insert(id, Resides { organization, address });
        info!("run {id} starts");
        view
    }

    pub(super) fn on_run_gone(&mut self, id: RunId, in_order: bool, ctx: &mut Context<Self>) {
        let Some(gone) = self.runs.remove(&id) else { return };
        let view = self.world.views.run(gone.organization, id);
        self.world.views.remove_run(id);
        if in_order {
            return;
        }

        error!("the actor of run {id} has ended without finishing it");
        let record = view.map(|view| view.borrow().record.clone());
        let session = record.as_ref().and_then(|record| record.session);
        let resides = session.and_then(|session| self.sessions.get(&session));
        if let (Some(resides), Ok(runnable_id)) = (resides, id.to_string().parse()) {
            let occupant = Occupant { runnable_type: RunnableType::WorkflowRun, runnable_id };
            let evicted = resides.address.ask(Evict { occupant });
            ctx.spawn(evicted.into_actor(self).map(move |evicted, _, _| {
                if !matches!(evicted, Ok(Ok(()))) {
                    warn!("the session of run {id} is not released until its lease lapses");
                }
            }));
        }
        if let Some(session) = session.filter(|_session| record.is_some_and(|it| it.owns_session)) {
            let registry = self.address(&id.to_string(), ctx).downgrade();
            close_own(&self.world, &registry, gone.organization, session);
        }
        let change = RunChange {
            status: Some(RunStatus::Failed),
            failure: Some(Failure {
                code: "run_actor_ended".to_owned(),
                stage: None,
                message: "the run's actor ended unexpectedly".to_owned(),
                exit: None,
                log_tail: Vec::new(),
                hint: Some("see the server's log for the cause; start the run again".to_owned()),
            }),
            finished_at: Some(self.world.clock.now()),
            ..RunChange::default()
        };
        let subject = Subject { organization: gone.organization, session, run: Some(id) };
        self.store_broken(id, change, subject, ctx);
    }

    /// Stores the end of a run whose actor broke, and retries until it is stored.
    fn store_broken(
        &mut self,
        id: RunId,
        change: RunChange,
        subject: Subject,
        ctx: &mut Context<Self>,
    ) {
        let stored = self.world.store.change_run(id, change.clone());
        ctx.spawn(stored.into_actor(self).map(move |stored, registry, ctx| match stored {
            Ok(()) => {
                let data = json!({ "status": RunStatus::Failed });
                registry.world.events.record(subject, EventKind::RunEnded, data);
            }
            Err(StoreError::Unavailable(cause)) => {
                warn!("the end of run {id} is not stored yet: {cause}");
                ctx.run_later(STORE_AGAIN, move |registry, ctx| {
                    registry.store_broken(id, change, subject, ctx);
                });
            }
            Err(cause) => warn!("the end of run {id} is not stored: {cause}"),
        }));
    }
}

/// Cancels a run; see [`Cancel`].
pub type CancelRun = RouteRun<Cancel>;

/// Continues a paused run; see [`Continue`].
pub type ContinueRun = RouteRun<Continue>;
