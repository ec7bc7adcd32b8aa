//! Changes of the occupancy: decided on what is stored, stored, then answered.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::{Begin, Evict, Grant, Heartbeat, Phase, Release, Session, SessionError, Wait};
use crate::actors::ask::{Answering, Handle, Unanswered};
use crate::db::store::{Ended, StoreError};
use crate::domain::event::EventKind;
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::{
    Event, Generation, Held, Occupancy, Occupant, Refusal, RunnableType,
};
use crate::domain::session::SessionStatus;

/// A change that is wanted. When it takes effect is known only when its turn comes.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Begin { occupant: Occupant, lease: LeaseHash, ttl: Duration },
    Heartbeat { generation: Generation, lease: LeaseHash, ttl: Option<Duration> },
    Release { generation: Generation, lease: LeaseHash },
    Evict { occupant: Occupant },
    Lapse,
}

/// What a change resolves with: the occupancy as it is stored.
pub(super) type Changed = Result<Occupancy, SessionError>;

/// A change that waits to be decided, stored and answered.
#[derive(Debug)]
pub(super) struct Turn {
    pub change: Change,
    /// Whether a begin that finds the session occupied would like to wait.
    pub wait: Option<Wait>,
    pub answer: oneshot::Sender<Changed>,
}

impl Session {
    /// Resolves with the occupancy as stored after `change`.
    pub(super) fn change(
        &mut self,
        change: Change,
        wait: Option<Wait>,
        ctx: &mut Context<Self>,
    ) -> oneshot::Receiver<Changed> {
        let (answer, changed) = oneshot::channel();
        self.turns.push_back(Turn { change, wait, answer });
        self.next_turn(ctx);
        changed
    }

    pub(super) fn next_turn(&mut self, ctx: &mut Context<Self>) {
        while !self.storing {
            let next = self.turn_of_a_waiter().or_else(|| self.turns.pop_front());
            let Some(Turn { change, wait, answer }) = next else { return };
            match self.decide(&change) {
                Ok(next) if next != self.record.occupancy => {
                    self.store(change, next, answer, ctx);
                }
                Err(SessionError::Refused(Refusal::Occupied { .. }) | SessionError::Starting)
                    if wait.is_some() =>
                {
                    self.join_queue(change, wait, answer, ctx);
                }
                decided => {
                    let _ = answer.send(decided); // An asker that left hears nothing.
                }
            }
        }
    }

    fn decide(&self, change: &Change) -> Changed {
        match (&self.phase, change) {
            (Phase::Running { .. }, _) => {}
            // Who holds it is heard; nobody new begins on a broken desktop.
            (
                Phase::Recovering { .. },
                Change::Heartbeat { .. }
                | Change::Release { .. }
                | Change::Evict { .. }
                | Change::Lapse,
            ) => {}
            (Phase::Starting { .. } | Phase::Recovering { .. }, _) => {
                return Err(SessionError::Starting);
            }
            (Phase::Closing { .. }, _) => return Err(SessionError::Closing),
        }
        let now = self.world.clock.now();
        match self.event(change, now) {
            Some(event) => Ok(self.record.occupancy.after(event)?),
            None => Ok(self.record.occupancy.clone()),
        }
    }

    /// The event that `change` is at `now`; none when there is nothing left to change.
    fn event(&self, change: &Change, now: DateTime<Utc>) -> Option<Event> {
        let holder = self.record.occupancy.holder();
        Some(match change.clone() {
            Change::Begin { occupant, lease, ttl } => {
                Event::Begin { occupant, lease, now, expires_at: now + ttl }
            }
            Change::Heartbeat { generation, lease, ttl } => {
                let as_before = holder.map(|held| held.expires_at - held.heartbeat_at);
                let ttl = ttl.map_or_else(
                    || as_before.unwrap_or_default(),
                    |ttl| chrono::Duration::from_std(ttl).unwrap_or_default(),
                );
                Event::Heartbeat { generation, lease, now, expires_at: now + ttl }
            }
            Change::Release { generation, lease } => Event::Release { generation, lease },
            Change::Evict { occupant } => {
                let held = holder.filter(|held| held.occupant == occupant)?;
                Event::Release { generation: held.generation, lease: held.lease }
            }
            Change::Lapse => Event::Lapse { now },
        })
    }

