//! Navigation, and the load state of pages.

use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::tabs::{Tab, Tabs};
use super::{Browser, PageError};
use crate::workflow::definition::block::LoadState;

/// A page that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The URL of the page, after redirects.
    pub url: String,
    /// The status of the response, if the page came over HTTP.
    pub status: Option<u16>,
    /// True if the URL was a download and not a page.
    pub downloaded: bool,
}

/// The time without requests after which the network counts as idle.
const IDLE: Duration = Duration::from_millis(500);

/// The time in which the keeper should replace the crashed process of a page.
const RESTARTS: Duration = Duration::from_secs(2);

pub(super) fn reached(tab: &Tab, state: LoadState) -> bool {
    let has = |name: &str| tab.document.reached.contains(name);
    match state {
        LoadState::Commit => true,
        LoadState::DomContentLoaded => has("DOMContentLoaded"),
        // `NetworkIdle` adds half a second without a connection after this.
        LoadState::Load | LoadState::NetworkIdle => has("load"),
    }
}

impl Browser {
    /// Opens a page in the current tab, and waits for the load state. A response with an error status
    /// is a page like any other. If the process of the previous page has crashed, or crashes
    /// meanwhile, the page is opened in the next process.
    pub async fn open(
        &self,
        url: &str,
        state: LoadState,
        timeout: Duration,
    ) -> Result<Opened, PageError> {
        let began = Instant::now();
        self.until_restarted().await;
        let opened = self.open_once(url, state, timeout).await;
        let is_crashed = matches!(opened, Err(PageError::Crashed)) || self.is_crashed();
        let left = timeout.saturating_sub(began.elapsed());
        if !is_crashed || left.is_zero() {
            return opened;
        }
        self.until_restarted().await;
        self.open_once(url, state, left).await
    }

    /// Waits up to [`RESTARTS`] until a crashed process of the current tab has been replaced.
    async fn until_restarted(&self) {
        let is_back = |tabs: &Tabs| {
            let tab = tabs.working().and_then(|session| tabs.tab(session));
            tab.is_none_or(|tab| !tab.crashed).then_some(())
        };
        self.until(Instant::now() + RESTARTS, is_back).await;
    }

    fn is_crashed(&self) -> bool {
        matches!(self.working(), Err(PageError::Crashed))
    }

    async fn open_once(
        &self,
        url: &str,
        state: LoadState,
        timeout: Duration,
    ) -> Result<Opened, PageError> {
        let mut deadline = Instant::now() + timeout;
        // A crashed page is opened in another process.
        let session = self.working_even_crashed()?;
        self.edit(|tabs| {
            if let Some(tab) = tabs.tabs.get_mut(&session) {
                tab.crashed = false;
            }
        });
        let late = || PageError::Timeout { what: format!("{url} did not load"), after: timeout };
        let failed =
            |reason: &str| PageError::Navigation { url: url.to_owned(), reason: reason.to_owned() };

        self.set_up(&session).await;
        let mut call = pin!(self.slow_call(&session, "Page.navigate", json!({ "url": url })));
        let answer = loop {
            let answer = timeout_at(deadline, &mut call).await;
            // A person controls the page; the time starts again afterwards.
            if answer.is_ok() || !self.waited_for_takeover().await {
                break answer;
            }
            deadline = Instant::now() + timeout;
        };
        let answer = match answer {
            Ok(Err(PageError::Refused { message, .. })) => return Err(failed(&message)),
            Ok(answer) => answer?,
            Err(_elapsed) => {
                let stop = self.call(&session, "Page.stopLoading", json!({}));
                let _best_effort = tokio::time::timeout(Duration::from_secs(1), stop).await;
                return Err(late());
            }
        };
        let download = answer.get("isDownload").and_then(Value::as_bool).unwrap_or(false);
        if let Some(reason) = answer.get("errorText").and_then(Value::as_str) {
            if download {
                return Ok(Opened { url: url.to_owned(), status: None, downloaded: true });
            }
            return Err(failed(reason));
        }
        let loader = answer.get("loaderId").and_then(Value::as_str);
        let at_once = if state == LoadState::NetworkIdle { LoadState::Commit } else { state };
        let opened = self
            .until_with_takeover(deadline, timeout, |tabs| {
                let Some(tab) = tabs.tab(&session) else { return Some(Err(PageError::Closed)) };
                if tab.crashed {
                    return Some(Err(PageError::Crashed));
                }
                // Without a loader, the URL is an anchor in the same document.
                let new = loader.is_none_or(|loader| tab.loaders.iter().any(|seen| seen == loader));
                (new && reached(tab, at_once)).then(|| {
                    Ok(Opened {
                        url: tab.document.url.clone(),
                        status: tab.document.status,
                        downloaded: false,
                    })
                })
            })
            .await;
        let opened = opened.unwrap_or_else(|| Err(self.ended_or(late())))?;
        if state == LoadState::NetworkIdle {
            let left = deadline.saturating_duration_since(Instant::now());
            self.wait_for_load(state, left).await.map_err(|error| {
                if matches!(error, PageError::Timeout { .. }) { late() } else { error }
            })?;
            return Ok(Opened { url: self.url(), ..opened });
        }
        Ok(opened)
    }

