//! One workflow run: it begins an occupancy of a session, executes its blocks there, and releases
//! the session.
//!
//! ```text
//! Preparing --session known--> Queued --begun--> Driving --executed--> Releasing --stored-->
//!     |                          |                                        ^        (stops)
//!     +---- canceled, refused ---+----------------------------------------+
//! ```
//!
//! # Invariants
//!
//! 1. Every ending passes through `finish`. It releases the session once every program and run that
//!    was started for this run has ended, or a time limit has passed.
//! 2. The first reason to end counts: a block that reports after a cancel changes nothing.
//! 3. The final status is stored after the release, so that a client that reads it may begin the
//!    session at once.
//! 4. The result of a block is stored before the next block begins.

mod assignment;
mod driving;
mod ending;
mod host;
mod messages;
mod node;
mod planned;
mod records;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, SpawnHandle};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Span, field};

pub use self::assignment::Assignment;
pub(in crate::actors) use self::ending::close_own;
use self::host::RunHost;
pub use self::messages::{AgentSays, Cancel, Continue, RunError};
use self::node::Node;
pub use self::planned::{Facts, Planned};
pub use self::work::{Finished, Work, WorkContext};
use super::ask::Address;
use super::journal::{About, Name};
use super::lanes::{Lane, LaneTurn};
use super::opens_envelopes;
use super::registration::Registration;
use super::registry::{Create, Created, RegistryError, Start};
use super::session::Grant;
use super::views::{RunView, SessionView};
use super::world::World;
use crate::domain::event::{EventKind, NewEvent};
use crate::domain::ids::{BlockRunId, SessionId};
use crate::domain::lease::LeaseToken;
use crate::domain::run::{BlockRecord, RunRecord, RunStatus};
use crate::domain::session::Failure;
use crate::traces::{self, Trace};
use crate::workflow::agent::AgentReport;

/// The phase of a run's life cycle.
#[derive(Debug)]
enum Phase {
    /// Its session is being created.
    Preparing,
    /// It waits for its turn in its lane, or for its session.
    Queued { called_off: CancellationToken },
    /// Its blocks are being executed.
    Driving { stop: CancellationToken, abort: AbortHandle },
    /// It releases its session, and then its end is stored.
    Releasing,
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Queued { .. } => "queued",
            Self::Driving { .. } => "driving",
            Self::Releasing => "releasing",
        }
    }
}

/// The final status of a run, and its failure.
#[derive(Debug, Clone)]
struct Ending {
    status: RunStatus,
    failure: Option<Failure>,
}

/// The occupancy of a run, with the token that proves it.
#[derive(Debug)]
struct Lease {
    token: LeaseToken,
    grant: Grant,
}

/// The actor of one workflow run.
#[derive(Debug)]
pub struct Run {
    world: Arc<World>,
    name: Name,
    span: Span,
    /// The trace of the request that started it.
    trace: Option<Trace>,
    registry: Arc<dyn Node>,
    phase: Phase,
    /// The run's row as it is stored.
    record: RunRecord,
    /// The rows of its blocks as they are stored.
    blocks: Vec<BlockRecord>,
    assignment: Assignment,
    lease: Option<Lease>,
    /// The reason of its end, once it is known.
    ending: Option<Ending>,
    /// The event of its end, while that is being stored.
    end_event: Option<NewEvent>,
    /// The host that its blocks call. It is quiet before anything is released.
    host: Option<Arc<RunHost>>,
    /// True if its own session has been asked to close.
    is_closing: bool,
    /// True if storing the end waits until `writing` is zero.
    end_waits: bool,
    /// The number of block writes under way; the end is stored after them.
    writing: usize,
    /// The askers that wait for its end.
    waiting: Vec<oneshot::Sender<RunView>>,
    /// The sender that reports that a person continues the paused run.
    paused: Option<oneshot::Sender<()>>,
    /// The block that an agent executes, and the channel for the agent's messages.
    agent: Option<(BlockRunId, mpsc::Sender<AgentReport>)>,
    heartbeat: Option<SpawnHandle>,
    /// Its turn in its lane, until it has ended.
    turn: Option<LaneTurn>,
    view: watch::Sender<RunView>,
    registration: Registration,
}

impl Run {
    /// A run whose row has just been stored, and the view that it will publish.
    pub(super) fn new(
        world: Arc<World>,
        record: RunRecord,
        assignment: Assignment,
        registry: Arc<dyn Node>,
        registration: Registration,
    ) -> (Self, watch::Receiver<RunView>) {
        let id = record.id;
        let view = RunView { version: 1, record: record.clone(), blocks: Vec::new() };
        let (view, published) = watch::channel(view);
        let run = Self {
            name: Name::from(id.to_string().as_str()),
            span: tracing::info_span!("run", run.id = %id, session.id = field::Empty),
            trace: traces::current(),
            registry,
            phase: Phase::Preparing,
            record,
            blocks: Vec::new(),
            assignment,
            lease: None,
            ending: None,
            end_event: None,
            host: None,
            is_closing: false,
            end_waits: false,
            writing: 0,
            waiting: Vec::new(),
            paused: None,
            agent: None,
            heartbeat: None,
            turn: None,
            view,
            registration,
            world,
        };
        (run, published)
    }

