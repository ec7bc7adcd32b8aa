//! Pages whose process has died. Each is reloaded after a delay that grows.
//!
//! A page that was ended because it blocked its process repeatedly is replaced by an empty one.
//!
//! A browser survives the end of a renderer, and shows an error page until it is reloaded. The
//! delay keeps a page that kills its process each time from using a whole core.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::memory::Opening;
use crate::system::cdp::{CdpError, Connection};
use crate::system::seam::Repair;

/// The delay before a page is reloaded; it doubles after each crash.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The longest delay before a reload.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// The time without a crash after which the delay starts anew.
const CALM: Duration = Duration::from_secs(120);

/// The pages of one browser, by target id.
#[derive(Debug, Default)]
pub(super) struct Pages {
    crashed: HashMap<String, Crash>,
    /// Pages whose process is about to be ended.
    expected: HashMap<String, Expected>,
}

/// The expected end of a page's process.
#[derive(Debug, Clone, Copy)]
struct Expected {
    cause: &'static str,
    empties: bool,
}

#[derive(Debug, Clone, Copy)]
struct Crash {
    times: u32,
    latest: Instant,
    cause: &'static str,
    /// True if an empty page replaces it.
    empties: bool,
    /// The time of the reload; none after it was done.
    reload_at: Option<Instant>,
}

impl Pages {
    /// Records that the process of this page is about to be ended because of `cause`. With
    /// `empties`, the page is not loaded again.
    pub(super) fn expect(&mut self, target: &str, cause: &'static str, empties: bool) {
        self.expected.insert(target.to_owned(), Expected { cause, empties });
    }

    /// Records that the process of this page has died.
    pub(super) fn crashed(&mut self, target: &str, now: Instant) {
        let before = self.crashed.get(target).filter(|crash| now - crash.latest < CALM);
        let times = before.map_or(0, |crash| crash.times).saturating_add(1);
        let wait = RETRY_DELAY.saturating_mul(2_u32.saturating_pow(times - 1)).min(AGAIN_AT_MOST);
        let died = Expected { cause: "the process of a page died", empties: false };
        let Expected { cause, empties } = self.expected.remove(target).unwrap_or(died);
        let crash = Crash { times, latest: now, cause, empties, reload_at: Some(now + wait) };
        self.crashed.insert(target.to_owned(), crash);
    }

    /// Forgets a page that was closed.
    pub(super) fn closed(&mut self, target: &str) {
        self.crashed.remove(target);
        self.expected.remove(target);
    }

    /// Cancels the reload of a page that was navigated elsewhere, because it would undo that.
    pub(super) fn moved(&mut self, target: &str) {
        if let Some(crash) = self.crashed.get_mut(target) {
            crash.reload_at = None;
        }
    }

    /// The time of the next reload.
    pub(super) fn next(&self) -> Option<Instant> {
        self.crashed.values().filter_map(|crash| crash.reload_at).min()
    }

    /// Reloads the pages that are due, and returns a report for each. Those that were `pending` are requested again.
    pub(super) async fn reload(
        &mut self,
        connection: &Connection,
        pending: &Opening,
    ) -> Vec<Repair> {
        let now = Instant::now();
        let mut repair = Vec::new();
        for (target, crash) in &mut self.crashed {
            if crash.reload_at.is_none_or(|at| at > now) {
                continue;
            }
            crash.reload_at = None;
            // A page that was closed meanwhile is no loss.
            let asked = pending.get(target).filter(|_asked| !crash.empties);
            let reloaded = match asked {
                Some(url) => request(connection, target, url).await,
                None => reload(connection, target, crash.empties).await,
            };
            if reloaded.is_ok() {
                let cause = crash.cause.to_owned();
                let lost = if crash.empties { "the page" } else { "text typed into the page" };
                repair.push(Repair::new(cause, lost, crash.times, crash.latest.elapsed()));
            }
        }
        repair
    }
}

/// Requests a URL in a page, without waiting for the answer of its host.
async fn request(connection: &Connection, target: &str, url: &str) -> Result<(), CdpError> {
    let session = attach(connection, target).await?;
    drop(connection.call(Some(&session), "Page.navigate", json!({ "url": url })));
    detach(connection, &session).await;
    Ok(())
}

async fn reload(connection: &Connection, target: &str, empties: bool) -> Result<(), CdpError> {
    let session = attach(connection, target).await?;
    let (method, params) = if empties {
        ("Page.navigate", json!({ "url": "about:blank" }))
    } else {
        ("Page.reload", json!({}))
    };
    let reloaded = connection.call(Some(&session), method, params).await;
    detach(connection, &session).await;
    reloaded.map(drop)
}

/// Attaches to a page, and returns the session.
async fn attach(connection: &Connection, target: &str) -> Result<String, CdpError> {
    let target = json!({ "targetId": target, "flatten": true });
    let attached = connection.call(None, "Target.attachToTarget", target).await?;
    Ok(attached.get("sessionId").and_then(Value::as_str).unwrap_or_default().to_owned())
}

async fn detach(connection: &Connection, session: &str) {
    let session = json!({ "sessionId": session });
    let _ = connection.call(None, "Target.detachFromTarget", session).await; // The page may be gone.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_crashes_again_and_again_waits_longer_each_time() {
        let (mut pages, start) = (Pages::default(), Instant::now());
        let mut waits = Vec::new();
        for crash in 0..14_u64 {
            let now = start + Duration::from_secs(crash);
            pages.crashed("page", now);
            waits.push((pages.next().unwrap() - now).as_millis());
        }
        assert_eq!(waits[..4], [50, 100, 200, 400]);
        assert_eq!(waits.last(), Some(&60_000));
        let later = start + Duration::from_secs(14) + CALM;
        pages.crashed("page", later);
        assert_eq!(pages.next(), Some(later + RETRY_DELAY));
        pages.moved("page");
        assert_eq!(pages.next(), None, "somebody else has loaded another page");
        pages.crashed("page", later);
        pages.closed("page");
        assert_eq!(pages.next(), None);
    }
}
