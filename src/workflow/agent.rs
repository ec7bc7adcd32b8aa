//! The agent: a program elsewhere that executes blocks for which a model is needed.
//!
//! ```text
//! Greenroom                                   agent
//!   |-- POST agent_url {event: "start", …} -->  |   2xx: it accepts the block
//!   |                                           |-- drives the page over CDP
//!   |  <-- POST callback {status: "running"} -- |   as often as it likes
//!   |  <-- POST callback {status: "completed"} -|   and once at the end
//!   |-- POST agent_url {event: "stop", …} --->  |   when Greenroom stops waiting for it
//! ```
//!
//! The URLs in a start event contain a secret that is valid while the block is executed; the agent
//! needs no other key.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

/// The time limit for the agent to accept an event.
const ANSWERS: Duration = Duration::from_secs(20);

/// The endpoint of the agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The URL that receives both events.
    pub url: Url,
    /// The bearer token sent to the agent.
    pub token: Option<SecretString>,
}

/// An event sent to the agent.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Asks the agent to execute a block.
    Start(Box<Start>),
    /// Asks the agent to stop; its URLs are no longer valid.
    Stop {
        /// The execution of the block, as in its start event.
        workflow_run_block_id: String,
        /// The run of the block, `wr_…`.
        workflow_run_id: String,
    },
}

/// A block for the agent to execute.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// The execution of the block, `wrb_…`; the stop event has the same id.
    pub workflow_run_block_id: String,
    /// The run of the block, `wr_…`.
    pub workflow_run_id: String,
    /// The session of the run, `pbs_…`.
    pub browser_session_id: String,
    /// The block, with its templates rendered.
    pub block: Map<String, Value>,
    /// The names that the block may use: parameters, outputs, the enclosing loop.
    pub parameters: Map<String, Value>,
    /// The URL of the browser's DevTools, to be passed to `connectOverCDP` unchanged.
    pub cdp_url: String,
    /// The target of the tab that earlier blocks used.
    pub target_id: Option<String>,
    /// The URL to which the agent reports progress and the result.
    pub callback_url: String,
    /// The time limit of the block.
    pub timeout_seconds: u64,
    /// The longest time without a report from the agent.
    pub silence_seconds: u64,
}

/// A report of the agent about a block.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentReport {
    /// The state of the block.
    pub status: AgentStatus,
    /// The output of the block, in the final report.
    #[serde(default)]
    pub output: Value,
    /// The progress of the block, shown with the run while it is executed.
    #[serde(default)]
    pub progress: Value,
    /// The reason why the block did not complete.
    #[serde(default)]
    pub failure_reason: Option<String>,
}

/// The state of a block in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// The block is still being executed.
    Running,
    /// The block reached its goal.
    Completed,
    /// The block did not reach its goal.
    Failed,
    /// The agent ended the block because continuing makes no sense.
    Terminated,
}

/// An error of sending an event to the agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The request failed before a response.
    #[error("the agent cannot be reached: {cause}")]
    Unreachable {
        /// The error of the HTTP client.
        cause: String,
    },
    /// The response has a status other than 2xx.
    #[error("the agent refused the block: status {status}: {text}")]
    Refused {
        /// The status of the response.
        status: u16,
        /// The beginning of the response body.
        text: String,
    },
}

impl Agent {
    /// Sends an event, and resolves when the agent has accepted it.
    pub async fn send(&self, event: &Event) -> Result<(), AgentError> {
        let unreachable = |cause: reqwest::Error| AgentError::Unreachable {
            cause: cause.without_url().to_string(),
        };
        let client = reqwest::Client::builder()
            .timeout(ANSWERS)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(unreachable)?;
        let mut request = client.post(self.url.clone()).json(event);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        let text = text.trim().chars().take(200).collect();
        Err(AgentError::Refused { status: status.as_u16(), text })
    }
}
