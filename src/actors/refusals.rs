//! Refused requests of a session's programs, as events and notices.
//!
//! The egress program counts refusals by target and code. A task reads the counters, reports each
//! target and code at once and then at most once a minute, and publishes the counters for readers.
//! A refusal is attributed to the run that held the session when it happened.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, Span};

use super::traffic::UNLISTED;
pub use super::traffic::{Refused, Traffic};
use super::views::SessionView;
use super::world::World;
use crate::domain::event::{EventKind, Subject};
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::system::desktop::EgressStatus;

/// The least time between two events of one target and code.
const INTERVAL: Duration = Duration::from_secs(60);

/// The refusals of one session, over all of its desktops.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    book: Arc<Mutex<Book>>,
    status: Arc<watch::Sender<Option<EgressStatus>>>,
    refused: Arc<watch::Sender<Option<Refused>>>,
}

/// A guard of the task that reports refusals of one desktop. Its drop ends the task, which first
/// reports what is left.
#[derive(Debug)]
pub(super) struct Reporting {
    _over: DropGuard,
}

/// A host, its port and the code of the refusal.
type Key = (String, u16, String);

#[derive(Debug, Default)]
struct Book {
    /// The last known count for every target and code.
    known: HashMap<Key, u64>,
    unlisted: u64,
    /// The refusals that are pending or were reported lately, by run.
    entries: HashMap<(Option<RunId>, Key), Entry>,
    /// False until the first counts are known of a desktop that is adopted from a former server:
    /// those were reported by that server.
    has_base: bool,
    holder: Option<RunId>,
    /// The previous holder, and the end of its occupancy as Unix time in milliseconds.
    former: Option<(Option<RunId>, u64)>,
}

#[derive(Debug, Default)]
struct Entry {
    pending: u64,
    reported: Option<Instant>,
}

impl Book {
    /// Applies the counters of the egress program.
    fn count(&mut self, status: &EgressStatus) {
        for row in &status.refused {
            let key = (row.host.clone(), row.port, row.code.clone());
            let known = self.known.insert(key.clone(), row.count).unwrap_or(0);
            self.add(key, known, row.count, row.last_ms);
        }
        let known = std::mem::replace(&mut self.unlisted, status.refused_unlisted);
        let key = (String::new(), 0, UNLISTED.to_owned());
        self.add(key, known, status.refused_unlisted, u64::MAX);
        self.has_base = true;
    }

    fn add(&mut self, key: Key, known: u64, count: u64, last_ms: u64) {
        // A lower count means that the egress program has restarted.
        let new = if count < known { count } else { count - known };
        if new == 0 || !self.has_base {
            return;
        }
        let run = match self.former {
            Some((run, until)) if last_ms < until => run,
            Some(_) | None => self.holder,
        };
        self.entries.entry((run, key)).or_default().pending += new;
    }

    /// Records the run that holds the session. True if the holder has changed.
    fn hold(&mut self, run: Option<RunId>, now_ms: u64) -> bool {
        if self.holder == run {
            return false;
        }
        self.former = Some((self.holder, now_ms));
        self.holder = run;
        true
    }

    /// Takes the refusals that are due at `now`; all of them when the desktop has ended.
    fn due(&mut self, now: Instant, is_over: bool) -> Vec<(Option<RunId>, Refused)> {
        let holder = self.holder;
        let mut due = Vec::new();
        for ((run, (host, port, code)), entry) in &mut self.entries {
            let is_free = entry.reported.is_none_or(|at| at + INTERVAL <= now);
            if entry.pending == 0 || !(is_free || is_over || *run != holder) {
                continue;
            }
            let count = std::mem::take(&mut entry.pending);
            entry.reported = Some(now);
            let is_listed = code != UNLISTED;
            due.push((
                *run,
                if is_listed {
                    Refused::new(host, *port, code, count)
                } else {
                    Refused::unlisted(count)
                },
            ));
        }
        self.entries.retain(|_, entry| {
            entry.pending > 0 || entry.reported.is_some_and(|at| at + INTERVAL > now)
        });
        due
    }

    /// The time at which the next pending refusal is due.
    fn next(&self) -> Option<Instant> {
        let waiting = self.entries.values().filter(|entry| entry.pending > 0);
        waiting.filter_map(|entry| entry.reported).min().map(|at| at + INTERVAL)
    }
}

impl Refusals {
    /// The refusals of a new session, or of a session that a former server had.
    pub(super) fn new(is_former: bool) -> Self {
        let book = Book { has_base: !is_former, ..Book::default() };
        let (status, refused) = (watch::channel(None).0, watch::channel(None).0);
        Self {
            book: Arc::new(Mutex::new(book)),
            status: Arc::new(status),
            refused: Arc::new(refused),
        }
    }

    /// The read side of the counters and reports.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic { status: self.status.subscribe(), refused: self.refused.subscribe() }
    }

    /// Reports the refusals of a desktop until the returned guard is dropped.
    pub(super) fn report(
        &self,
        world: &Arc<World>,
        mut view: watch::Receiver<SessionView>,
        mut status: watch::Receiver<Option<EgressStatus>>,
        span: Span,
    ) -> Reporting {
        let over = CancellationToken::new();
        let (ended, world, own) = (over.clone(), Arc::clone(world), self.clone());
        let runtime = world.runtime.clone();
        let work = async move {
            let subject = {
                let view = view.borrow();
                (view.record.organization, view.record.id)
            };
            let mut is_over = false;
            while !is_over {
                own.read(&world, &mut view, &mut status);
                own.record(&world, subject, false);
                let next = own.book.lock().next();
                let due = async {
                    match next {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = ended.cancelled() => is_over = true,
                    Ok(()) = status.changed() => {}
                    Ok(()) = view.changed() => {}
                    () = due => {}
                }
            }
            own.read(&world, &mut view, &mut status);
            own.record(&world, subject, true);
        };
        runtime.spawn(work.instrument(span));
        Reporting { _over: over.drop_guard() }
    }

    fn read(
        &self,
        world: &World,
        view: &mut watch::Receiver<SessionView>,
        status: &mut watch::Receiver<Option<EgressStatus>>,
    ) {
        let run = {
            let view = view.borrow_and_update();
            let held = view.record.occupancy.holder();
            held.and_then(|held| held.occupant.runnable_id.as_str().parse().ok())
        };
        let now_ms = u64::try_from(world.clock.now().timestamp_millis()).unwrap_or(0);
        let mut book = self.book.lock();
        book.hold(run, now_ms);
        let status = status.borrow_and_update().clone();
        if let Some(counted) = &status
            && *self.status.borrow() != status
        {
            book.count(counted);
            drop(book);
            self.status.send_replace(status);
        }
    }

    fn record(
        &self,
        world: &World,
        (organization, session): (OrganizationId, SessionId),
        is_over: bool,
    ) {
        let due = self.book.lock().due(Instant::now(), is_over);
        for (run, refused) in due {
            let subject = Subject { organization, session: Some(session), run };
            world.events.record(subject, EventKind::SessionEgressRefused, json!(refused));
            self.refused.send_replace(Some(refused));
        }
    }
}

#[cfg(test)]
#[path = "refusals_tests.rs"]
mod tests;