    pub(super) fn ended_or(&self, error: PageError) -> PageError {
        match self.working() {
            Err(PageError::Disconnected) => PageError::Disconnected,
            Ok(_)
            | Err(
                PageError::Refused { .. }
                | PageError::Crashed
                | PageError::Closed
                | PageError::Navigation { .. }
                | PageError::Timeout { .. }
                | PageError::NotReady { .. }
                | PageError::Unfit { .. }
                | PageError::Selector(_)
                | PageError::StaleReference { .. }
                | PageError::NoSuchTab(_)
                | PageError::LastTab
                | PageError::NoHistory(_)
                | PageError::Script(_),
            ) => error,
        }
    }

    /// Waits until the page in the current tab has reached a load state.
    pub async fn wait_for_load(
        &self,
        state: LoadState,
        timeout: Duration,
    ) -> Result<(), PageError> {
        let mut deadline = Instant::now() + timeout;
        let session = self.working()?;
        let what = match state {
            LoadState::NetworkIdle => "the network was not idle",
            LoadState::Commit | LoadState::DomContentLoaded | LoadState::Load => {
                "the page did not load"
            }
        };
        let late = || PageError::Timeout { what: what.to_owned(), after: timeout };
        if state != LoadState::NetworkIdle {
            let found =
                self.until_with_takeover(deadline, timeout, |tabs| match tabs.tab(&session) {
                    None => Some(()),
                    Some(tab) => reached(tab, state).then_some(()),
                });
            return found.await.ok_or_else(|| self.ended_or(late()));
        }
        loop {
            let idle = self.until(deadline, |tabs| match tabs.tab(&session) {
                None => Some(()),
                Some(tab) => {
                    (reached(tab, LoadState::Load) && tab.requests.is_empty()).then_some(())
                }
            });
            if idle.await.is_some() {
                let end = deadline.min(Instant::now() + IDLE);
                let busy = self.until(end, |tabs| {
                    let tab = tabs.tab(&session)?;
                    (!tab.requests.is_empty()).then_some(())
                });
                match busy.await {
                    Some(()) => continue,
                    None if Instant::now() < deadline => return Ok(()),
                    None => {}
                }
            }
            // A person has control: the time starts again afterwards.
            if !self.waited_for_takeover().await {
                return Err(self.ended_or(late()));
            }
            deadline = Instant::now() + timeout;
        }
    }

    /// Waits until the URL of the page contains `pattern`, or matches it if it contains a `*`.
    pub async fn wait_for_url(&self, pattern: &str, timeout: Duration) -> Result<(), PageError> {
        let deadline = Instant::now() + timeout;
        let found = self.until_with_takeover(deadline, timeout, |tabs| {
            let tab = tabs.tab(tabs.working()?)?;
            url_matches(&tab.document.url, pattern).then_some(())
        });
        found.await.ok_or_else(|| {
            let what = format!("the URL, {}, did not match `{pattern}`", self.url());
            self.ended_or(PageError::Timeout { what, after: timeout })
        })
    }
}

/// True if a URL contains `pattern` or, if the pattern contains a `*`, matches the whole of it.
pub fn url_matches(url: &str, pattern: &str) -> bool {
    if !pattern.contains('*') {
        return url.contains(pattern);
    }
    let mut parts = pattern.split('*').filter(|part| !part.is_empty());
    let mut rest = url;
    if !pattern.starts_with('*') {
        let first = parts.next().unwrap_or_default();
        let Some(after) = rest.strip_prefix(first) else { return false };
        rest = after;
    }
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
        last = Some(part);
    }
    pattern.ends_with('*') || last.map_or(rest.is_empty(), |part| url.ends_with(part))
}
