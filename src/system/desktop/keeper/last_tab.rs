//! The replacement of a browser's last tab.
//!
//! The browser outlives its last window. But without a window it has no page to drive and nothing
//! to show, and Chromium drops the profile with the session cookies. Therefore a new tab is opened
//! immediately, unless a driver opens one itself, and those cookies are restored.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{PUT_BACK, Watch};
use crate::system::cdp::Connection;
use crate::system::desktop::memory::Memory;
use crate::system::seam::Repair;

/// The time for a driver that closes its last page to open the next one itself.
const DRIVERS_TURN: Duration = Duration::from_millis(50);

/// The time for a browser to report its tabs.
const REPORTS: Duration = Duration::from_secs(1);

/// The longest wait before a replacement is opened.
const WAIT_AT_MOST: Duration = Duration::from_secs(5);

/// The number of closes within [`CALM`] before the wait for a replacement grows.
const FREE: u32 = 5;

/// The time after which closing the last tab again counts from zero.
const CALM: Duration = Duration::from_secs(60);

/// The state of a browser's last tab.
#[derive(Debug)]
pub(super) struct LastTab {
    /// The time at which it was closed, or the connection was made. None while there is a tab.
    closed: Option<Instant>,
    /// The time of the next check.
    due: Option<Instant>,
    times: u32,
    latest: Option<Instant>,
}

impl LastTab {
    /// The state over a new connection, where the tabs are not known yet.
    pub(super) fn unknown(now: Instant) -> Self {
        Self { closed: None, due: Some(now + REPORTS), times: 0, latest: None }
    }

    /// Records that the last tab was closed.
    pub(super) fn closed(&mut self, now: Instant) {
        let is_calm = self.latest.is_none_or(|latest| now - latest > CALM);
        self.times = if is_calm { 0 } else { self.times.saturating_add(1) };
        self.latest = Some(now);
        let doubled = 2_u32.saturating_pow(self.times.saturating_sub(FREE));
        let wait = DRIVERS_TURN.saturating_mul(doubled).min(WAIT_AT_MOST);
        self.closed = Some(now);
        self.due = Some(now + wait);
    }

    /// The time at which [`Watch::succeed`] must be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// True from the end of the last tab until its cookies are restored.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }
}

impl Watch {
    /// Opens a replacement for the last tab, unless there is a tab, and restores the cookies that
    /// were lost with the last window.
    pub(super) async fn succeed(&mut self, connection: &Connection) {
        self.last_tab.due = None;
        let closed = self.last_tab.closed;
        if closed.is_none() && !self.tabs.is_empty() {
            return;
        }
        if self.tabs.is_empty() {
            let has_pages = match has_pages(connection).await {
                // The pages are reported late.
                Some(true) if closed.is_none() => return,
                Some(has_pages) => has_pages,
                None => false,
            };
            if !has_pages && !opens(connection).await {
                // A browser that is closing opens no tab.
                self.last_tab.due = Some(Instant::now() + REPORTS);
                return;
            }
        }
        let mut lost = vec!["the page, and text typed into it".to_owned()];
        if let Some(known) = &self.known {
            let of_the_session = known.of_the_session();
            let put_back = of_the_session.put_cookies_back(connection, &mut lost);
            if timeout(PUT_BACK, put_back).await.is_err() {
                lost.push("cookies: the browser did not answer".to_owned());
            }
        }
        let began = closed.unwrap_or_else(Instant::now);
        let cause = "the last tab was closed".to_owned();
        self.kept.repairs.report(Repair::new(cause, &lost.join("; "), 1, began.elapsed()));
        self.last_tab.closed = None;
    }
}

/// True if a browser has pages, reported or not; none if it does not answer.
async fn has_pages(connection: &Connection) -> Option<bool> {
    let targets = connection.call(None, "Target.getTargets", json!({}));
    let answer = timeout(PUT_BACK, targets).await.ok()?.ok()?;
    let mut targets = answer.get("targetInfos")?.as_array()?.iter();
    Some(targets.any(|target| target.get("type").is_some_and(|kind| kind == "page")))
}

/// Opens an empty tab. Returns false if the browser does not.
async fn opens(connection: &Connection) -> bool {
    let blank = json!({ "url": "about:blank" });
    let opened = connection.call(None, "Target.createTarget", blank);
    timeout(PUT_BACK, opened).await.is_ok_and(|opened| opened.is_ok())
}

impl Memory {
    /// The cookies that are not stored in the profile.
    fn of_the_session(&self) -> Self {
        let of_the_session = |cookie: &&Value| cookie.get("session") == Some(&Value::Bool(true));
        let cookies = self.cookies.iter().filter(of_the_session).cloned().collect();
        Self { cookies, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_tabs_that_are_closed_in_a_loop_wait_longer_for_their_successors() {
        let start = Instant::now();
        let mut tab = LastTab::unknown(start);
        let mut waits = Vec::new();
        for second in 0..14 {
            let now = start + Duration::from_secs(second);
            tab.closed(now);
            waits.push((tab.due().unwrap() - now).as_millis());
        }
        assert_eq!(waits[..8], [50, 50, 50, 50, 50, 50, 100, 200]);
        assert_eq!(waits.last(), Some(&5_000));
        let later = start + Duration::from_secs(14) + CALM;
        tab.closed(later);
        assert_eq!(tab.due(), Some(later + DRIVERS_TURN));
    }
}