    fn enter(&mut self, phase: Phase) {
        self.world.journal.phase(&self.name, phase.name());
        self.phase = phase;
    }

    /// Publishes the state of the run if it has changed.
    fn publish(&self) {
        self.view.send_if_modified(|view| {
            let is_news = view.record != self.record || view.blocks != self.blocks;
            if is_news {
                view.version = view.version.saturating_add(1);
                view.record = self.record.clone();
                view.blocks = self.blocks.clone();
            }
            is_news
        });
    }

    /// Makes an event of the run, to be stored with the change that it reports, and then sent.
    fn make_event(&self, kind: EventKind, data: Value) -> NewEvent {
        self.world.events.make(&self.record, kind, data)
    }

    /// Records an event of the run, for followers of the run and of its session.
    fn record_event(&self, kind: EventKind, data: Value) {
        self.world.events.record(&self.record, kind, data);
    }

    /// The address of this run with itself as the user, for the execution of its blocks.
    fn address(&self, ctx: &Context<Self>) -> Address<Self> {
        let Self { record, name, .. } = self;
        let about = About {
            organization: Some(record.organization),
            session: record.session,
            run: Some(record.id),
        };
        let journal = Arc::clone(&self.world.journal);
        Address::new(ctx.address(), name.clone(), about, journal).used_by(name)
    }

    /// Waits until the runs before it in its lane have ended.
    fn line_up(&mut self, lane: Lane, ctx: &mut Context<Self>) {
        let called_off = CancellationToken::new();
        self.enter(Phase::Queued { called_off: called_off.clone() });
        let turn = lane.turn();
        let turn = async move {
            tokio::select! {
                biased;
                () = called_off.cancelled() => None,
                turn = turn => Some(turn),
            }
        };
        ctx.spawn(turn.into_actor(self).map(|turn, run, ctx| {
            // A run that was canceled has been ended already.
            if run.ending.is_none() && turn.is_some() {
                run.turn = turn;
                run.enter(Phase::Preparing);
                run.set_out(ctx);
            }
        }));
    }

    /// Queues for the run's session, borrows it, or makes one.
    fn set_out(&mut self, ctx: &mut Context<Self>) {
        match self.record.session {
            Some(session) => match self.assignment.lent {
                Some(lent) => self.borrow(session, lent, ctx),
                None => self.queue(session, ctx),
            },
            None => self.make_session(ctx),
        }
    }

    fn make_session(&mut self, ctx: &mut Context<Self>) {
        let spec = self.assignment.own_session.clone();
        let (organization, run) = (self.record.organization, Some(self.record.id));
        let made = self.registry.ask(Create {
            organization,
            spec,
            start: Start::Now,
            run,
            id: None,
            must_write: false,
            storage_state: None,
        });
        ctx.spawn(made.into_actor(self).map(|made, run, ctx| {
            run.on_session_made(made.unwrap_or_else(|cause| Err(cause.into())), ctx);
        }));
    }

    fn on_session_made(&mut self, made: Result<Created, RegistryError>, ctx: &mut Context<Self>) {
        match made {
            Ok(Created { id, .. }) => {
                self.record.session = Some(id);
                self.record.owns_session = true;
                self.publish(); // The registry closes it if this actor breaks.
                self.queue(id, ctx);
            }
            Err(cause) => {
                let message = format!("the session of the run could not be created: {cause}");
                self.end_now(failed("session_not_made", message), ctx);
            }
        }
    }

    /// The view of the session, while it lives.
    fn session_view(&self, id: SessionId) -> Option<watch::Receiver<SessionView>> {
        self.world.views.session(self.record.organization, id)
    }
}

/// An ending with the status `failed`, a code and a message.
fn failed(code: &str, message: String) -> Ending {
    Ending { status: RunStatus::Failed, failure: Some(Failure::new(code, message)) }
}

impl Actor for Run {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(0); // Unbounded: a full mailbox would lose the order.
        self.world.journal.enter(&self.name, "run");
        self.world.journal.phase(&self.name, self.phase.name());
        ctx.run_later(self.assignment.limit, Self::on_limit);
        match self.assignment.lane.take() {
            Some(lane) => self.line_up(lane, ctx),
            None => self.set_out(ctx),
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.world.journal.leave(&self.name);
    }
}

opens_envelopes!(Run);
