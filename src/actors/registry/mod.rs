//! The registry of everything that lives on this node: it maps sessions and runs to their actors.
//!
//! The registry creates sessions and runs, forwards messages to them, and is notified when one of
//! them has ended. It decides nothing about a session; the session's own actor does.

mod messages;
mod pools;
mod routing;
mod run_messages;
mod runs;
mod sessions;
mod wake;
mod waking;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ArbiterHandle, AsyncContext as _, Context};
use futures_util::future::join_all;
use tracing::info;

pub use self::messages::{
    Adopt, CloseAll, Create, Created, DetachAll, Drain, RegistryError, Route, RouteError, Start,
    Undrain,
};
pub(in crate::actors) use self::messages::{Gone, Resident};
pub use self::pools::{DeletePool, PutPool};
pub use self::run_messages::{
    CancelRun, ContinueRun, NewRun, RouteRun, RunAccepted, RunRouteError, StartRun,
};
pub use self::wake::{Wake, awake};
use super::ask::{Address, Answering, Handle, WeakAddress, answered};
use super::draining::Draining;
use super::journal::{About, Name};
use super::opens_envelopes;
use super::registration::Registration;
use super::run::{Cancel, Run};
use super::session::{Close, Detach, Session};
use super::world::World;
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::domain::session::SessionStatus;

/// The name of the registry in the journal.
const NAME: &str = "registry";

#[derive(Debug)]
struct Resides<A: Actor> {
    organization: OrganizationId,
    address: Address<A>,
}

/// The actor that knows the addresses of all others.
#[derive(Debug)]
pub struct Registry {
    world: Arc<World>,
    name: Name,
    /// The threads on which sessions and runs are started, in turn.
    arbiters: Vec<ArbiterHandle>,
    turn: usize,
    sessions: HashMap<SessionId, Resides<Session>>,
    runs: HashMap<RunId, Resides<Run>>,
    /// Sessions that are being stored and have no actor yet. They count against the limit already.
    sessions_coming: HashSet<SessionId>,
    /// The askers of sessions that are started for their first use.
    waking: HashMap<SessionId, Vec<waking::Asker>>,
    runs_coming: HashSet<RunId>,
    /// Sessions whose actor broke and whose next one is about to start. They still count against
    /// the limit, and keep their views and tickets.
    restarting: HashMap<SessionId, OrganizationId>,
    /// The number of broken actors of each session.
    broken: HashMap<SessionId, u32>,
    draining: Option<Draining>,
}

impl Registry {
    /// Starts the registry on the first of `arbiters`. Every other actor is reached through its
    /// address.
    ///
    /// # Panics
    ///
    /// Never: without an arbiter in the list, the current thread's own is used.
    pub fn start(world: Arc<World>, arbiters: Vec<ArbiterHandle>) -> Address<Self> {
        let journal = Arc::clone(&world.journal);
        let name = Name::from(NAME);
        let home = arbiters.first().cloned().unwrap_or_else(actix::Arbiter::current);
        let registry = Self {
            world,
            name: name.clone(),
            arbiters,
            turn: 0,
            sessions: HashMap::new(),
            runs: HashMap::new(),
            sessions_coming: HashSet::new(),
            waking: HashMap::new(),
            runs_coming: HashSet::new(),
            restarting: HashMap::new(),
            broken: HashMap::new(),
            draining: None,
        };
        let inner = Self::start_in_arbiter(&home, |_| registry);
        Address::new(inner, name, About::default(), journal)
    }

    /// The next arbiter in the rotation.
    fn next_arbiter(&mut self) -> ArbiterHandle {
        self.turn = self.turn.wrapping_add(1);
        let index = self.turn.checked_rem(self.arbiters.len()).unwrap_or(0);
        self.arbiters.get(index).cloned().unwrap_or_else(actix::Arbiter::current)
    }

    /// The address of this registry, on behalf of `user`.
    fn address(&self, user: &str, ctx: &Context<Self>) -> Address<Self> {
        let journal = Arc::clone(&self.world.journal);
        Address::new(ctx.address(), self.name.clone(), About::default(), journal).used_by(user)
    }

    /// The guard with which an actor notifies `registry` of its end.
    fn registration(registry: WeakAddress<Self>, resident: Resident) -> Registration {
        Registration::new(move |in_order| {
            if let Some(registry) = registry.upgrade() {
                registry.notify(Gone { resident, in_order });
            }
        })
    }

    /// Stops accepting new work, and notifies viewers. A stopping server stays so.
    fn drain(&mut self, within: Option<Duration>, stopping: bool) -> Draining {
        let now = self.world.clock.now();
        let before = self.draining;
        let draining = Draining {
            since: before.map_or(now, |draining| draining.since),
            deadline: within.map(|within| now + within),
            stopping: stopping || before.is_some_and(|draining| draining.stopping),
        };
        self.draining = Some(draining);
        self.show_phase();
        self.world.views.set_draining(self.draining);
        draining
    }

    fn show_phase(&self) {
        self.world
            .journal
            .phase(&self.name, if self.draining.is_some() { "draining" } else { "open" });
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(0); // Unbounded: a full mailbox would lose the order.
        self.world.journal.enter(&self.name, "registry");
        self.show_phase();
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.world.journal.leave(&self.name);
    }
}

opens_envelopes!(Registry);

impl Handle<Drain> for Registry {
    fn handle(
        &mut self,
        Drain { within, stopping }: Drain,
        _: &mut Context<Self>,
    ) -> Answering<Result<Draining, RegistryError>> {
        let draining = self.drain(within, stopping);
        let (sessions, runs) = (self.sessions.len(), self.runs.len());
        info!("draining: {sessions} sessions and {runs} runs may still finish");
        answered(Ok(draining))
    }
}

impl Handle<Undrain> for Registry {
    fn handle(
        &mut self,
        Undrain: Undrain,
        _: &mut Context<Self>,
    ) -> Answering<Result<(), RegistryError>> {
        if self.draining.is_some_and(|draining| draining.stopping) {
            return answered(Err(RegistryError::Draining));
        }
        self.draining = None;
        self.show_phase();
        self.world.views.set_draining(None);
        info!("draining has ended; new work is accepted again");
        answered(Ok(()))
    }
}

impl Registry {
    /// Cancels every run. Returns a future that resolves when they have ended, and all sessions.
    fn wind_up(&mut self) -> (impl Future<Output = ()> + use<>, Vec<Address<Session>>) {
        self.drain(None, true);
        let why = "the server is stopping".to_owned();
        let runs = self.runs.values().map(|run| run.address.ask(Cancel { why: why.clone() }));
        let runs = join_all(runs.collect::<Vec<_>>());
        let sessions = self.sessions.values().map(|session| session.address.clone()).collect();
        (async move { drop(runs.await) }, sessions)
    }
}

impl Handle<DetachAll> for Registry {
    fn handle(&mut self, DetachAll: DetachAll, _: &mut Context<Self>) -> Answering<()> {
        let (runs, sessions) = self.wind_up();
        Box::pin(async move {
            // Runs first: they release what they hold, and end the sessions they made.
            runs.await;
            join_all(sessions.iter().map(|session| session.ask(Detach))).await;
        })
    }
}

impl Handle<CloseAll> for Registry {
    fn handle(&mut self, CloseAll: CloseAll, _: &mut Context<Self>) -> Answering<()> {
        let (runs, sessions) = self.wind_up();
        Box::pin(async move {
            // Runs first: they record what they released.
            runs.await;
            let status = SessionStatus::Completed;
            join_all(sessions.iter().map(|session| session.ask(Close { status }))).await;
        })
    }
}
