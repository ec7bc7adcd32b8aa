//! Records of a run beside its blocks: screenshots, and on request the network traffic and the
//! console output of pages.
//!
//! No record may harm the run: one that cannot be kept is dropped with a line in the log.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::Engine;
use super::ending::End;
use crate::domain::ids::BlockRunId;
use crate::domain::run::BlockStatus;
use crate::workflow::definition::{Block, Kind};
use crate::workflow::host::NewArtifact;

/// The time limit for a screenshot after a block.
const PICTURE: Duration = Duration::from_secs(1);
/// The time after which a screenshot certainly shows the page as it was at the request. Chromium
/// draws a frame for it at once, and spends most of the time reading, compressing and sending the
/// frame.
const SHOWN: Duration = Duration::from_millis(50);
/// The time limit for all records at the end of a run that was not stopped.
const LAST: Duration = Duration::from_secs(10);
/// The number of blocks of a run with a screenshot; after it, only failed blocks get one.
const MOST_PICTURES: usize = 200;

/// True if a screenshot shows the effect of the block or, for a failed block, the cause.
fn is_pictured(kind: &Kind, status: BlockStatus) -> bool {
    match kind {
        Kind::GotoUrl(_)
        | Kind::Click(_)
        | Kind::Fill(_)
        | Kind::Select(_)
        | Kind::Press(_)
        | Kind::Hover(_)
        | Kind::Scroll(_)
        | Kind::Upload(_)
        | Kind::Script(_)
        | Kind::Code(_)
        | Kind::Agent => true,
        Kind::WaitFor(_)
        | Kind::Extract(_)
        | Kind::Assert(_)
        | Kind::Screenshot(_)
        | Kind::FileDownload(_)
        | Kind::PrintPage(_) => status != BlockStatus::Completed,
        Kind::Wait(_)
        | Kind::Cookies(_)
        | Kind::HttpRequest(_)
        | Kind::ForLoop(_)
        | Kind::WhileLoop(_)
        | Kind::Conditional(_)
        | Kind::FileUrlParser(_)
        | Kind::WorkflowTrigger(_)
        | Kind::HumanInteraction(_)
        | Kind::SendEmail(_)
        | Kind::Elsewhere => false,
    }
}

impl Engine {
    /// Takes a screenshot of the page as the block left it, if wanted, and stores it in the
    /// background. Resolves when the next block may begin without appearing in the screenshot.
    pub(super) fn picture(
        &mut self,
        block: &Block,
        id: BlockRunId,
        end: &End,
    ) -> impl Future<Output = ()> + use<> {
        let wanted = self.plan.records.pictures
            && is_pictured(&block.kind, end.status)
            && (self.pictures.taken < MOST_PICTURES || end.status != BlockStatus::Completed);
        let browser = self.browser.clone().filter(|_browser| wanted);
        let (taken, shown) = oneshot::channel();
        if let Some(browser) = browser {
            self.pictures.taken += 1;
            let name = format!("{}.jpg", block.label);
            let host = std::sync::Arc::clone(&self.host);
            self.pictures.storing.spawn(async move {
                let picture = timeout(PICTURE, browser.quick_picture()).await;
                let _the_run_went_on = taken.send(());
                let Ok(Ok(bytes)) = picture else { return };
                let artifact = NewArtifact {
                    block: Some(id),
                    artifact_type: "screenshot_action".to_owned(),
                    name,
                    media_type: "image/jpeg".to_owned(),
                    bytes,
                };
                if let Err(cause) = host.store(artifact).await {
                    tracing::warn!("a screenshot was not stored: {cause}");
                }
            });
        }
        async move {
            // If no screenshot is taken, the sender is dropped and this ends at once.
            let _shown_or_late = timeout(SHOWN, shown).await;
        }
    }

    /// Stores the records that are kept at the end of a run.
    pub(super) async fn keep_last(&mut self) {
        let limit = self.silent.unwrap_or_else(|| Instant::now() + LAST);
        let mut storing = std::mem::take(&mut self.pictures.storing);
        let work = async {
            self.keep_watched().await;
            if let Some(browser) = self.browser.clone().filter(|_| self.plan.records.pictures)
                && let Ok(Ok(bytes)) = timeout(PICTURE, browser.screenshot(false)).await
            {
                self.keep_of_run("screenshot_final", "final.png", "image/png", bytes).await;
            }
            while storing.join_next().await.is_some() {}
        };
        if timeout_at(limit, work).await.is_err() {
            tracing::warn!("not all records of run {} were stored in time", self.plan.run);
        }
    }

    async fn keep_watched(&self) {
        let Some(browser) = &self.browser else { return };
        let Some(watching) = browser.watching() else { return };
        if let Some(text) = watching.console() {
            let media_type = "text/plain; charset=utf-8";
            self.keep_of_run("browser_console_log", "console.log", media_type, text.into()).await;
        }
        if self.plan.records.har {
            let product = browser.product().await;
            if let Some(har) = watching.har(&product) {
                let bytes = Bytes::from(har.to_string());
                self.keep_of_run("har", "traffic.har", "application/json", bytes).await;
            }
        }
    }

    async fn keep_of_run(&self, artifact_type: &str, name: &str, media_type: &str, bytes: Bytes) {
        let artifact = NewArtifact {
            block: None,
            artifact_type: artifact_type.to_owned(),
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            bytes,
        };
        if let Err(cause) = self.host.store(artifact).await {
            tracing::warn!("{name} was not stored: {cause}");
        }
    }
}
