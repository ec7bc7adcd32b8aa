//! Detection of pages whose script never pauses, which makes them unresponsive for every client.
//!
//! ```text
//! asked, no answer for the limit --interrupt is answered--> a script runs:  1. it is ended
//!        |                                                                  2. its process is
//!        +--no answer either--> a dialog, or a process that is busy         3. and the page emptied
//!                               since before it was attached to
//! ```
//!
//! The keeper attaches to each page when it opens, because a busy page accepts no new client. The
//! question is a command that the page's main thread answers. The interrupt is a command that V8
//! answers only while it executes JavaScript. Therefore a page that waits for a person, in a dialog
//! or a print preview, does not count as busy.
//!
//! A page that was already busy when the keeper attached, such as after a server's restart, answers
//! neither. In that case CPU usage decides which process is ended.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::system::cdp::{CdpError, Connection};
use crate::system::desktop::pages::Pages;
use crate::system::proc::Stat;
use crate::system::process::{Member, Process};
use crate::system::seam::Repair;

/// The longest time for V8 to answer an interrupt.
const INTERRUPT: Duration = Duration::from_millis(500);

/// The time without a busy script after which a page's count starts anew.
const CALM: Duration = Duration::from_secs(120);

/// The divisor of the limit for a page that was busy recently.
const BUSY_DIVISOR: u32 = 3;

/// The least limit for such a page: on a loaded machine, a healthy page takes a second to answer.
const AGAIN_AT_LEAST: Duration = Duration::from_secs(2);

/// The least CPU share, in percent, of a busy renderer over the whole limit. A starting renderer
/// uses as much for a moment only.
const BUSY: u128 = 25;

/// The longest time for a process to crash on request; it writes a dump first.
const CRASHES: Duration = Duration::from_secs(5);

/// The number of processes that are ended because of one page that has never answered. Each may
/// have been the process of another page.
const GUESSES: u32 = 2;

/// Clock ticks per second, the unit of `proc(5)` on every Linux.
const TICKS: u128 = 100;

/// The cause that is reported for a busy page.
const CAUSE: &str = "a script of a page did not pause";

/// The pages of one browser, by target id.
#[derive(Debug, Default)]
pub(super) struct Busy {
    pages: HashMap<String, Page>,
    /// The CPU usage of the renderers at its last reading.
    used: Option<(Instant, HashMap<i32, u128>)>,
}

/// A pending question. The mutex is never locked: it only makes `Page` shareable between threads.
type Question = Mutex<BoxFuture<'static, Result<Value, CdpError>>>;

#[derive(Default)]
struct Page {
    session: Option<String>,
    /// The pending question, and the time at which it was sent.
    asked: Option<(Instant, Question)>,
    has_answered: bool,
    guesses: u32,
    /// The time before which the page is not checked.
    rests_until: Option<Instant>,
    times: u32,
    latest: Option<Instant>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The responsiveness of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The page answers, or the limit has not passed.
    Fine,
    /// The page has not answered in time.
    Silent,
}

impl Page {
    /// Processes an answer, and asks again if there was one.
    fn check(&mut self, connection: &Connection, limit: Duration, now: Instant) -> State {
        let Some(session) = &self.session else { return State::Fine };
        if self.rests_until.is_some_and(|until| now < until) {
            return State::Fine;
        }
        if let Some((since, answer)) = &mut self.asked {
            let limit = if self.latest.is_some_and(|latest| now - latest < CALM) {
                limit.min(AGAIN_AT_LEAST.max(limit / BUSY_DIVISOR))
            } else {
                limit
            };
            match answer.get_mut().now_or_never() {
                None if now - *since < limit => return State::Fine,
                None => return State::Silent,
                Some(answer) => self.has_answered |= answer.is_ok(),
            }
        }
        let ask = connection.call(Some(session), "Runtime.getIsolateId", json!({}));
        self.asked = Some((now, Mutex::new(Box::pin(ask))));
        State::Fine
    }

    /// True if the pending question has been answered by now. A page that is only late answers it before the
    /// interrupt, because it receives both in order.
    fn is_answered(&mut self) -> bool {
        let asked = self.asked.as_mut();
        let answer = asked.and_then(|(_since, answer)| answer.get_mut().now_or_never());
        if let Some(answer) = &answer {
            self.has_answered |= answer.is_ok();
            self.asked = None;
        }
        answer.is_some()
    }

    /// Counts another busy script of the page.
    fn was_busy(&mut self, now: Instant) -> u32 {
        let is_calm = self.latest.is_none_or(|latest| now - latest > CALM);
        self.times = if is_calm { 1 } else { self.times.saturating_add(1) };
        self.latest = Some(now);
        self.times
    }
}

impl Busy {
    /// Attaches to a page that has opened. The browser answers with [`attached`](Self::attached).
    pub(super) fn opened(&mut self, target: &str, connection: &Connection) {
        if self.pages.contains_key(target) {
            return;
        }
        self.pages.insert(target.to_owned(), Page::default());
        let attach = json!({ "targetId": target, "flatten": true });
        drop(connection.call(None, "Target.attachToTarget", attach));
    }

    /// Records the session of an attached page. Of several sessions the first is used.
    pub(super) fn attached(&mut self, target: &str, session: &str) {
        if let Some(page) = self.pages.get_mut(target) {
            page.session.get_or_insert_with(|| session.to_owned());
        }
    }

    /// The session of a page, once it is attached.
    pub(super) fn session(&self, target: &str) -> Option<&str> {
        self.pages.get(target)?.session.as_deref()
    }

