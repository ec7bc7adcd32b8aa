//! The execution of the blocks, by type.

mod files;
mod messages;
mod pages;
mod requests;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Engine;
use super::ending::{Broken, End, Stop, Work, ended};
use crate::domain::ids::BlockRunId;
use crate::domain::run::BlockStatus;
use crate::workflow::definition::{Block, Kind};
use crate::workflow::host::ExternalBlock;
use crate::workflow::page::Browser;

impl Engine {
    /// Executes a block that contains no other blocks.
    pub(super) async fn leaf(
        &mut self,
        block: &Block,
        id: BlockRunId,
        kind: Kind,
        rendered: Map<String, Value>,
    ) -> Result<End, Stop> {
        let work = match kind {
            Kind::GotoUrl(spec) => self.goto_url(&spec).await,
            Kind::Wait(spec) => {
                tokio::time::sleep(Duration::from_secs(spec.wait_sec)).await;
                Ok(End::completed(json!({ "success": true })))
            }
            Kind::Click(spec) => self.click(&spec).await,
            Kind::Fill(spec) => self.fill(&spec).await,
            Kind::Select(spec) => self.select(&spec).await,
            Kind::Press(spec) => self.press(&spec).await,
            Kind::Hover(spec) => self.hover(&spec).await,
            Kind::Scroll(spec) => self.scroll(&spec).await,
            Kind::Upload(spec) => self.upload(&spec).await,
            Kind::WaitFor(spec) => self.wait_for(&spec).await,
            Kind::Extract(spec) => self.extract(&block.raw, &spec).await,
            Kind::Assert(spec) => self.assert(&block.raw, &spec).await,
            Kind::Script(spec) => self.script(&spec).await,
            Kind::Screenshot(spec) => self.screenshot(&block.label, id, &spec).await,
            Kind::Cookies(spec) => self.cookies(&spec).await,
            Kind::HttpRequest(spec) => self.http_request(id, &spec).await,
            Kind::PrintPage(spec) => self.print_page(id, &spec).await,
            Kind::FileDownload(spec) => {
                if spec.selector.is_none() && (spec.url.is_none() || spec.navigation_goal.is_some())
                {
                    self.handed(block, id, rendered, Executor::Agent).await
                } else {
                    self.file_download(id, &spec).await
                }
            }
            Kind::FileUrlParser(spec) => self.file_url_parser(&spec).await,
            Kind::HumanInteraction(spec) => self.human_interaction(&spec).await,
            Kind::SendEmail(spec) => self.send_email(&spec).await,
            Kind::Code(_) => self.handed(block, id, rendered, Executor::Python).await,
            Kind::WorkflowTrigger(_) => self.handed(block, id, rendered, Executor::Run).await,
            Kind::Agent => self.handed(block, id, rendered, Executor::Agent).await,
            Kind::Elsewhere => {
                let message =
                    format!("this server does not execute blocks of type `{}`", block.block_type);
                Ok(End::failed("block_not_supported", message))
            }
            Kind::ForLoop(_) | Kind::WhileLoop(_) | Kind::Conditional(_) => Ok(End::failed(
                "block_not_supported",
                "a block that contains blocks cannot be executed by itself",
            )),
        };
        ended(work)
    }

    /// Asks the agent if a condition in natural language is true of the page and the values of the
    /// run.
    pub(super) async fn agent_judges(
        &mut self,
        block: &Block,
        id: BlockRunId,
        words: &str,
    ) -> Result<bool, Broken> {
        let question =
            json!({ "block_type": "condition", "label": block.label, "condition": words });
        let Value::Object(question) = question else { return Ok(false) };
        let end = self.handed(block, id, question, Executor::Agent).await?;
        if end.status != BlockStatus::Completed {
            return Err(end.into());
        }
        let result = end.output.as_ref().and_then(|output| output.get("result")?.as_bool());
        result.ok_or_else(|| {
            let message = format!(
                "the agent did not report in `output.result` whether the condition is true: {words}"
            );
            End::failed("agent_answer_invalid", message).into()
        })
    }

    /// Passes a block to the host for execution.
    async fn handed(
        &mut self,
        block: &Block,
        id: BlockRunId,
        definition: Map<String, Value>,
        to: Executor,
    ) -> Work {
        if !self.plan.headers.is_empty() {
            self.browser().await?; // The option adds them to the pages of each driver.
        }
        let job = ExternalBlock {
            block: id,
            label: block.label.clone(),
            block_type: block.block_type.clone(),
            definition,
            values: self.scope.values(),
            target: self.browser.as_ref().and_then(Browser::target),
        };
        // The new driver of the page answers its dialogs too.
        let _hands_off = self.browser.as_ref().map(Browser::hands_off);
        let ended = match to {
            Executor::Agent => self.host.run_agent(job).await?,
            Executor::Python => self.host.run_code(job).await?,
            Executor::Run => self.host.trigger(job).await?,
        };
        let extracted = match to {
            Executor::Agent => {
                ended.output.as_ref().and_then(|output| output.get("extracted_information"))
            }
            Executor::Python | Executor::Run => None,
        };
        let extracted = extracted.filter(|value| !value.is_null()).cloned();
        Ok(End { extracted, ..ended.into() })
    }

    /// Returns the browser of the run; attaches to it on the first call.
    pub(super) async fn browser(&mut self) -> Result<Browser, Broken> {
        if let Some(browser) = &self.browser {
            return Ok(browser.clone());
        }
        let devtools = self.host.devtools().await?;
        let headers = self.plan.headers.clone();
        let browser = Browser::attach(devtools, self.plan.records.wants(), headers).await?;
        self.browser = Some(browser.clone());
        Ok(browser)
    }
}

/// The executor of a block outside the engine.
#[derive(Debug, Clone, Copy)]
enum Executor {
    Agent,
    Python,
    Run,
}
