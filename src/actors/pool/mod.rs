//! Desktops that run before a session asks for one, so that the session has its browser at once.
//!
//! ```text
//! launch --> waits --claimed--> equipped: the session's network, settings, state, page --> its desktop
//!              |
//!              +--> too old, dead, in the way of a session --> shut down
//! ```
//!
//! A desktop is made for one session: its id, user, directories and control group are those of the session that
//! will claim it, which only adds an organization. So nothing is shared between sessions, and nothing is used
//! twice. A desktop of which only its id was used is shut down.
//!
//! [`keep_filled`] starts desktops, one at a time and while no session starts. The registry [claims](Pool::claim)
//! one; the session [equips](Claim::equip) it. The state is behind one lock that is held for moments only.
//!
//! The desktops of one shape are a named pool. The number that it keeps ready follows the demand between two bounds,
//! which the settings or the [API](Pool::put) give.

mod changes;
mod claim;
mod demand;
mod filling;
mod kept;
mod named;
mod settings;
mod shape;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

pub use self::changes::PoolError;
pub use self::claim::Claim;
use self::demand::Rate;
pub use self::filling::{adopt, keep_filled};
pub use self::kept::KeptPools;
use self::kept::OwnPools;
use self::named::Named;
pub use self::named::{Figures, Source};
pub use self::settings::{Settings, ShapeSettings};
pub use self::shape::Cold;
use self::shape::{Shape, shape_for};
pub use self::status::{PoolStatus, ShapeStatus, Spread};
use super::clock::Clock;
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, SessionSpec};
use crate::system::desktop::Desktop;

/// The time for which nothing is started after desktops had to make room for a session.
const AFTER_PRESSURE: TimeDelta = TimeDelta::seconds(30);

/// The processor time that a session gets for itself after it took a desktop, if that is the only one missing and
/// another is ready. Its client connects and opens the first page then, and a start takes all that a small machine has.
const REST: TimeDelta = TimeDelta::seconds(2);

/// The desktops of a server that wait for a session.
#[derive(Debug)]
pub struct Pool {
    /// The pools of the settings.
    configured: BTreeMap<String, ShapeSettings>,
    /// The file with the pools of the API.
    kept: KeptPools,
    /// Held while the pools of the API are changed.
    changing: tokio::sync::Mutex<()>,
    /// The digest of all settings that a running desktop keeps, see [`Mark`](shape::Mark).
    settings: String,
    max_age: TimeDelta,
    /// The time without demand after which the number of desktops that are kept ready falls by one.
    shrink: TimeDelta,
    /// The most starts within a minute; 0 for no limit.
    starts_per_minute: usize,
    /// The time after which the one desktop that is missing is replaced, while another one is ready.
    rest: TimeDelta,
    clock: Clock,
    runtime: Handle,
    state: Mutex<State>,
    /// Notified when another desktop may be needed, or may have room.
    changed: Notify,
    /// The desktops that are being shut down.
    ending: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    /// The pools of the API, as stored.
    own: OwnPools,
    /// The pools in force.
    pools: Vec<Named>,
    /// The latest starts, for the limit on their rate.
    rate: Rate,
    /// The desktops that wait, the oldest first.
    waiting: Vec<Waiting>,
    starting: Option<Starting>,
    /// The sessions whose desktops are being shut down.
    ending: HashSet<SessionId>,
    /// No desktop is started before this time.
    paused_until: Option<DateTime<Utc>>,
    /// The last desktop that is missing of a shape is not started before this time, if another is ready.
    rests_until: Option<DateTime<Utc>>,
    failing: Vec<Failing>,
    /// True once the server stops: nothing waits any more.
    closed: bool,
    counts: Counts,
    last_failure: Option<Failure>,
}

/// A desktop that waits.
#[derive(Debug)]
struct Waiting {
    session: SessionId,
    shape: Shape,
    desktop: Box<dyn Desktop>,
    since: DateTime<Utc>,
    /// Ends the task that follows the desktop.
    _followed: DropGuard,
}

/// A desktop that is being started.
#[derive(Debug, Clone)]
struct Starting {
    session: SessionId,
    shape: Shape,
    call_off: CancellationToken,
    /// Canceled when nothing of it runs, or when it waits.
    over: CancellationToken,
}

