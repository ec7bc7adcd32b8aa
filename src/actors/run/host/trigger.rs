//! `workflow_trigger` blocks: other workflows that this run starts.
//!
//! A child run that is waited for and drives the parent's session does so under the parent's
//! occupancy; it neither begins nor releases. Any other run begins its session like every run.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};

use super::{RunHost, host_error};
use crate::actors::profiles;
use crate::actors::registry::{NewRun, RegistryError, RouteRun, RunAccepted, StartRun};
use crate::actors::run::node::Node;
use crate::actors::run::planned::{Facts, Planned};
use crate::actors::run::{Assignment, Cancel};
use crate::actors::views::RunView;
use crate::db::store::StoreError;
use crate::domain::ids::{OrganizationId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::occupancy::Generation;
use crate::domain::profile::ProfileUse;
use crate::domain::run::{BlockStatus, RunStatus, WorkflowRecord};
use crate::domain::session::{Failure, SessionSpec};
use crate::domain::workflow_settings::{
    egress_of, own_session_lifetime, run_limit, sanitizes, webhook_url,
};
use crate::workflow::definition::Definition;
use crate::workflow::definition::block::WorkflowTrigger;
use crate::workflow::host::{BlockEnded, ExternalBlock, HostError};
use crate::workflow::parameters::resolve;

/// The maximum depth of nested runs.
const DEEPEST: u8 = 10;

/// A child run that is waited for; its drop cancels the run if it has not ended.
struct Child {
    registry: Arc<dyn Node>,
    organization: OrganizationId,
    run: Option<RunId>,
    runtime: tokio::runtime::Handle,
    handed: watch::Sender<usize>,
}

impl Drop for Child {
    fn drop(&mut self) {
        let done = |handed: &mut usize| *handed = handed.saturating_sub(1);
        let Some(run) = self.run.take() else { return self.handed.send_modify(done) };
        let why = "the run that started it does not wait for it any more".to_owned();
        let route = RouteRun { organization: self.organization, run, message: Cancel { why } };
        let canceled = self.registry.ask(route);
        let handed = self.handed.clone();
        self.runtime.spawn(async move {
            let _ = canceled.await; // The run may have ended by itself.
            handed.send_modify(done);
        });
    }
}

fn fails(code: &str, message: impl Into<String>) -> BlockEnded {
    BlockEnded::failed(code, message, None)
}

impl RunHost {
    pub(super) async fn triggered(&self, job: ExternalBlock) -> Result<BlockEnded, HostError> {
        let read = serde_json::from_value(Value::Object(job.definition));
        let spec: WorkflowTrigger = match read {
            Ok(spec) => spec,
            Err(cause) => return Ok(fails("field_invalid", cause.to_string())),
        };
        if self.depth >= DEEPEST {
            let message = format!("workflows may trigger one another {DEEPEST} deep");
            return Ok(fails("trigger_too_deep", message));
        }
        let (workflow, definition) = match self.workflow(&spec).await {
            Ok(found) => found,
            Err(end) => return Ok(*end),
        };
        let waits = spec.wait_for_completion;
        let session = match self.session_for(&spec) {
            Ok(session) => session,
            Err(end) => return Ok(*end),
        };
        let profile = match session {
            Some(_) => None,
            None => match profiles::of_workflow(&self.world, &workflow).await {
                Ok(profile) => profile,
                Err(StoreError::Missing) => {
                    let message = "the workflow names a browser profile that does not exist";
                    return Ok(fails("browser_profile_unknown", message.to_owned()));
                }
                Err(cause) => return Ok(fails("database_unavailable", cause.to_string())),
            },
        };
        let lent = self.occupancy.filter(|_held| waits && session == Some(self.session));
        let payload = spec.payload.unwrap_or_default();
        let start = match self.start_of(&workflow, definition, payload, (session, profile), lent) {
            Ok(start) => start,
            Err(end) => return Ok(*end),
        };

        let (accepted, mut child) = self.start(start).await?;
        let RunAccepted { id, mut view } = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => return Ok(fails("trigger_refused", cause.to_string())),
        };
        if !waits {
            child.run = None;
            let output = outcome_of(&view.borrow());
            return Ok(BlockEnded {
                status: BlockStatus::Completed,
                output: Some(output),
                failure: None,
            });
        }
        let ended = view.wait_for(|view| view.record.status.is_final()).await;
        child.run = None;
        let ended = match ended {
            Ok(view) => view.clone(),
            Err(_gone) => {
                return Ok(fails(
                    "run_actor_ended",
                    format!("the actor of run {id} ended unexpectedly"),
                ));
            }
        };
        Ok(end_of(&ended))
    }

    /// Starts a run, and returns a guard whose drop cancels it. The run is counted from before the
    /// request until it is known to have ended: a run whose start is no longer waited for is still
    /// a run.
    async fn start(
        &self,
        start: StartRun,
    ) -> Result<(Result<RunAccepted, RegistryError>, Child), HostError> {
        self.handed.send_modify(|handed| *handed += 1);
        let mut child = Child {
            registry: Arc::clone(&self.registry),
            organization: self.organization,
            run: None,
            runtime: self.world.runtime.clone(),
            handed: self.handed.clone(),
        };
        let asked = self.registry.ask(start);
        let (report, started) = oneshot::channel();
        self.world.runtime.spawn(async move {
            let accepted = asked.await.map_err(RegistryError::from).flatten();
            child.run = accepted.as_ref().ok().map(|accepted| accepted.id);
            let _dropped_unheard = report.send((accepted, child));
        });
        started.await.map_err(|_gone| host_error("server_stopping", "the server has stopped"))
    }

    /// The latest version of the workflow that a block triggers.
    async fn workflow(
        &self,
        spec: &WorkflowTrigger,
    ) -> Result<(WorkflowRecord, Definition), Box<BlockEnded>> {
        let text = spec.workflow_permanent_id.trim();
        let unknown =
            || Box::new(fails("workflow_unknown", format!("there is no workflow {text}")));
        let id: WorkflowPermanentId = text.parse().map_err(|_not_an_id| unknown())?;
        let found = self.world.store.workflow(self.organization, id).await;
        let found =
            found.map_err(|cause| Box::new(fails("database_unavailable", cause.to_string())));
        let workflow = found?.ok_or_else(unknown)?;
        let definition = Definition::stored(&workflow.definition).map_err(|cause| {
            let message = format!("workflow {text} cannot be read: {cause}");
            Box::new(fails("definition_unreadable", message))
        })?;
        Ok((workflow, definition))
    }

    /// The session that the run drives; `None` if it makes its own.
    fn session_for(&self, spec: &WorkflowTrigger) -> Result<Option<SessionId>, Box<BlockEnded>> {
        let named = spec.browser_session_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
        let Some(text) = named else {
            return Ok(spec.use_parent_browser_session.then_some(self.session));
        };
        let id = text.parse().ok();
        let lives = |id: &SessionId| self.world.views.session(self.organization, *id).is_some();
        id.filter(lives).map(Some).ok_or_else(|| {
            let message = format!("session {text} does not exist or has ended");
            Box::new(fails("session_ended", message))
        })
    }

    fn start_of(
        &self,
        workflow: &WorkflowRecord,
        definition: Definition,
        payload: Map<String, Value>,
        (session, profile): (Option<SessionId>, Option<ProfileUse>),
        lent: Option<Generation>,
    ) -> Result<StartRun, Box<BlockEnded>> {
        let parameters = resolve(&definition, &payload).map_err(|errors| {
            let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Box::new(fails("missing_value_for_parameter", said.join("; ")))
        })?;
        let settings = &self.world.settings;
        let usual = Duration::from_secs(settings.run_limit_seconds);
        let limit = run_limit(None, &workflow.settings, usual);
        let facts = Facts { session, limit, ..Facts::new(&self.world, parameters.clone()) };
        let mut request = json!({
            "workflow_id": workflow.permanent_id,
            "parameters": payload,
            "parent_workflow_run_id": self.id,
        });
        if let (Some(session), Some(members)) = (session, request.as_object_mut()) {
            members.insert("browser_session_id".to_owned(), json!(session));
        }
        let usual = webhook_url(&workflow.settings);
        if let (Some(url), Some(members)) = (usual, request.as_object_mut()) {
            members.insert("webhook_url".to_owned(), Value::from(url));
        }
        let (egress, proxy) = egress_of(&workflow.settings);
        let assignment = Assignment {
            record: None, // Only the outer run is recorded, if it asks for it.
            work: Box::new(Planned::new(facts.plan(workflow, definition))),
            own_session: SessionSpec {
                lifetime: own_session_lifetime(limit),
                proxy,
                egress,
                profile,
                ..SessionSpec::default()
            },
            sanitize: sanitizes(&workflow.settings),
            wait: Duration::from_secs(settings.run_wait_seconds),
            limit,
            depth: self.depth + 1,
            lent,
            lane: None, // The waiting parent run may hold the session.
        };
        let run = NewRun {
            organization: self.organization,
            workflow: workflow.id,
            workflow_permanent_id: workflow.permanent_id,
            session,
            debug_session: None,
            title: Some(workflow.title.clone()),
            parameters: Value::Object(parameters),
            request,
            api_key: self.api_key,
            id: None,
        };
        Ok(StartRun { run, assignment })
    }
}

/// The output of the block that describes the run.
fn outcome_of(view: &RunView) -> Value {
    let record = &view.record;
    json!({
        "workflow_run_id": record.id,
        "workflow_permanent_id": record.workflow_permanent_id,
        "status": record.status,
        "failure_reason": record.failure.as_ref().map(|failure| &failure.message),
        "outputs": record.outputs,
        "browser_session_id": record.session,
    })
}

fn end_of(view: &RunView) -> BlockEnded {
    let status = match view.record.status {
        RunStatus::Completed => BlockStatus::Completed,
        RunStatus::Terminated => BlockStatus::Terminated,
        RunStatus::TimedOut => BlockStatus::TimedOut,
        RunStatus::Failed
        | RunStatus::Canceled
        | RunStatus::Created
        | RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Paused => BlockStatus::Failed,
    };
    let (id, how) = (view.record.id, view.record.status);
    let failure = (status != BlockStatus::Completed).then(|| {
        let cause = view.record.failure.clone();
        let cause = cause.unwrap_or_else(|| Failure::new("run_failed", "it reported no reason"));
        Failure { message: format!("run {id} is {how}: {}", cause.message), stage: None, ..cause }
    });
    BlockEnded { status, output: Some(outcome_of(view)), failure }
}
