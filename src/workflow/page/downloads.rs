//! Downloads of the browser.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::tabs::{Download, Tabs};
use super::{Browser, PageError};

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// The name that the site suggests; it may be anything.
    pub name: String,
    /// Where it came from.
    pub url: String,
}

impl Browser {
    /// Puts downloads into a directory from now on, and forgets those that were seen.
    pub async fn expect_downloads(&self, folder: &Path) -> Result<(), PageError> {
        self.edit(|tabs| tabs.downloads.clear());
        let params = json!({
            "behavior": "allowAndName", "downloadPath": folder, "eventsEnabled": true,
        });
        self.browser_call("Browser.setDownloadBehavior", params).await.map(|_nothing| ())
    }

    /// Puts downloads back where a person finds them, by their own names.
    pub async fn end_downloads(&self, folder: &Path) -> Result<(), PageError> {
        let params = json!({
            "behavior": "allow", "downloadPath": folder, "eventsEnabled": false,
        });
        self.browser_call("Browser.setDownloadBehavior", params).await.map(|_nothing| ())
    }

    /// The first download since [`expect_downloads`](Self::expect_downloads), when it is complete.
    pub async fn downloaded(
        &self,
        folder: &Path,
        timeout: Duration,
    ) -> Result<Downloaded, PageError> {
        let deadline = Instant::now() + timeout;
        let ended = |download: &&Download| download.state != "inProgress";
        let look = |tabs: &Tabs| tabs.downloads.iter().find(ended).cloned();
        let found = self.until_in_turn(deadline, timeout, look).await;
        let began = self.with(|tabs| !tabs.downloads.is_empty());
        let what = if began { "the download did not end" } else { "no download began" };
        let download = found.ok_or(PageError::Timeout { what: what.to_owned(), after: timeout })?;
        if download.state != "completed" {
            let reason = "the download was canceled".to_owned();
            return Err(PageError::Navigation { url: download.url, reason });
        }
        Ok(Downloaded { path: folder.join(&download.guid), name: download.name, url: download.url })
    }
}
