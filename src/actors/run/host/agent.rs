//! Blocks that need a model: an agent executes them, with a pass to the session's DevTools.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{RunHost, refused};
use crate::actors::run::RunError;
use crate::actors::run::messages::AwaitAgent;
use crate::domain::run::BlockStatus;
use crate::domain::session::Failure;
use crate::workflow::agent::{Agent, AgentReport, AgentStatus, Event, Start};
use crate::workflow::host::{BlockEnded, ExternalBlock, HostError};

/// A guard whose drop asks the agent to stop, unless the agent has ended by itself.
struct Stopping {
    agent: Arc<Agent>,
    stop: Option<Event>,
    runtime: Handle,
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let Some(stop) = self.stop.take() else { return };
        let agent = Arc::clone(&self.agent);
        self.runtime.spawn(async move {
            if let Err(cause) = agent.send(&stop).await {
                // The agent's pass is no longer valid, so the agent finds out by itself.
                tracing::warn!("the agent did not receive the command to stop: {cause}");
            }
        });
    }
}

/// The number of messages of an agent that may wait while a person has control.
const UNHEARD: usize = 16;

impl RunHost {
    /// The agent, if one is configured.
    fn agent(&self) -> Option<Arc<Agent>> {
        let settings = &self.world.workflow;
        let url = settings.agent_url.clone()?;
        let token = settings.agent_token.as_ref().map(|token| SecretString::from(token.expose()));
        Some(Arc::new(Agent { url, token }))
    }

    pub(super) async fn ask_agent(&self, job: ExternalBlock) -> Result<BlockEnded, HostError> {
        let Some(agent) = self.agent() else {
            let message = format!(
                "a block of type `{}` needs an agent, and none is configured",
                job.block_type
            );
            let hint = "set `workflow.agent_url` to the URL of an agent, or use the blocks \
                        that need none, such as click, fill and extract";
            return Ok(BlockEnded::failed("agent_not_configured", message, Some(hint)));
        };
        let (said, mut hears) = mpsc::channel(UNHEARD);
        let awaited = self.run.ask(AwaitAgent { block: job.block, said }).await;
        awaited.map_err(RunError::from).flatten().map_err(|cause| refused(&cause))?;

        let settings = &self.world.workflow;
        let silence = Duration::from_secs(settings.agent_silence_seconds);
        let most = Duration::from_secs(settings.agent_seconds);
        let reach = self.reach()?;
        let pass = self.pass(job.block);
        let start = Start {
            workflow_run_block_id: job.block.to_string(),
            workflow_run_id: self.id.to_string(),
            browser_session_id: self.session.to_string(),
            block: job.definition,
            parameters: job.values,
            cdp_url: reach.public_devtools(self.session, &pass),
            target_id: job.target,
            callback_url: reach.callback(&pass),
            timeout_seconds: settings.agent_seconds,
            silence_seconds: settings.agent_silence_seconds,
        };
        let stop = Event::Stop {
            workflow_run_block_id: start.workflow_run_block_id.clone(),
            workflow_run_id: start.workflow_run_id.clone(),
        };
        // Created before the start is sent: a request that is dropped while it is being sent may
        // have arrived.
        let runtime = self.world.runtime.clone();
        let mut stopping = Stopping { agent: Arc::clone(&agent), stop: Some(stop), runtime };
        if let Err(cause) = agent.send(&Event::Start(Box::new(start))).await {
            return Ok(BlockEnded::failed("agent_unreachable", cause.to_string(), None));
        }
        let end = heard(&mut hears, silence, most, || self.turn.wait_within()).await;
        if end.failure.as_ref().is_none_or(|failure| failure.code == "agent_failed") {
            stopping.stop = None; // The agent has ended by itself.
        }
        drop(pass);
        Ok(end)
    }
}

/// The end of the block, as the agent reports it or as its time runs out. While a person has
/// control, an agent can do nothing, so its time does not count.
async fn heard<F: Future<Output = bool>>(
    hears: &mut mpsc::Receiver<AgentReport>,
    silence: Duration,
    most: Duration,
    waited_for_takeover: impl Fn() -> F,
) -> BlockEnded {
    let mut end = Instant::now() + most;
    loop {
        let until = end.min(Instant::now() + silence);
        let said = match timeout_at(until, hears.recv()).await {
            Ok(Some(said)) => said,
            Ok(None) => return BlockEnded::failed("run_gone", "the run has ended", None),
            Err(_late) => {
                let since = Instant::now();
                if waited_for_takeover().await {
                    end += since.elapsed();
                    continue;
                }
                let message = if until >= end {
                    format!("the agent did not end within {} s", most.as_secs())
                } else {
                    format!("the agent reported nothing for {} s", silence.as_secs())
                };
                let failure = Some(Failure::new("timeout", message));
                return BlockEnded { status: BlockStatus::TimedOut, output: None, failure };
            }
        };
        let status = match said.status {
            AgentStatus::Running => continue,
            AgentStatus::Completed => BlockStatus::Completed,
            AgentStatus::Failed => BlockStatus::Failed,
            AgentStatus::Terminated => BlockStatus::Terminated,
        };
        let reason = said.failure_reason;
        let failure = (status != BlockStatus::Completed).then(|| {
            let reason = reason.unwrap_or_else(|| "the agent reported no reason".to_owned());
            Failure::new("agent_failed", reason)
        });
        return BlockEnded { status, output: Some(output(said.output, status)), failure };
    }
}

/// The agent's output in the form of the compatible API.
fn output(given: Value, status: BlockStatus) -> Value {
    match given {
        Value::Object(members) => Value::Object(members),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => json!({ "status": status, "extracted_information": other }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::time::sleep;

    use super::*;

    fn said(status: AgentStatus, output: Value) -> AgentReport {
        AgentReport { status, output, progress: Value::Null, failure_reason: None }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_goes_on_is_waited_for_and_one_that_says_nothing_is_not() {
        let (silence, most) = (Duration::from_secs(10), Duration::from_secs(60));
        let (agent, mut hears) = mpsc::channel(UNHEARD);
        let speaks = async {
            for _ in 0..4 {
                sleep(Duration::from_secs(9)).await;
                agent.send(said(AgentStatus::Running, Value::Null)).await.unwrap();
            }
            agent.send(said(AgentStatus::Completed, json!(["a"]))).await.unwrap();
        };
        let (end, ()) = tokio::join!(heard(&mut hears, silence, most, || ready(false)), speaks);
        assert_eq!(end.status, BlockStatus::Completed);
        let expected = json!({ "status": "completed", "extracted_information": ["a"] });
        assert_eq!(end.output, Some(expected));

        let end = heard(&mut hears, silence, most, || ready(false)).await;
        assert_eq!(end.status, BlockStatus::TimedOut);
        assert_eq!(end.failure.unwrap().message, "the agent said nothing for 10 s");
        let end = heard(&mut hears, most, silence, || ready(false)).await;
        assert_eq!(end.failure.unwrap().message, "the agent did not end within 10 s");

        // While a person has control, an agent can do nothing.
        let took_over = std::cell::Cell::new(true);
        let waited_for_takeover = || async {
            sleep(Duration::from_secs(600)).await;
            took_over.take()
        };
        let began = Instant::now();
        let end = heard(&mut hears, silence, most, waited_for_takeover).await;
        assert_eq!(end.failure.unwrap().message, "the agent said nothing for 10 s");
        assert_eq!(began.elapsed(), Duration::from_secs(10 + 600 + 10 + 600));
    }
}
