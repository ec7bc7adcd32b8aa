//! Downloads of the browser into a directory that the run can read.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::tabs::{Download, Tabs};
use super::{Browser, PageError};

/// The time in which a further download is expected after one: pages that offer several files start
/// them one after the other.
const FURTHER: Duration = Duration::from_millis(800);

/// The maximum number of files that one action downloads.
const MOST: usize = 100;

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The name of the file in the download directory.
    pub file: String,
    /// The name that the site suggests; not sanitized.
    pub name: String,
    /// The URL from which it was downloaded.
    pub url: String,
}

impl Browser {
    /// Puts downloads into a directory from now on, and forgets the downloads seen so far.
    pub async fn expect_downloads(&self, folder: &Path) -> Result<(), PageError> {
        self.edit(|tabs| tabs.downloads.clear());
        let params = json!({
            "behavior": "allowAndName", "downloadPath": folder, "eventsEnabled": true,
        });
        self.browser_call("Browser.setDownloadBehavior", params).await.map(|_nothing| ())
    }

    /// Restores the browser's own download directory.
    pub async fn end_downloads(&self) -> Result<(), PageError> {
        let params = json!({ "behavior": "default", "eventsEnabled": false });
        self.browser_call("Browser.setDownloadBehavior", params).await.map(|_nothing| ())
    }

    /// Returns the downloads since [`expect_downloads`](Self::expect_downloads) once they are
    /// complete: the first one, and those that start while it is in progress or shortly after.
    pub async fn downloaded(&self, timeout: Duration) -> Result<Vec<Downloaded>, PageError> {
        let deadline = Instant::now() + timeout;
        let ended = |download: &Download| download.state != "inProgress";
        let first = |tabs: &Tabs| tabs.downloads.iter().any(ended).then_some(());
        let found = self.until_with_takeover(deadline, timeout, first).await;
        let began = self.with(|tabs| !tabs.downloads.is_empty());
        let what = if began { "the download did not end" } else { "no download began" };
        found.ok_or(PageError::Timeout { what: what.to_owned(), after: timeout })?;
        // Control by a person in the meantime may have used up the time.
        let deadline = deadline.max(Instant::now() + FURTHER);
        loop {
            let all =
                |tabs: &Tabs| tabs.downloads.iter().all(ended).then_some(tabs.downloads.len());
            let Some(count) = self.until(deadline, all).await else { break };
            let more = |tabs: &Tabs| (tabs.downloads.len() > count).then_some(());
            let further = (Instant::now() + FURTHER).min(deadline);
            if count >= MOST || self.until(further, more).await.is_none() {
                break;
            }
        }
        let seen = self.with(|tabs| tabs.downloads.clone());
        let (complete, other): (Vec<_>, Vec<_>) =
            seen.into_iter().partition(|download| download.state == "completed");
        if let (true, Some(canceled)) = (complete.is_empty(), other.into_iter().next()) {
            let reason = "the download was canceled".to_owned();
            return Err(PageError::Navigation { url: canceled.url, reason });
        }
        let downloaded = complete
            .into_iter()
            .take(MOST)
            .map(|Download { guid, name, url, .. }| Downloaded { file: guid, name, url });
        Ok(downloaded.collect())
    }
}
