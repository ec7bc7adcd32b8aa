//! Movements in the history of the current tab, and reloads.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::navigation::{Opened, reached};
use super::{Browser, PageError};
use crate::workflow::definition::block::LoadState;

/// A direction in the history of a tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryStep {
    Back,
    Forward,
}

impl Browser {
    /// Shows the previous or the next page of the history, and waits for the load state.
    pub async fn history(
        &self,
        step: HistoryStep,
        state: LoadState,
        timeout: Duration,
    ) -> Result<Opened, PageError> {
        let session = self.working()?;
        let method = "Page.getNavigationHistory";
        let history = self.call(&session, method, json!({})).await?;
        let current = history.get("currentIndex").and_then(Value::as_u64).unwrap_or_default();
        let current = usize::try_from(current).unwrap_or_default();
        let (index, none) = match step {
            HistoryStep::Back => (current.checked_sub(1), PageError::NoHistory("previous")),
            HistoryStep::Forward => (current.checked_add(1), PageError::NoHistory("next")),
        };
        let entries = history.get("entries").and_then(Value::as_array);
        let entry = index.and_then(|index| entries?.get(index)).ok_or(none)?;
        let id = entry.get("id").cloned().unwrap_or_default();
        let params = json!({ "entryId": id });
        self.moved(&session, "Page.navigateToHistoryEntry", params, state, timeout).await
    }

    /// Loads the page in the current tab again, and waits for the load state.
    pub async fn reload(&self, state: LoadState, timeout: Duration) -> Result<Opened, PageError> {
        let session = self.working()?;
        self.moved(&session, "Page.reload", json!({}), state, timeout).await
    }

    /// Sends a command that navigates, and waits for the page that it leads to.
    async fn moved(
        &self,
        session: &str,
        method: &str,
        params: Value,
        state: LoadState,
        timeout: Duration,
    ) -> Result<Opened, PageError> {
        let deadline = Instant::now() + timeout;
        let what = "the page did not load".to_owned();
        let late = || PageError::Timeout { what: what.clone(), after: timeout };
        self.set_up(session).await;
        self.catch_up();
        let before = self.with(|tabs| tabs.tab(session).map(|tab| tab.navigations));
        let before = before.ok_or(PageError::Closed)?;
        let sent = self.slow_call(session, method, params);
        timeout_at(deadline, sent).await.map_err(|_elapsed| late())??;
        let at_once = if state == LoadState::NetworkIdle { LoadState::Commit } else { state };
        let opened = self.until_with_takeover(deadline, timeout, |tabs| {
            let Some(tab) = tabs.tab(session) else { return Some(Err(PageError::Closed)) };
            if tab.crashed {
                return Some(Err(PageError::Crashed));
            }
            let is_there = tab.navigations > before && !tab.navigating && reached(tab, at_once);
            is_there.then(|| {
                let document = &tab.document;
                let url = document.url.clone();
                if document.is_error {
                    let reason = "the browser shows an error instead".to_owned();
                    return Err(PageError::Navigation { url, reason });
                }
                Ok(Opened { url, status: document.status, downloaded: false })
            })
        });
        let opened = opened.await.unwrap_or_else(|| Err(self.ended_or(late())))?;
        if state == LoadState::NetworkIdle {
            let left = deadline.saturating_duration_since(Instant::now());
            self.wait_for_load(state, left).await?;
        }
        Ok(opened)
    }
}
