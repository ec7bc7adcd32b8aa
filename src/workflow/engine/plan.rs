//! The input of the engine.

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use serde_json::{Map, Value};

use super::settings::Settings;
use crate::domain::ids::{RunId, SessionId, WorkflowId, WorkflowPermanentId};
use crate::workflow::definition::Definition;
use crate::workflow::page::Wants;

/// The input of the engine for one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The blocks and parameters to execute.
    pub definition: Arc<Definition>,
    /// The parameter values, from [`resolve`](crate::workflow::parameters::resolve).
    pub parameters: Map<String, Value>,
    /// The title of the workflow, for templates.
    pub workflow_title: String,
    /// The version of the workflow, for templates.
    pub workflow: WorkflowId,
    /// The permanent id of the workflow, for templates.
    pub workflow_permanent: WorkflowPermanentId,
    /// The id of the run, for templates.
    pub run: RunId,
    /// The session of the run, for templates.
    pub session: Option<SessionId>,
    /// The current date, for templates.
    pub date: NaiveDate,
    /// The extra headers that pages send with every request.
    pub headers: Map<String, Value>,
    /// The labels of the only blocks to run, in this order.
    pub only: Option<Vec<String>>,
    /// Outputs available from the start, by label.
    pub outputs: Map<String, Value>,
    /// The time limit of the whole run.
    pub limit: Option<Duration>,
    /// The records to keep of the run.
    pub records: Records,
    /// The defaults for the execution of blocks.
    pub settings: Settings,
}

/// The records to keep of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Records {
    /// True for a screenshot after each block that drives the page, and one at the end.
    pub pictures: bool,
    /// True to keep requests and responses, as the artifact `har`.
    pub har: bool,
    /// True to keep the console output of pages, as the artifact `browser_console_log`.
    pub console: bool,
}

impl Records {
    pub(super) fn wants(self) -> Wants {
        Wants { har: self.har, console: self.console, recent: false }
    }
}
