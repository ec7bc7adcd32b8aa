//! One browser session: its desktop, its occupancy, and its end.
//!
//! ```text
//! Dormant
//!     | first use
//!     v
//! Starting --launched, stored--> Running --close, deadline--> Closing --none left,
//!     |                          |   ^                           ^         stored--> (stops)
//!     |                    death |   | recovered,                |
//!     |             or sanitizing v   | adopted, clean            |
//!     |                       Recovering --close, too often------+
//!     |                          ^                               |
//!     |     (a former server's) -+                               |
//!     +---------------------- close, failure --------------------+
//! ```
//!
//! A session that is asked to detach stops from `Dormant` or `Running`, and leaves its desktop to
//! the next server.
//!
//! Files that are named by a plural noun, such as `turns`, hold a part of its state, and do not know
//! the actor. The others handle its messages.
//!
//! # Invariants
//!
//! 1. No handler awaits. A handler decides on the current state, changes it, and gives slow work to
//!    `ctx.spawn`; the outcome arrives as an `on_…` call.
//! 2. Work is never canceled by dropping it: it is asked to stop, and its outcome still arrives.
//! 3. `record` equals the row. A change is decided on it, stored, and only then applied and
//!    answered: one at a time, in the order of arrival.
//! 4. Queued waiters are served before new arrivals.
//! 5. The actor stops in `on_ended`, when no program of the desktop is left and the row says that
//!    the session has ended; or in `leave_if_asked`, when the row holds the current state.
//! 6. An occupancy outlives a recovery: its holder is served all the while, but no new occupant can
//!    begin.

mod adopting;
mod changes;
mod closing;
mod control;
mod downloading;
mod driving;
mod egress;
mod egress_changes;
mod error;
mod filming;
mod films;
mod labels;
mod launching;
mod leaving;
mod messages;
mod profile;
mod recoveries;
mod recovery;
mod renewing;
mod rotating;
mod rotations;
mod sanitizing;
mod sanitizings;
mod settings;
mod storage;
mod timer;
mod turns;
mod vacating;
mod viewers;
mod viewing;
mod waiters;
mod waiting;
mod watching;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, Context, SpawnHandle};
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

pub use self::driving::Drive;
pub use self::egress::{ChangeEgress, CheckEgress, RefreshEgress};
use self::egress_changes::EgressChanges;
pub use self::egress_changes::{EgressChange, EgressPatch};
pub use self::error::SessionError;
pub use self::filming::{Record, StopRecording, Wrap};
use self::films::Filming;
pub use self::labels::ChangeLabels;
pub(in crate::actors) use self::launching::Launch;
pub use self::launching::STORAGE_STATE;
pub(in crate::actors) use self::leaving::Detach;
pub(in crate::actors) use self::messages::Evict;
pub use self::messages::{
    Begin, Beginner, Capture, Close, Grant, Heartbeat, Look, Release, Renew, Wait, Watch, Watching,
};
use self::profile::ProfileChanges;
pub use self::profile::{KeepProfile, StoreProfile};
use self::recoveries::Recoveries;
pub use self::rotating::{ReplaceVncPassword, Rotate};
use self::rotations::Rotating;
pub use self::rotations::{NewLease, RotateReport};
pub use self::sanitizing::{Sanitize, SanitizeOnRelease, SanitizeWhenLeft};
pub use self::sanitizings::SanitizeReport;
use self::sanitizings::Sanitizing;
pub use self::settings::ChangeSettings;
use self::settings::SettingsChanges;
pub use self::storage::OpenStorage;
use self::turns::QueuedChange;
pub use self::vacating::ENDS_VACANT;
use self::viewers::Watchers;
pub use self::viewers::{Activity, Connected, ViewerKind, Visit};
pub use self::viewing::{
    CedeControl, Follow, FollowCopies, Followed, Invite, Invited, Join, Joined, Kick,
    RevokeTickets, TakeControl, ViewerList, Viewers,
};
use self::waiters::Waiting;
use super::ask::{Handle, answered};
use super::downloads::Collecting;
use super::journal::Name;
use super::opens_envelopes;
use super::pool::Claim;
use super::refusals::{Refusals, Reporting};
use super::registration::Registration;
use super::views::{SessionView, WaiterView};
use super::world::World;
use crate::db::store::Ended;
use crate::domain::deadlines::Warnings;
use crate::domain::event::{EventKind, NewEvent};
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::{Generation, Occupancy, Queue};
use crate::domain::session::SessionRecord;
use crate::system::desktop::{Desktop, Following};
pub use crate::system::desktop::{Format, Picture, VncEndpoint};
pub use crate::system::film::{FilmError, RecordingMetadata};
use crate::system::storage_state::StorageState;
use crate::traces::{self, Trace};

