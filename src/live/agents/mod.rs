//! Browsers that clients drive by calls, such as those of agents over MCP.
//!
//! A client that drives by calls has no connection that could hold its browser: between two calls nothing
//! arrives. It holds the session by a lease, and this server keeps the connection to the browser for as long as
//! the lease holds: one [`Agents`] entry for each occupancy. Calls of one occupancy follow one another, because
//! two actions at once on one page have no defined order.
//!
//! The entry is only a cache. It ends with the occupancy, the session, the credential or the browser, and the
//! next call connects again, after a restart of the server too. The references of former snapshots end with it.

mod asks;
mod gate;

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use serde_json::Map;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

pub use self::asks::{Answered, Asks};
use self::gate::Gate;
use super::devtools::{ConnectError, Lease, running};
use super::state::Live;
use crate::actors::quotas::QuotaPermit;
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::Drive;
use crate::actors::tickets::Ticket;
use crate::actors::views::SessionView;
use crate::domain::ids::SessionId;
use crate::domain::occupancy::Generation;
use crate::domain::session::SessionStatus;
use crate::service::keys::Revocation;
use crate::workflow::page::{Browser, PageError, Wants};

/// The time after which a lease is renewed by a call. Calls in quick succession renew it once.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// The connections to the browsers of clients that drive by calls.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    entries: Arc<DashMap<(SessionId, Generation), Entry>>,
}

/// The state of one occupancy between calls.
#[derive(Debug, Clone, Default)]
struct Entry {
    /// The turn of the call that drives now, with the connection.
    turn: Arc<Mutex<Option<Connected>>>,
    asks: Asks,
}

/// A connection to the browser of an occupancy.
#[derive(Debug)]
struct Connected {
    browser: Browser,
    renewed: Option<Instant>,
    _drives: (DropGuard, QuotaPermit),
}

/// The occupancy for which a client calls, which was checked.
#[derive(Debug, Clone)]
pub struct Occupancy {
    /// The session that is occupied.
    pub session: SessionId,
    /// The lease that the client holds.
    pub lease: Lease,
    /// The view of the session.
    pub view: watch::Receiver<SessionView>,
    /// The key of the client, or that its ticket was made with.
    pub key: Revocation,
    /// The ticket, where the client comes with one.
    pub ticket: Option<Ticket>,
}

impl Occupancy {
    /// True if the client still holds the session.
    pub fn is_held(&self) -> bool {
        let view = self.view.borrow();
        !is_over(&view, &self.lease) && !self.key.is_revoked()
    }

    /// Resolves when the client does not hold the session any more: its lease, its credential, the
    /// session or the server ends.
    async fn over(mut self, live: &Live) {
        let ticket = async {
            match &self.ticket {
                Some(ticket) => ticket.ended(live.world.clock).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.view.wait_for(|view| is_over(view, &self.lease)) => {} // A closed channel is the end too.
            () = self.key.revoked() => {}
            _has_expired = ticket => {}
            () = live.closing.cancelled() => {}
        }
    }
}

fn is_over(view: &SessionView, lease: &Lease) -> bool {
    view.closing || view.record.status.is_final() || lease.check(view).is_err()
}

/// The reason why a call does not drive.
#[derive(Debug, thiserror::Error)]
pub enum TurnError<E: std::error::Error> {
    /// Another call of the occupancy took all of the time.
    #[error("another call drives the browser")]
    Busy,
    /// The browser did not answer in time.
    #[error("the browser does not answer")]
    Late,
    /// The occupancy ended meanwhile.
    #[error("the occupancy has ended")]
    Over,
    /// No further connection is permitted.
    #[error(transparent)]
    Refused(E),
    /// The browser cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// The turn of one call: no other call of the same occupancy drives meanwhile.
#[derive(Debug)]
pub struct CallTurn {
    connected: OwnedMutexGuard<Option<Connected>>,
    occupancy: Occupancy,
    live: Arc<Live>,
}

impl Agents {
    /// Waits for the turn of a call, and connects to the browser if no former call has. `place` takes a place in
    /// the quota of connections.
    ///
    /// # Errors
    ///
    /// [`TurnError`] has the reasons why a call does not drive.
    pub async fn turn<E: std::error::Error>(
        &self,
        live: &Arc<Live>,
        occupancy: Occupancy,
        deadline: Instant,
        place: impl FnOnce() -> Result<QuotaPermit, E>,
    ) -> Result<CallTurn, TurnError<E>> {
        let entry = self.entry(live, &occupancy);
        let turn = timeout_at(deadline, entry.turn.lock_owned()).await;
        let mut connected = turn.map_err(|_elapsed| TurnError::Busy)?;
        if !occupancy.is_held() {
            return Err(TurnError::Over); // It ended while the call waited.
        }
        if connected.as_ref().is_none_or(|it| it.browser.is_disconnected()) {
            *connected = None; // Frees its place first.
            let place = place().map_err(TurnError::Refused)?;
            let made = timeout_at(deadline, connect(live, &occupancy, place)).await;
            *connected = Some(made.map_err(|_elapsed| TurnError::Late)??);
        }
        Ok(CallTurn { connected, occupancy, live: Arc::clone(live) })
    }

