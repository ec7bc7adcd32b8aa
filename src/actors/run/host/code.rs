//! `code` blocks: Python in a child process, with a pass to the session's DevTools.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{RunHost, host_error};
use crate::domain::ids::BlockRunId;
use crate::domain::run::BlockStatus;
use crate::system::egress::Joined;
use crate::system::python::{Fault, Limits, Ran, Task};
use crate::workflow::host::{BlockEnded, ExternalBlock, HostError, NewArtifact};

impl RunHost {
    pub(super) async fn code(&self, job: ExternalBlock) -> Result<BlockEnded, HostError> {
        let settings = &self.world.workflow;
        let reach = self.reach()?;
        let pass = self.pass(job.block);
        let most = Duration::from_secs(settings.code_seconds);
        let asked = job.definition.get("timeout_seconds").and_then(Value::as_f64);
        let asked = asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let code = job.definition.get("code").and_then(Value::as_str).unwrap_or_default();
        let network = self.network(reach.address).await?;
        let devtools = match &network {
            Some(network) => reach.inner_devtools(network.server, self.session, &pass),
            None => reach.local_devtools(self.session, &pass),
        };
        let (hold, held) = watch::channel(false);
        let directory = self.world.directories.of(self.session);
        let task = Task {
            session: self.session,
            folder: self.code_folder(job.block),
            records: directory.logs(),
            code: code.to_owned(),
            values: job.values,
            devtools,
            network,
            target: job.target,
            limits: Limits {
                time: asked.unwrap_or(most).min(most),
                memory: settings.code_memory_megabytes << 20,
                output: settings.code_output_kilobytes << 10,
            },
            held,
        };
        let over = CancellationToken::new();
        let running = async {
            let ran = self.python.run(task).await;
            over.cancel();
            ran
        };
        let (ran, ()) = tokio::join!(running, self.turn.hold(&hold, &over));
        drop(pass);
        if !ran.printed.trim().is_empty() {
            let kept = self.keep(NewArtifact {
                block: Some(job.block),
                artifact_type: "skyvern_log".to_owned(),
                name: format!("{}.log", job.label),
                media_type: "text/plain; charset=utf-8".to_owned(),
                bytes: Bytes::from(ran.printed.clone()),
            });
            match kept.await {
                Err(cause) if cause.0.code == "quota_exceeded" => {
                    tracing::warn!("the printed output of a block was not stored: {cause}");
                }
                kept => drop(kept?),
            }
        }
        Ok(ended(&ran))
    }

    /// The network of the session; `None` if it shares the server's.
    async fn network(&self, server: SocketAddr) -> Result<Option<Joined>, HostError> {
        let view = self.world.views.session(self.organization, self.session);
        let desktop = view.and_then(|view| view.borrow().record.desktop.clone());
        let Some(egress) = desktop.and_then(|desktop| desktop.egress) else { return Ok(None) };
        let found = tokio::task::spawn_blocking(move || Joined::find(&egress, server)).await;
        let found = found.unwrap_or_else(|cause| Err(std::io::Error::other(cause)));
        found.map(Some).map_err(|cause| {
            host_error("egress_unreachable", &format!("the session has no network now: {cause}"))
        })
    }

    /// The folder of a block's program.
    pub(super) fn code_folder(&self, block: BlockRunId) -> PathBuf {
        self.world.directories.of(self.session).code().join(block.to_string())
    }
}

fn ended(ran: &Ran) -> BlockEnded {
    let fault = match &ran.gave {
        Ok(output) => {
            let output = Some(output.clone());
            return BlockEnded { status: BlockStatus::Completed, output, failure: None };
        }
        Err(fault) => fault,
    };
    let install = "run `scripts/setup`, or name a Python that has Playwright as `workflow.python`";
    let said = fault.to_string();
    let mut end = match fault {
        Fault::NoPython { .. } | Fault::NoPlaywright { .. } => {
            BlockEnded::failed("code_not_configured", said, Some(install))
        }
        Fault::Code { code, line, text: source, .. } => {
            let place = line.map(|line| match source {
                Some(source) => format!("line {line} (`{source}`): "),
                None => format!("line {line}: "),
            });
            BlockEnded::failed(code, place.unwrap_or_default() + &said, None)
        }
        Fault::Late { .. } => BlockEnded::failed("timeout", said, None),
        Fault::Ended { .. } | Fault::Broken { .. } => BlockEnded::failed("code_failed", said, None),
    };
    if let Some(failure) = &mut end.failure {
        failure.log_tail = ran.last_lines();
        if failure.code == "timeout" {
            end.status = BlockStatus::TimedOut;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_code_names_its_line_and_what_was_printed() {
        let fault = Fault::Code {
            code: "code_failed".to_owned(),
            message: "NameError: name 'x' is not defined".to_owned(),
            line: Some(3),
            text: Some("print(x)".to_owned()),
        };
        let end = ended(&Ran { gave: Err(fault), printed: "one\ntwo\n".to_owned() });
        let failure = end.failure.unwrap();
        assert_eq!(failure.message, "line 3 (`print(x)`): NameError: name 'x' is not defined");
        assert_eq!(failure.log_tail, ["one", "two"]);
    }
}