/// The phase of a session's life cycle.
#[derive(Debug)]
enum Phase {
    /// Its browser waits for its first use; none of its programs runs.
    Dormant,
    /// Its desktop is being started.
    Starting { call_off: CancellationToken },
    /// Its browser can be driven.
    Running { desktop: Box<dyn Desktop> },
    /// Its desktop is being adopted from a former server, recovered, or sanitized. `desktop` is
    /// present while no such work is under way.
    Recovering { desktop: Option<Box<dyn Desktop>>, call_off: CancellationToken },
    /// Its desktop is being shut down, and then its end is stored.
    Closing { end: Ended, waiting: Vec<oneshot::Sender<Result<(), SessionError>>> },
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Dormant => "dormant",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Recovering { .. } => "recovering",
            Self::Closing { .. } => "closing",
        }
    }
}

/// The actor of one browser session.
#[derive(Debug)]
pub struct Session {
    world: Arc<World>,
    name: Name,
    span: Span,
    /// The trace of the request that makes the session or starts its browser.
    trace: Option<Trace>,
    phase: Phase,
    /// The session's row as it is stored.
    record: SessionRecord,
    /// Changes of the occupancy that wait to be decided, stored and answered.
    turns: VecDeque<QueuedChange>,
    /// True if a change is being stored.
    storing: bool,
    /// The lease of the latest begin whose write has an unknown outcome.
    doubtful: Option<LeaseHash>,
    /// The latest change of the occupancy whose write has an unknown outcome, with its events.
    unsure: Option<(Occupancy, Vec<NewEvent>)>,
    queue: Queue<Waiting>,
    /// The connected viewers, and the control of the browser.
    watchers: Watchers,
    /// A token that is canceled when the session begins to end: viewers are disconnected.
    ended: CancellationToken,
    /// The pictures that are taken while the session is occupied.
    following: Option<(Generation, Following)>,
    filming: Filming,
    /// The task that stores the browser's downloads.
    collecting: Option<Collecting>,
    egress: EgressChanges,
    sanitizing: Sanitizing,
    settings: SettingsChanges,
    /// Held while labels are stored, so that changes take effect in their order.
    labelling: Arc<tokio::sync::Mutex<()>>,
    rotating: Rotating,
    refusals: Refusals,
    /// The task that reports refused requests.
    reporting: Option<Reporting>,
    view: watch::Sender<SessionView>,
    timer: Option<SpawnHandle>,
    /// The warnings of its end that are due or were given.
    warnings: Warnings,
    recoveries: Recoveries,
    /// The task that waits for the repair of a single part.
    repairs: Option<SpawnHandle>,
    /// The storage state for the browser that is started first.
    storage_state: Option<Arc<StorageState>>,
    /// The desktop from the pool, until the session has made it its own.
    claim: Option<Claim>,
    /// The number of connections to DevTools.
    drivers: usize,
    profile: ProfileChanges,
    /// The desktop that is shut down when its profile is stored.
    shut_down_later: Option<Box<dyn Desktop>>,
    /// The askers that wait for the detachment; any entry means that it is requested.
    leaving: Vec<oneshot::Sender<()>>,
    registration: Registration,
}

/// The origin of a session's actor.
#[derive(Debug)]
pub(super) enum Origin {
    /// The row has just been stored. The browser starts with this storage state, if any, or is that of the pool.
    New(Option<Arc<StorageState>>, Option<Claim>),
    /// A former server or a former actor had the session.
    Former,
}

