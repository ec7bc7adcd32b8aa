//! The tabs as a client sees them: listing, opening, selecting and closing them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::navigation::Opened;
use super::outline::one_line;
use super::tabs::Tabs;
use super::{Browser, PageError};
use crate::workflow::definition::block::LoadState;

/// The time limit for a tab to be attached, or to be gone.
const CHANGED: Duration = Duration::from_secs(10);

/// A tab of the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TabInfo {
    /// The id of the DevTools target.
    pub target: String,
    pub url: String,
    /// The title that the page gives, on one line.
    pub title: String,
    /// True for the tab that actions work in.
    pub current: bool,
}

impl Browser {
    /// Returns the tabs in the order in which they were opened.
    pub async fn tabs(&self) -> Result<Vec<TabInfo>, PageError> {
        let answer = self.browser_call("Target.getTargets", json!({})).await?;
        let infos = answer.get("targetInfos").and_then(Value::as_array);
        let title_of = |target: &str| {
            let is_it =
                |info: &&Value| info.get("targetId").and_then(Value::as_str) == Some(target);
            let info = infos.and_then(|infos| infos.iter().find(is_it));
            let title = info.and_then(|info| info.get("title")).and_then(Value::as_str);
            one_line(title.unwrap_or_default())
        };
        self.catch_up();
        Ok(self.with(|tabs| {
            let mut all: Vec<_> = tabs.tabs.iter().collect();
            all.sort_by_key(|(_session, tab)| tab.position);
            let infos = all.into_iter().map(|(session, tab)| TabInfo {
                target: tab.target.clone(),
                url: tab.document.url.clone(),
                title: title_of(&tab.target),
                current: tabs.working() == Some(session),
            });
            infos.collect()
        }))
    }

    /// Opens a tab in front, which becomes the current tab, and a page in it.
    pub async fn open_tab(
        &self,
        url: &str,
        state: LoadState,
        timeout: Duration,
    ) -> Result<Opened, PageError> {
        let blank = json!({ "url": "about:blank" });
        let answer = self.browser_call("Target.createTarget", blank).await?;
        let target = answer.get("targetId").and_then(Value::as_str).unwrap_or_default();
        let deadline = Instant::now() + CHANGED;
        let session = self.until(deadline, |tabs| session_of(tabs, target)).await;
        let session = session.ok_or(PageError::Closed)?;
        self.edit(|tabs| tabs.work_in(&session));
        if url == "about:blank" {
            return Ok(Opened { url: url.to_owned(), status: None, downloaded: false });
        }
        self.open(url, state, timeout).await
    }

    /// Brings a tab to the front and makes it the current tab.
    pub async fn select_tab(&self, target: &str) -> Result<(), PageError> {
        let session = self.session_of(target)?;
        let params = json!({ "targetId": target });
        self.browser_call("Target.activateTarget", params).await.map_err(|error| {
            let is_gone = matches!(error, PageError::Refused { .. });
            if is_gone { PageError::NoSuchTab(target.to_owned()) } else { error }
        })?;
        self.edit(|tabs| tabs.work_in(&session));
        Ok(())
    }

    /// Closes a tab. If it is the current tab, the one that was current before becomes current. The
    /// last tab is never closed.
    pub async fn close_tab(&self, target: &str) -> Result<(), PageError> {
        self.session_of(target)?;
        if self.with(|tabs| tabs.tabs.len() < 2) {
            return Err(PageError::LastTab);
        }
        let params = json!({ "targetId": target });
        let closed = self.browser_call("Target.closeTarget", params).await;
        let deadline = Instant::now() + CHANGED;
        let gone = |tabs: &Tabs| session_of(tabs, target).is_none().then_some(());
        match (closed, self.until(deadline, gone).await) {
            (_, Some(())) => {}
            (Err(error), None) => return Err(error),
            (Ok(_), None) => {
                let what = "the tab was not closed".to_owned();
                return Err(PageError::Timeout { what, after: CHANGED });
            }
        }
        // The browser shows a tab of its own choice otherwise.
        let next = self.target().ok_or(PageError::Closed)?;
        self.select_tab(&next).await
    }

    fn session_of(&self, target: &str) -> Result<String, PageError> {
        self.catch_up();
        let session = self.with(|tabs| session_of(tabs, target));
        session.ok_or_else(|| PageError::NoSuchTab(target.chars().take(100).collect()))
    }
}

fn session_of(tabs: &Tabs, target: &str) -> Option<String> {
    let found = tabs.tabs.iter().find(|(_session, tab)| tab.target == target);
    found.map(|(session, _tab)| session.clone())
}