    fn store(
        &mut self,
        change: Change,
        next: Occupancy,
        answer: oneshot::Sender<Changed>,
        ctx: &mut Context<Self>,
    ) {
        self.storing = true;
        let expected = self.record.occupancy.generation();
        let idle = self.idle_after(&next);
        let work = self.world.store.occupy(self.record.id, expected, next.clone(), idle);
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.storing = false;
            let changed = session.on_stored(outcome, next, idle, ctx);
            let lapsed = matches!(change, Change::Lapse) && changed.is_err();
            // Before the answer: who hears it and looks must find what it was told.
            session.publish();
            let unheard = answer.send(changed).is_err();
            // Nobody knows the secret of this lease: nobody could release it.
            if unheard && let Change::Begin { lease, .. } = change {
                session.give_back(lease);
            }
            session.next_turn(ctx);
            session.set_timer_after(lapsed, ctx);
            session.leave_if_told(ctx);
        }));
    }

    fn on_stored(
        &mut self,
        outcome: Result<(), StoreError>,
        next: Occupancy,
        idle: Option<DateTime<Utc>>,
        ctx: &mut Context<Self>,
    ) -> Changed {
        match outcome {
            Ok(()) => self.take_over(next, idle),
            Err(cause) => {
                match &cause {
                    // The row is right, whoever wrote it.
                    StoreError::Conflict { stored } => {
                        self.take_over(stored.clone(), self.idle_after(stored));
                    }
                    // Another process has ended this session.
                    StoreError::Final | StoreError::Missing => {
                        error!(parent: &self.span, "the row of {} is final", self.record.id);
                        let at = self.world.clock.now();
                        self.end(
                            Ended { status: SessionStatus::Completed, failure: None, at },
                            ctx,
                        );
                    }
                    StoreError::Unavailable(_) | StoreError::Rejected(_) => {}
                }
                return Err(SessionError::NotStored(cause));
            }
        }
        Ok(self.record.occupancy.clone())
    }

    /// When the session will have been vacant for too long, if `next` makes it vacant.
    fn idle_after(&self, next: &Occupancy) -> Option<DateTime<Utc>> {
        let vacated = self.record.occupancy.holder().is_some() && next.holder().is_none();
        if vacated { self.idle_from(self.world.clock.now()) } else { None }
    }

    fn take_over(&mut self, next: Occupancy, idle: Option<DateTime<Utc>>) {
        let now = self.world.clock.now();
        let (before, after) = (self.record.occupancy.holder(), next.holder());
        if let Some(held) = before
            && after.is_none_or(|next| next.occupant != held.occupant)
        {
            info!(parent: &self.span, "{} left {}", held.occupant, self.record.id);
            // Who had time left has given it back, or was evicted.
            let lapsed = held.expires_at <= now;
            let kind =
                if lapsed { EventKind::OccupancyLapsed } else { EventKind::OccupancyReleased };
            self.tell(kind, holding(held));
        }
        if let Some(held) = after
            && before.is_none_or(|before| before.generation != held.generation)
        {
            info!(parent: &self.span, "{} began on {}", held.occupant, self.record.id);
            self.tell(EventKind::OccupancyBegun, holding(held));
        }
        if idle.is_some() {
            self.record.deadlines.idle_expires_at = idle;
        }
        self.record.occupancy = next;
        self.record.modified_at = now;
        self.follow();
    }

    /// Releases what the present holder, whose lease this is, will never release itself.
    fn give_back(&mut self, lease: LeaseHash) {
        let Some(held) = self.record.occupancy.holder().filter(|held| held.lease == lease) else {
            return;
        };
        let change = Change::Release { generation: held.generation, lease };
        let (answer, _unheard) = oneshot::channel();
        self.turns.push_front(Turn { change, wait: None, answer });
    }

    fn grant(changed: Result<Changed, oneshot::error::RecvError>) -> Result<Grant, SessionError> {
        let occupancy = changed.map_err(|_gone| Unanswered::Gone)??;
        let held = occupancy.holder().ok_or(Unanswered::Gone)?;
        Ok(Grant { generation: held.generation, expires_at: held.expires_at })
    }
}

/// Who holds a session, for whoever follows it.
fn holding(held: &Held) -> Value {
    json!({
        "runnable_type": held.occupant.runnable_type,
        "runnable_id": held.occupant.runnable_id,
        "generation": held.generation,
        "expires_at": held.expires_at,
    })
}

impl Handle<Begin> for Session {
    fn handle(
        &mut self,
        Begin { occupant, lease, ttl, wait }: Begin,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Grant, SessionError>> {
        let change = Change::Begin { occupant, lease: lease.hash(), ttl };
        let changed = self.change(change, wait, ctx);
        Box::pin(async move { Self::grant(changed.await) })
    }
}

impl Handle<Heartbeat> for Session {
    fn handle(
        &mut self,
        Heartbeat { generation, lease, ttl, run: _ }: Heartbeat,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Grant, SessionError>> {
        let changed = self.change(Change::Heartbeat { generation, lease, ttl }, None, ctx);
        Box::pin(async move { Self::grant(changed.await) })
    }
}

impl Handle<Release> for Session {
    fn handle(
        &mut self,
        Release { generation, lease, run: _ }: Release,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let changed = self.change(Change::Release { generation, lease }, None, ctx);
        Box::pin(async move {
            changed.await.map_err(|_gone| Unanswered::Gone)??;
            Ok(())
        })
    }
}

impl Handle<Evict> for Session {
    fn handle(
        &mut self,
        Evict { occupant }: Evict,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let kind: RunnableType = occupant.runnable_type;
        debug_assert!(kind == RunnableType::WorkflowRun, "others release by their lease");
        let changed = self.change(Change::Evict { occupant }, None, ctx);
        Box::pin(async move {
            changed.await.map_err(|_gone| Unanswered::Gone)??;
            Ok(())
        })
    }
}