    /// Returns the requests to people that were made for this occupancy.
    pub fn asks(&self, live: &Arc<Live>, occupancy: &Occupancy) -> Asks {
        self.entry(live, occupancy).asks
    }

    /// Returns the entry of an occupancy. A new one is removed when the occupancy ends.
    fn entry(&self, live: &Arc<Live>, occupancy: &Occupancy) -> Entry {
        let name = (occupancy.session, occupancy.lease.generation);
        if let Some(known) = self.entries.get(&name) {
            return known.clone();
        }
        let mut is_new = false;
        let entry = self.entries.entry(name).or_insert_with(|| {
            is_new = true;
            Entry::default()
        });
        let entry = entry.clone();
        if is_new {
            let (entries, occupancy) = (Arc::clone(&self.entries), occupancy.clone());
            let end = Arc::clone(live);
            live.world.runtime.spawn(async move {
                occupancy.over(&end).await;
                entries.remove(&name);
            });
        }
        entry
    }
}

async fn connect(
    live: &Arc<Live>,
    occupancy: &Occupancy,
    place: QuotaPermit,
) -> Result<Connected, ConnectError> {
    let Occupancy { session, view, .. } = occupancy;
    let (session, mut view) = (*session, view.clone());
    let organization = view.borrow().record.organization;
    let desktop = running(&mut view).await?;
    let drive = Route { organization, session, message: Drive };
    let driving = live.registry.ask(drive).await.map_err(RouteError::from)??;
    let dialed = live.world.browsers.dial(&desktop).await;
    let unreachable = |cause: String| ConnectError::Unreachable(std::io::Error::other(cause));
    let devtools = dialed.map_err(unreachable)?;
    let gate = Arc::new(Gate::new(devtools, view, Arc::clone(&live.core)));
    let wants = Wants { har: false, console: false, recent: true };
    let browser = Browser::attach(gate, wants, Map::new()).await;
    let browser = browser.map_err(|cause| unreachable(cause.to_string()))?;
    Ok(Connected { browser, renewed: None, _drives: (driving, place) })
}

impl CallTurn {
    /// Returns the browser that the call drives.
    ///
    /// # Errors
    ///
    /// [`PageError::Disconnected`] if the connection has ended.
    pub fn browser(&self) -> Result<&Browser, PageError> {
        self.connected.as_ref().map(|it| &it.browser).ok_or(PageError::Disconnected)
    }

    /// True if the lease has to be renewed now, for an occupancy that lasts this long without a call.
    pub fn is_due(&self, idle: Duration) -> bool {
        let renewed = self.connected.as_ref().and_then(|it| it.renewed);
        renewed.is_none_or(|at| at.elapsed() >= RENEW_EVERY.min(idle / 3))
    }

    /// Notes that the lease was renewed.
    pub fn renewed(&mut self) {
        if let Some(connected) = self.connected.as_mut() {
            connected.renewed = Some(Instant::now());
        }
    }

    /// Resolves when the client does not hold the session any more.
    pub async fn over(&self) {
        self.occupancy.clone().over(&self.live).await;
    }

    /// Returns the label of the person who has control, if calls do nothing to the page meanwhile.
    pub fn held_by(&self) -> Option<String> {
        gate::person(&self.occupancy.view.borrow(), &self.live.core)
    }

    /// True if the browser was restarted, so that its former pages are gone.
    pub fn is_restarting(&self) -> bool {
        self.occupancy.view.borrow().record.status == SessionStatus::Retry
    }
}
