//! The views of live sessions and runs, for readers.
//!
//! Each session and each run publishes a view of itself whenever it changes; lists, long polls and
//! pages read it. Reading a view involves no mailbox.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use tokio::sync::watch;

use super::draining::Draining;
use super::tickets::Tickets;
use super::traffic::Traffic;
use crate::domain::control::Control;
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::domain::occupancy::{Occupant, QueuePosition};
use crate::domain::run::{BlockRecord, RunRecord};
use crate::domain::session::{Failure, SessionRecord, SessionStatus};
use crate::system::film::RecordingMetadata;

/// A session as it was last published.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// A number that rises with every change.
    pub version: u64,
    /// The session's row as it is stored.
    pub record: SessionRecord,
    /// The waiters for it, in order.
    pub waiters: Vec<WaiterView>,
    /// The number of viewers that watch it.
    pub viewers: usize,
    /// The number of connections to its browser's DevTools.
    pub drivers: usize,
    /// The party whose input reaches the browser.
    pub control: Control,
    /// Its recordings under way, the oldest first.
    pub recordings: Vec<RecordingMetadata>,
    /// True if its desktop is being stopped.
    pub closing: bool,
    /// The latest end of its browser or display that was not asked for.
    pub last_death: Option<LastDeath>,
}

/// The unexpected end of a session's browser or display, after which the session has started it
/// again, or is about to.
#[derive(Debug, Clone, PartialEq)]
pub struct LastDeath {
    /// The part that ended, and how.
    pub failure: Failure,
    /// The time at which the end was noticed.
    pub at: DateTime<Utc>,
}

impl SessionView {
    /// The view of a session that has no actor here, according to its row.
    pub fn of_stored(record: SessionRecord) -> Self {
        Self {
            version: 0,
            record,
            waiters: Vec::new(),
            viewers: 0,
            drivers: 0,
            control: Control::Agent,
            recordings: Vec::new(),
            closing: false,
            last_death: None,
        }
    }

    /// True if the session is watched, driven, recorded, occupied or waited for.
    pub fn is_used(&self) -> bool {
        self.viewers > 0
            || self.drivers > 0
            || self.record.occupancy.holder().is_some()
            || !self.waiters.is_empty()
            || !self.recordings.is_empty()
    }
}

/// One waiter for a session.
#[derive(Debug, Clone, PartialEq)]
pub struct WaiterView {
    /// The place in the queue; 1 is next.
    pub place: QueuePosition,
    /// The waiter as the future occupant.
    pub occupant: Occupant,
    /// The time at which it began to wait.
    pub since: DateTime<Utc>,
    /// The time at which it stops waiting.
    pub until: DateTime<Utc>,
}

/// A run as it was last published.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// A number that rises with every change.
    pub version: u64,
    /// The run's row as it is stored.
    pub record: RunRecord,
    /// Its blocks so far, in the order in which they began.
    pub blocks: Vec<BlockRecord>,
}

#[derive(Debug)]
struct Watched<V> {
    organization: OrganizationId,
    view: watch::Receiver<V>,
}

/// True if the desktop of a session is starting.
fn comes_up(view: &SessionView) -> bool {
    view.record.status == SessionStatus::Created && !view.record.is_dormant()
}

/// The views of all live sessions and runs on this node.
#[derive(Debug, Clone, Default)]
pub struct Views {
    sessions: Arc<DashMap<SessionId, Watched<SessionView>>>,
    runs: Arc<DashMap<RunId, Watched<RunView>>>,
    traffic: Arc<DashMap<SessionId, Traffic>>,
    /// The tickets of the sessions' viewers.
    pub tickets: Tickets,
    draining: Arc<watch::Sender<Option<Draining>>>,
}

impl Views {
    /// The view of a live session; sessions of other organizations do not exist for the caller.
    pub fn session(
        &self,
        organization: OrganizationId,
        id: SessionId,
    ) -> Option<watch::Receiver<SessionView>> {
        let watched = self.sessions.get(&id)?;
        (watched.organization == organization).then(|| watched.view.clone())
    }

    /// The view of a live session of any organization: for a caller that has proved its access by a
    /// secret of the session.
    pub fn session_of_anyone(&self, id: SessionId) -> Option<watch::Receiver<SessionView>> {
        self.sessions.get(&id).map(|watched| watched.view.clone())
    }

    /// The organization's live sessions, newest first.
    pub fn sessions(&self, organization: OrganizationId) -> Vec<SessionView> {
        let mut views: Vec<_> = self
            .sessions
            .iter()
            .filter(|watched| watched.organization == organization)
            .map(|watched| watched.view.borrow().clone())
            .collect();
        // The id of a session from the pool is older than the session.
        views.sort_by_key(|view| std::cmp::Reverse((view.record.created_at, view.record.id)));
        views
    }

    /// The view of a live run; runs of other organizations do not exist for the caller.
    pub fn run(&self, organization: OrganizationId, id: RunId) -> Option<watch::Receiver<RunView>> {
        let watched = self.runs.get(&id)?;
        (watched.organization == organization).then(|| watched.view.clone())
    }

    /// The counters of a live session's network.
    pub fn traffic(&self, id: SessionId) -> Option<Traffic> {
        self.traffic.get(&id).map(|traffic| traffic.clone())
    }

