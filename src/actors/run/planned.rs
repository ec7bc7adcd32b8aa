//! The execution of a workflow, as the work of a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::work::{Finished, Work, WorkContext};
use crate::actors::world::World;
use crate::domain::ids::{RunId, SessionId};
use crate::domain::run::WorkflowRecord;
use crate::workflow::definition::Definition;
use crate::workflow::engine::{Outcome, Plan, Records, Settings, execute};
use crate::workflow::host::Host;

/// A workflow's plan. Its run and its session are filled in when both are known. Its limit counts
/// from its creation, so that the time in the queue counts too.
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    made: Instant,
}

/// The parameters of a plan, in addition to the workflow.
#[derive(Debug)]
pub struct Facts {
    /// The values of the workflow's parameters.
    pub parameters: Map<String, Value>,
    /// The session, if it is known already.
    pub session: Option<SessionId>,
    /// The labels of the only blocks to run, in this order; `None` for all.
    pub only: Option<Vec<String>>,
    /// The outputs that exist from the start, by label.
    pub outputs: Map<String, Value>,
    /// The limit on the run's duration.
    pub limit: Duration,
    /// The current date, for templates.
    pub date: NaiveDate,
    /// The logs that are kept of the run; the workflow's own settings may ask for more.
    pub records: Records,
    /// The settings of the engine that executes blocks.
    pub settings: Settings,
    /// The `extra_http_headers` of the request, in place of those of the workflow.
    pub headers: Value,
}

impl Facts {
    /// The facts of a whole workflow, as this server executes it.
    pub fn new(world: &World, parameters: Map<String, Value>) -> Self {
        Self {
            parameters,
            session: None,
            only: None,
            outputs: Map::new(),
            limit: Duration::from_secs(world.settings.run_limit_seconds),
            date: world.clock.now().date_naive(),
            records: world.workflow.records(),
            settings: world.workflow.engine(),
            headers: Value::Null,
        }
    }

    /// The plan for this version of a workflow.
    pub fn plan(self, workflow: &WorkflowRecord, definition: Definition) -> Plan {
        let asks = |name: &str| workflow.settings.get(name) == Some(&Value::Bool(true));
        let records = Records {
            har: self.records.har || asks("record_har"),
            console: self.records.console || asks("record_console_log"),
            ..self.records
        };
        Plan {
            definition: Arc::new(definition),
            parameters: self.parameters,
            workflow_title: workflow.title.clone(),
            workflow: workflow.id,
            workflow_permanent: workflow.permanent_id,
            run: RunId::from(0), // Set when the run is stored, like its session.
            session: self.session,
            date: self.date,
            headers: headers(&self.headers, &workflow.settings),
            only: self.only,
            outputs: self.outputs,
            limit: Some(self.limit),
            records,
            settings: self.settings,
        }
    }
}

/// The headers that the pages of a run send: those of the request, or those of its workflow.
fn headers(request: &Value, settings: &Value) -> Map<String, Value> {
    let usual = settings.get("extra_http_headers").and_then(Value::as_object);
    let headers = request.as_object().or(usual).into_iter().flatten();
    // Browsers accept strings only.
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    headers.map(|(name, value)| (name.clone(), text(value).into())).collect()
}

impl Planned {
    /// The work that executes `plan`.
    pub fn new(plan: Plan) -> Self {
        Self { plan, made: Instant::now() }
    }
}

impl Work for Planned {
    fn execute(
        self: Box<Self>,
        job: WorkContext,
        host: Arc<dyn Host>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Finished> {
        let Self { mut plan, made } = *self;
        plan.run = job.run;
        plan.session = Some(job.session);
        plan.limit = plan.limit.map(|limit| limit.saturating_sub(made.elapsed()));
        Box::pin(async move {
            let Outcome { status, outputs, failure } = execute(plan, host, cancel).await;
            Finished { status, outputs, failure }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_headers_of_a_request_replace_those_of_its_workflow() {
        let settings = json!({ "extra_http_headers": { "a": 1 } });
        assert_eq!(json!(headers(&Value::Null, &settings)), json!({ "a": "1" }));
        assert_eq!(json!(headers(&json!({ "b": "2" }), &settings)), json!({ "b": "2" }));
        assert_eq!(json!(headers(&json!({}), &settings)), json!({}));
    }
}