/// A shape whose desktops do not start.
#[derive(Debug)]
struct Failing {
    shape: Shape,
    /// The number of failures in succession.
    times: i32,
    /// The time of the next attempt.
    until: DateTime<Utc>,
}

/// The numbers of events since the start of the server.
#[derive(Debug, Clone, Default)]
struct Counts {
    /// Sessions that got a running desktop.
    warm: u64,
    /// Sessions that did not, by the reason.
    cold: BTreeMap<Cold, u64>,
    /// Desktops that were started.
    started: u64,
    /// Desktops that were taken over from a former server.
    adopted: u64,
    /// Starts of desktops that failed.
    failed: u64,
    /// Desktops that ended by themselves.
    died: u64,
    /// Desktops that became too old.
    aged: u64,
    /// Desktops that made room for a session.
    yielded: u64,
}

impl Pool {
    /// A pool without desktops, which [`keep_filled`] fills. `digest` is that of all other settings that a running
    /// desktop keeps. The pools that the API has made are read from `kept`. Desktops are shut down on `runtime`.
    pub fn new(
        settings: &Settings,
        kept: KeptPools,
        digest: String,
        clock: Clock,
        runtime: Handle,
    ) -> Arc<Self> {
        let (configured, own) = (named::of_settings(settings), kept.read());
        let (pools, left_out) = named::merged(&configured, &own);
        for name in left_out {
            warn!(
                "the pool `{name}` of the API is left out: the settings have one of the same size and executable"
            );
        }
        let time = |time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Self {
            configured,
            kept,
            changing: tokio::sync::Mutex::default(),
            settings: digest,
            max_age: time(settings.max_age()),
            shrink: time(settings.shrink()),
            starts_per_minute: settings.starts_per_minute,
            rest: REST / i32::try_from(cores).unwrap_or(i32::MAX),
            clock,
            runtime,
            state: Mutex::new(State { own, pools, ..State::default() }),
            changed: Notify::new(),
            ending: TaskTracker::new(),
        })
    }

    /// True if desktops are kept ready at all.
    pub fn is_used(&self) -> bool {
        self.state.lock().pools.iter().any(Named::is_used)
    }

    /// Takes the desktop that has waited longest for a session as `spec` asks for. `is_chosen` is true if the
    /// session has an id already, which no running desktop can get.
    pub fn claim(self: &Arc<Self>, spec: &SessionSpec, is_chosen: bool) -> Option<Claim> {
        if !self.is_used() {
            return None;
        }
        let fits = match shape_for(spec, |shape| self.state.lock().keeps(shape)) {
            Ok(_) if is_chosen => Err(Cold::ChosenId),
            fits => fits,
        };
        let claimed = fits.and_then(|shape| self.take(&shape, spec));
        if let Err(cold) = &claimed {
            self.count_cold(*cold);
        }
        self.changed.notify_one();
        claimed.ok().map(|waiting| Claim::new(waiting, Arc::clone(self)))
    }

    fn take(&self, shape: &Shape, spec: &SessionSpec) -> Result<Waiting, Cold> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let at = state.waiting.iter().position(|waiting| waiting.shape == *shape);
        let Some(waiting) = at.and_then(|at| state.waiting.get(at)) else {
            if let Some(pool) = state.pool_of(shape) {
                pool.figures.missed.add(1);
                pool.demand.on_miss(pool.bounds, self.shrink, now);
            }
            return Err(Cold::Empty);
        };
        if spec.proxy.is_some() && waiting.desktop.egress().is_none() {
            return Err(Cold::Proxy);
        }
        // Not prolonged by further sessions. A steady stream of them does not empty the pool either, because only the
        // last desktop that is missing waits.
        if state.rests_until.is_none_or(|until| until <= now) {
            state.rests_until = Some(now + self.rest);
        }
        Ok(state.waiting.remove(at.unwrap_or_default()))
    }

    fn count_cold(&self, cold: Cold) {
        let mut state = self.state.lock();
        let count = state.counts.cold.entry(cold).or_default();
        *count = count.saturating_add(1);
    }

    /// Makes a place for a session: ends the desktop that has waited longest. If none waits, the one that is
    /// being started is called off.
    pub fn yield_one(self: &Arc<Self>) {
        let oldest = {
            let mut state = self.state.lock();
            let oldest = (!state.waiting.is_empty()).then(|| state.waiting.remove(0));
            match (&oldest, &state.starting) {
                (Some(_), _) => state.counts.yielded += 1,
                (None, Some(starting)) => starting.call_off.cancel(),
                (None, None) => {}
            }
            oldest
        };
        if let Some(oldest) = oldest {
            self.end(oldest);
        }
    }

    /// Ends all desktops that wait or are being started, because a session needs the memory that they take; none is
    /// started for a while. Resolves when they have ended, and those that were ended before.
    pub async fn yield_all(self: &Arc<Self>) {
        let (waiting, starting) = {
            let mut state = self.state.lock();
            state.paused_until = Some(self.clock.now() + AFTER_PRESSURE);
            let waiting = std::mem::take(&mut state.waiting);
            state.counts.yielded += u64::try_from(waiting.len()).unwrap_or_default();
            (waiting, state.starting.clone())
        };
        if !waiting.is_empty() {
            info!("{} desktops of the pool make room for a session", waiting.len());
        }
        waiting.into_iter().for_each(|waiting| self.end(waiting));
        if let Some(Starting { call_off, over, .. }) = starting {
            call_off.cancel();
            over.cancelled().await;
        }
        self.ended().await;
    }

    /// Looks again for what is missing: a session has ended, and its place is free.
    pub fn refill(&self) {
        self.changed.notify_one();
    }

    /// The number of desktops that wait or are being started.
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + usize::from(state.starting.is_some())
    }

    /// True if no desktop waits or is being started.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sessions whose desktops wait, are being started or ended, each with true if it waits.
    pub fn sessions(&self) -> Vec<(SessionId, bool)> {
        let state = self.state.lock();
        let waiting = state.waiting.iter().map(|waiting| (waiting.session, true));
        let starting = state.starting.iter().map(|starting| (starting.session, false));
        let ending = state.ending.iter().map(|session| (*session, false));
        waiting.chain(starting).chain(ending).collect()
    }

    /// Ends the pool for good: shuts down what waits. Resolves when nothing of it runs.
    pub async fn close(self: &Arc<Self>) {
        self.closed().into_iter().for_each(|waiting| self.end(waiting));
        self.ended().await;
    }

    /// Ends the pool of this server, and leaves what waits to the next one. Resolves when nothing else of it runs.
    pub async fn detach(&self) {
        drop(self.closed()); // A desktop that is dropped runs on.
        self.ended().await;
    }

    fn closed(&self) -> Vec<Waiting> {
        let mut state = self.state.lock();
        state.closed = true;
        std::mem::take(&mut state.waiting)
    }

    /// Resolves when no desktop is being shut down.
    async fn ended(&self) {
        self.ending.close();
        self.ending.wait().await;
        self.ending.reopen();
    }

    /// Shuts down a desktop that no session has used.
    fn end(self: &Arc<Self>, Waiting { session, desktop, .. }: Waiting) {
        self.state.lock().ending.insert(session);
        let pool = Arc::clone(self);
        let work = async move {
            for what in desktop.shut_down().await {
                error!(session.id = %session, "left behind by a desktop of the pool, {session}: {what}");
            }
            pool.state.lock().ending.remove(&session);
            pool.changed.notify_one();
        };
        drop(self.ending.spawn_on(work, &self.runtime));
    }

    /// Adds a desktop that runs. One that comes too late is shut down.
    fn add(
        self: &Arc<Self>,
        session: SessionId,
        shape: Shape,
        desktop: Box<dyn Desktop>,
        since: DateTime<Utc>,
    ) {
        let over = CancellationToken::new();
        let death = desktop.death();
        let waiting =
            Waiting { session, shape, desktop, since, _followed: over.clone().drop_guard() };
        let late = {
            let mut state = self.state.lock();
            if state.closed {
                Some(waiting)
            } else {
                state.waiting.push(waiting);
                state.waiting.sort_by_key(|waiting| waiting.since);
                None
            }
        };
        if let Some(late) = late {
            return self.end(late);
        }
        let pool = Arc::downgrade(self);
        self.runtime.spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                death = death => {
                    if let Some(pool) = pool.upgrade() {
                        pool.on_death(session, death.failure);
                    }
                }
            }
        });
    }

    fn on_death(self: &Arc<Self>, session: SessionId, failure: Failure) {
        let dead = {
            let mut state = self.state.lock();
            let at = state.waiting.iter().position(|waiting| waiting.session == session);
            let dead = at.map(|at| state.waiting.remove(at));
            if dead.is_some() {
                state.counts.died += 1;
                state.last_failure = Some(failure.clone());
            }
            dead
        };
        let Some(dead) = dead else { return };
        warn!(code = failure.code, "a desktop of the pool has ended: {}", failure.message);
        self.end(dead);
    }

    /// Ends the desktops that have waited for too long, those of which there are too many in their shape, and those
    /// whose places `free` does not include.
    fn retire(self: &Arc<Self>, free: usize) {
        let now = self.clock.now();
        let oldest = now - self.max_age;
        let retired = {
            let mut state = self.state.lock();
            let (old, mut young): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.waiting).into_iter().partition(|it| it.since <= oldest);
            state.counts.aged += u64::try_from(old.len()).unwrap_or_default();
            let (of_pools, mut surplus): (Vec<_>, Vec<_>) =
                young.into_iter().partition(|it| state.keeps(&it.shape));
            young = of_pools;
            for pool in &state.pools {
                let is_one = |it: &Waiting| it.shape == pool.shape;
                let wanted = pool.demand.wanted(pool.bounds, self.shrink, now);
                while young.iter().filter(|it| is_one(it)).count() > wanted {
                    let newest = young.iter().rposition(is_one).unwrap_or_default();
                    surplus.push(young.remove(newest));
                }
            }
            while young.len() > free {
                surplus.push(young.remove(0));
                state.counts.yielded += 1;
            }
            state.waiting = young;
            old.into_iter().chain(surplus)
        };
        retired.for_each(|waiting| self.end(waiting));
    }

    /// The next time at which the pool may change by itself: a desktop becomes too old, a pause ends, another start
    /// is allowed, or fewer desktops are wanted.
    fn next_change(&self) -> Option<DateTime<Utc>> {
        let now = self.clock.now();
        let state = self.state.lock();
        let ages = state.waiting.iter().map(|it| it.since + self.max_age);
        let pauses = state.failing.iter().map(|failing| failing.until).chain(state.paused_until);
        let falls = state.pools.iter();
        let falls = falls.filter_map(|pool| pool.demand.falls_at(pool.bounds, self.shrink, now));
        let rate = state.rate.allows_at(self.starts_per_minute, now);
        let pauses = pauses.filter(|until| *until > now);
        // Also one that has just passed: `wanted` may have seen it in force.
        ages.chain(pauses).chain(state.rests_until).chain(falls).chain(rate).min()
    }

    /// The shape of which the smallest part is ready; none while nothing may be started.
    fn wanted(&self) -> Option<Shape> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.rests_until = state.rests_until.filter(|until| *until > now);
        let is_paused = state.paused_until.is_some_and(|until| until > now);
        if state.closed || is_paused || state.rate.allows_at(self.starts_per_minute, now).is_some()
        {
            return None;
        }
        let waits = |shape: &Shape| {
            state.failing.iter().any(|failing| failing.shape == *shape && failing.until > now)
        };
        let rests = state.rests_until.is_some();
        let missing = state.pools.iter().filter_map(|pool| {
            let wanted = pool.demand.wanted(pool.bounds, self.shrink, now);
            let ready = state.ready(&pool.shape);
            if rests && ready > 0 && ready + 1 >= wanted {
                return None;
            }
            // In thousandths, because the numbers are small.
            (ready < wanted && !waits(&pool.shape)).then(|| (ready * 1_000 / wanted, &pool.shape))
        });
        missing.min_by_key(|(part, _)| *part).map(|(_, shape)| shape.clone())
    }
}

impl State {
    /// True if desktops of this shape are kept ready.
    fn keeps(&self, shape: &Shape) -> bool {
        self.pools.iter().any(|pool| pool.is_used() && pool.shape == *shape)
    }

    fn pool_of(&mut self, shape: &Shape) -> Option<&mut Named> {
        self.pools.iter_mut().find(|pool| pool.shape == *shape)
    }

    /// The number of desktops of a shape that wait.
    fn ready(&self, shape: &Shape) -> usize {
        self.waiting.iter().filter(|it| it.shape == *shape).count()
    }

    /// The figures of the pool of a shape, if it has not ended.
    fn figures(&mut self, shape: &Shape) -> Option<Arc<Figures>> {
        self.pool_of(shape).map(|pool| Arc::clone(&pool.figures))
    }
}