    pub(crate) fn add_traffic(&self, id: SessionId, traffic: Traffic) {
        self.traffic.insert(id, traffic);
    }

    /// The drain state of the server; `None` while it accepts new work.
    pub fn draining(&self) -> watch::Receiver<Option<Draining>> {
        self.draining.subscribe()
    }

    pub(super) fn set_draining(&self, draining: Option<Draining>) {
        self.draining.send_replace(draining);
    }

    /// Every live session, of all organizations.
    pub fn all_sessions(&self) -> Vec<SessionView> {
        self.sessions.iter().map(|watched| watched.view.borrow().clone()).collect()
    }

    /// The sessions that live here, with their owners.
    pub(super) fn owners(&self) -> Vec<(OrganizationId, SessionId)> {
        self.sessions.iter().map(|watched| (watched.organization, *watched.key())).collect()
    }

    /// The number of an organization's sessions that live here.
    pub(super) fn count_sessions(&self, organization: OrganizationId) -> usize {
        let own = self.sessions.iter().filter(|watched| watched.organization == organization);
        own.filter(|watched| !watched.view.borrow().record.status.is_final()).count()
    }

    /// The number of an organization's runs that are under way here.
    pub(super) fn count_runs(&self, organization: OrganizationId) -> usize {
        let own = self.runs.iter().filter(|watched| watched.organization == organization);
        own.filter(|watched| !watched.view.borrow().record.status.is_final()).count()
    }

    /// The number of sessions whose desktops are starting.
    pub(super) fn coming_up(&self) -> usize {
        self.sessions.iter().filter(|watched| comes_up(&watched.view.borrow())).count()
    }

    /// Resolves when no session's desktop is starting.
    pub(super) async fn none_starts(&self) {
        loop {
            // A closed view means that the session has ended, or that its actor is being restarted.
            let starts = |watched: &Watched<SessionView>| {
                comes_up(&watched.view.borrow()) && watched.view.has_changed().is_ok()
            };
            let starting = self.sessions.iter().find(|watched| starts(watched));
            let Some(mut view) = starting.map(|watched| watched.view.clone()) else { return };
            let _ = view.wait_for(|view| !comes_up(view)).await;
        }
    }

    /// The number of sessions that live here and have a browser, or are about to.
    pub(super) fn count(&self) -> usize {
        self.sessions.len().saturating_sub(self.dormant())
    }

    /// Returns the number of sessions whose browser waits for its first use.
    pub(super) fn dormant(&self) -> usize {
        self.sessions.iter().filter(|watched| watched.view.borrow().record.is_dormant()).count()
    }

    /// The organization's live runs on this node.
    pub fn runs(&self, organization: OrganizationId) -> Vec<RunView> {
        let runs = self.runs.iter().filter(|watched| watched.organization == organization);
        runs.map(|watched| watched.view.borrow().clone()).collect()
    }

    /// The number of runs that have not ended.
    pub fn runs_under_way(&self) -> usize {
        let is_over = |view: &RunView| view.record.status.is_final();
        self.runs.iter().filter(|watched| !is_over(&watched.view.borrow())).count()
    }

    /// Resolves when no run is under way.
    pub async fn runs_ended(&self) {
        loop {
            let mut runs: Vec<_> = self.runs.iter().map(|it| it.view.clone()).collect();
            runs.retain(|view| !view.borrow().record.status.is_final());
            if runs.is_empty() {
                return;
            }
            for mut view in runs {
                let _ = view.wait_for(|view| view.record.status.is_final()).await;
            }
        }
    }

    /// Resolves when no session is occupied and no run is under way.
    pub async fn quiet(&self) {
        loop {
            let mut held: Vec<_> = self.sessions.iter().map(|it| it.view.clone()).collect();
            held.retain(|view| view.borrow().record.occupancy.holder().is_some());
            let mut runs: Vec<_> = self.runs.iter().map(|it| it.view.clone()).collect();
            runs.retain(|view| !view.borrow().record.status.is_final());
            if held.is_empty() && runs.is_empty() {
                return;
            }
            // A closed view means that the session has ended, which is as good as vacant.
            for mut view in held {
                let _ = view.wait_for(|view| view.record.occupancy.holder().is_none()).await;
            }
            for mut view in runs {
                let _ = view.wait_for(|view| view.record.status.is_final()).await;
            }
        }
    }

    pub(super) fn add_session(&self, view: watch::Receiver<SessionView>) {
        let (organization, id) = {
            let view = view.borrow();
            (view.record.organization, view.record.id)
        };
        self.sessions.insert(id, Watched { organization, view });
    }

    pub(super) fn remove_session(&self, id: SessionId) {
        self.sessions.remove(&id);
        self.traffic.remove(&id);
        self.tickets.forget(id);
    }

    pub(super) fn add_run(&self, view: watch::Receiver<RunView>) {
        let (organization, id) = {
            let view = view.borrow();
            (view.record.organization, view.record.id)
        };
        self.runs.insert(id, Watched { organization, view });
    }

    pub(super) fn remove_run(&self, id: RunId) {
        self.runs.remove(&id);
    }
}