impl Session {
    /// A session whose row is stored, and the view that it will publish.
    pub(super) fn new(
        world: Arc<World>,
        record: SessionRecord,
        origin: Origin,
        registration: Registration,
    ) -> (Self, watch::Receiver<SessionView>) {
        let id = record.id;
        let call_off = CancellationToken::new();
        let is_former = matches!(origin, Origin::Former);
        let (phase, storage_state, claim) = match origin {
            Origin::New(state, claim) if record.is_dormant() => (Phase::Dormant, state, claim),
            Origin::New(state, claim) => (Phase::Starting { call_off }, state, claim),
            Origin::Former => (Phase::Recovering { desktop: None, call_off }, None, None),
        };
        let view = SessionView { version: 1, ..SessionView::of_stored(record) };
        let record = view.record.clone();
        let (view, published) = watch::channel(view);
        let session = Self {
            name: Name::from(id.to_string().as_str()),
            span: tracing::info_span!("session", session.id = %id),
            trace: traces::current(),
            phase,
            record,
            turns: VecDeque::new(),
            storing: false,
            doubtful: None,
            unsure: None,
            queue: Queue::new(world.settings.max_waiters),
            watchers: Watchers::default(),
            ended: CancellationToken::new(),
            following: None,
            filming: Filming::default(),
            collecting: None,
            egress: EgressChanges::default(),
            sanitizing: Sanitizing::default(),
            settings: SettingsChanges::default(),
            labelling: Arc::default(),
            rotating: Rotating::default(),
            refusals: Refusals::new(is_former),
            reporting: None,
            view,
            timer: None,
            warnings: if is_former { Warnings::inherited() } else { Warnings::default() },
            recoveries: Recoveries::default(),
            repairs: None,
            storage_state,
            claim,
            drivers: 0,
            profile: ProfileChanges::default(),
            shut_down_later: None,
            leaving: Vec::new(),
            registration,
            world,
        };
        let traffic = session.refusals.traffic();
        session.world.quotas.meter(session.record.organization, id, traffic.clone());
        session.world.views.add_traffic(id, traffic);
        (session, published)
    }

    fn enter(&mut self, phase: Phase) -> Phase {
        self.world.journal.phase(&self.name, phase.name());
        std::mem::replace(&mut self.phase, phase)
    }

    /// Makes an event of the session, to be stored with the change that it reports, and then sent.
    fn make_event(&self, kind: EventKind, data: Value) -> NewEvent {
        self.world.events.make(&self.record, kind, data)
    }

    /// Records an event of the session for its followers.
    fn record_event(&self, kind: EventKind, data: Value) {
        self.world.events.record(&self.record, kind, data);
    }

    /// Publishes the state of the session if it has changed.
    fn publish(&mut self) {
        let waiters = self.queue.places().map(|(place, waiter)| WaiterView {
            place,
            occupant: waiter.occupant.clone(),
            since: waiter.answer.since,
            until: waiter.until,
        });
        let waiters = waiters.collect();
        let mut record = self.record.clone();
        if let Phase::Closing { end, .. } = &self.phase {
            // Known now; stored when none of the session's programs is running any more.
            record.failure = end.failure.clone();
        }
        let view = self.view.borrow();
        let next = SessionView {
            version: view.version,
            record,
            waiters,
            viewers: self.watchers.watching(),
            drivers: self.drivers,
            control: self.watchers.control.clone(),
            recordings: self.filming.under_way(),
            closing: view.closing || matches!(self.phase, Phase::Closing { .. }),
            last_death: self.recoveries.last_death.clone(),
        };
        let is_news = *view != next;
        drop(view);
        if is_news {
            let version = next.version.saturating_add(1);
            self.view.send_replace(SessionView { version, ..next });
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(0); // Unbounded: a full mailbox would lose the order.
        self.world.journal.enter(&self.name, "session");
        self.world.journal.phase(&self.name, self.phase.name());
        match self.phase {
            Phase::Recovering { .. } => {
                self.note_former_beginner(ctx);
                self.adopt(ctx);
            }
            Phase::Dormant => self.set_timer(ctx),
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Closing { .. } => {
                self.launch(ctx);
            }
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.world.journal.leave(&self.name);
    }
}

opens_envelopes!(Session);

impl Handle<Look> for Session {
    fn handle(
        &mut self,
        Look: Look,
        _: &mut Context<Self>,
    ) -> super::ask::Answering<Result<SessionView, SessionError>> {
        answered(Ok(self.view.borrow().clone()))
    }
}