    /// Forgets a page that has closed.
    pub(super) fn closed(&mut self, target: &str) {
        self.pages.remove(target);
    }

    /// Checks every page, and ends scripts or processes that block a page for longer than `limit`.
    pub(super) async fn check(
        &mut self,
        connection: &Connection,
        chromium: &Process,
        crashes: &mut Pages,
        limit: Duration,
    ) -> Vec<Repair> {
        let mut repair = Vec::new();
        let mut unreachable = Vec::new();
        for (target, page) in &mut self.pages {
            let now = Instant::now();
            if page.check(connection, limit, now) == State::Fine {
                continue;
            }
            let Some(session) = page.session.clone() else { continue };
            let interrupt = connection.call(Some(&session), "Performance.getMetrics", json!({}));
            let is_interrupted = timeout(INTERRUPT, interrupt).await.is_ok_and(|it| it.is_ok());
            if page.is_answered() {
                continue;
            }
            if is_interrupted {
                let since = page.asked.as_ref().map_or(now, |(since, _answer)| *since);
                page.has_answered = true;
                let times = page.was_busy(now);
                tracing::warn!(
                    page = target,
                    times,
                    "a script of a page does not pause; it is terminated"
                );
                if times == 1 {
                    let end =
                        connection.call(Some(&session), "Runtime.terminateExecution", json!({}));
                    if timeout(INTERRUPT, end).await.is_ok() {
                        let lost = "the unfinished work of the script";
                        repair.push(Repair::new(CAUSE.to_owned(), lost, times, since.elapsed()));
                    }
                } else {
                    crashes.expect(target, CAUSE, times > 2);
                    page.rests_until = Some(now + CRASHES);
                    // The process ends without an answer.
                    drop(connection.call(Some(&session), "Page.crash", json!({})));
                }
                page.asked = None;
            } else if page.has_answered {
                // The page waits, in a dialog for example. It is checked again after the same time.
                if let Some((since, _answer)) = &mut page.asked {
                    *since = now;
                }
            } else if page.guesses < GUESSES {
                unreachable.push(target.clone());
            }
        }
        if unreachable.is_empty() {
            self.used = None;
        } else if let Some(renderer) = self.busiest(chromium, limit) {
            for target in unreachable {
                if let Some(page) = self.pages.get_mut(&target) {
                    page.asked = None;
                    page.guesses += 1;
                }
                crashes.expect(&target, CAUSE, false);
            }
            tracing::warn!(
                "a page has not answered since it was attached to; its process is ended"
            );
            chromium.kill_member(&renderer);
        }
        repair
    }

    /// The renderer whose main thread has used the most CPU time over at least `limit`, if its
    /// share is at least `BUSY`; none before that time has passed.
    fn busiest(&mut self, chromium: &Process, limit: Duration) -> Option<Member> {
        if self.used.as_ref().is_some_and(|(since, _used)| since.elapsed() < limit) {
            return None;
        }
        let renderers = chromium.members().into_iter().filter(|member| member.role == "renderer");
        let renderers: Vec<Member> = renderers.collect();
        let now = Instant::now();
        let used: HashMap<i32, u128> = renderers
            .iter()
            .filter_map(|renderer| {
                let pid = renderer.identity().pid;
                Some((pid, main_thread_ticks(pid)?))
            })
            .collect();
        let (before, was_used) = self.used.replace((now, used.clone()))?;
        let elapsed = (now - before).as_millis().max(1);
        let share = |member: &Member| {
            let pid = member.identity().pid;
            let ticks = used.get(&pid)?.checked_sub(*was_used.get(&pid)?)?;
            // Milliseconds of CPU time per hundred milliseconds of real time.
            ticks.saturating_mul(1_000 / TICKS * 100).checked_div(elapsed)
        };
        let shares = renderers.iter().filter_map(|member| Some((share(member)?, member)));
        let (most, busiest) = shares.max_by_key(|(share, _member)| *share)?;
        (most >= BUSY).then(|| busiest.clone())
    }
}

/// The clock ticks that the main thread of a process has used.
fn main_thread_ticks(pid: i32) -> Option<u128> {
    // A program sets its own name, in arbitrary bytes.
    let text = fs::read(format!("/proc/{pid}/task/{pid}/stat")).ok()?;
    Some(Stat::parse(&String::from_utf8_lossy(&text))?.used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_the_processor_is_that_of_the_main_thread() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(main_thread_ticks(own).is_some());
        assert_eq!(main_thread_ticks(-1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_answers_late_is_not_busy() {
        let asked = |after| {
            let answer = async move {
                tokio::time::sleep(Duration::from_secs(after)).await;
                Ok(Value::Null)
            };
            let question: BoxFuture<'static, _> = Box::pin(answer);
            Page { asked: Some((Instant::now(), Mutex::new(question))), ..Page::default() }
        };
        let (mut late, mut silent) = (asked(2), asked(60));
        assert!(!late.is_answered() && !late.has_answered);
        assert!(!silent.is_answered());
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(late.is_answered() && late.has_answered && late.asked.is_none());
        assert!(!silent.is_answered() && silent.asked.is_some());
    }

    #[test]
    fn a_page_that_was_busy_long_ago_begins_anew() {
        let (mut page, start) = (Page::default(), Instant::now());
        assert_eq!(page.was_busy(start), 1);
        assert_eq!(page.was_busy(start + CALM), 2);
        assert_eq!(page.was_busy(start + CALM + CALM + Duration::from_secs(1)), 1);
    }
}
