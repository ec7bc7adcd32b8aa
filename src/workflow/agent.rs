//! The agent: a program elsewhere that executes blocks for which a model is needed.
//!
//! ```text
//! Greenroom                                   agent
//!   |-- POST agent_url {event: "start", …} -->  |   2xx: it takes the block
//!   |                                           |-- drives the page over CDP
//!   |  <-- POST callback {status: "running"} -- |   as often as it likes
//!   |  <-- POST callback {status: "completed"} -|   and once at the end
//!   |-- POST agent_url {event: "stop", …} --->  |   where it is not waited for any more
//! ```
//!
//! The addresses that a start names have a secret in them that is good for as long as the block
//! goes on; the agent needs no other key.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

/// How long the agent may take to accept a block, or to hear that it is to stop.
const ANSWERS: Duration = Duration::from_secs(20);

/// Where the agent is.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Takes both events.
    pub url: Url,
    /// What we show it as a bearer token.
    pub token: Option<SecretString>,
}

/// What the agent is sent.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It is to execute a block.
    Start(Box<Start>),
    /// It is to stop; its addresses are good for nothing any more.
    Stop {
        /// Which block, as in its start.
        workflow_run_block_id: String,
        /// The run.
        workflow_run_id: String,
    },
}

/// A block for the agent.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// `wrb_…`: the execution of the block. The same for its stop.
    pub workflow_run_block_id: String,
    /// `wr_…`.
    pub workflow_run_id: String,
    /// `pbs_…`.
    pub browser_session_id: String,
    /// The block, its templates rendered.
    pub block: Map<String, Value>,
    /// The names that the block may use: parameters, outputs, the loop around it.
    pub parameters: Map<String, Value>,
    /// Where the browser is driven: for `connectOverCDP`, as it is.
    pub cdp_url: String,
    /// The tab that blocks before it worked in.
    pub target_id: Option<String>,
    /// Where it says how the block goes.
    pub callback_url: String,
    /// How long it may take.
    pub timeout_seconds: u64,
    /// How long it may say nothing.
    pub silence_seconds: u64,
}

/// What the agent says of a block.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// How the block stands.
    pub status: SaidStatus,
    /// What came of it, at the end.
    #[serde(default)]
    pub output: Value,
    /// How it goes, for whoever looks at the run meanwhile.
    #[serde(default)]
    pub progress: Value,
    /// Why it did not complete.
    #[serde(default)]
    pub failure_reason: Option<String>,
}

/// How the agent says that a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaidStatus {
    /// It goes on.
    Running,
    /// It did what it should.
    Completed,
    /// It did not.
    Failed,
    /// Going on makes no sense.
    Terminated,
}

/// Why the agent did not take a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// It was not reached.
    #[error("the agent cannot be reached: {cause}")]
    Unreachable {
        /// What the system said.
        cause: String,
    },
    /// It answered with another status than 2xx.
    #[error("the agent refused the block: status {status}: {text}")]
    Refused {
        /// Of its answer.
        status: u16,
        /// The beginning of its answer.
        text: String,
    },
}

impl Agent {
    /// Sends an event, and resolves when the agent has taken it.
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
