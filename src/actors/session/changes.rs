//! Changes of the occupancy: each is decided on the stored state, stored, and then answered.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::turns::{Change, Changed, QueuedChange};
use super::{
    Begin, Beginner, Evict, Grant, Heartbeat, Phase, Release, Session, SessionError, Wait,
};
use crate::actors::ask::{Answering, Handle, Unanswered, audit_draft, receipt};
use crate::actors::journal::Draft;
use crate::actors::receipt::Receipt;
use crate::db::store::{Ended, Occupied, StoreError};
use crate::domain::event::{EventKind, NewEvent};
use crate::domain::lease::{LeaseHash, TakenLease};
use crate::domain::occupancy::{Event, Generation, Held, Occupancy, Refusal, RunnableType};
use crate::domain::session::{SessionRecord, SessionStatus};
use crate::traces;

/// The delay before an occupancy that could not be taken back is tried again.
const TAKE_BACK_AGAIN: Duration = Duration::from_secs(1);

impl Session {
    /// Resolves with the occupancy as stored after `change`.
    pub(super) fn change(
        &mut self,
        change: Change,
        wait: Option<Wait>,
        ctx: &mut Context<Self>,
    ) -> oneshot::Receiver<Changed> {
        let (answer, changed) = oneshot::channel();
        // Only a begin hands something out; every other change is safe to repeat.
        let is_begin = matches!(change, Change::Begin { .. });
        let receipt = if is_begin { receipt() } else { Receipt::default() };
        let trace = traces::current();
        let audit = audit_draft();
        self.turns.push_back(QueuedChange { change, wait, answer, receipt, trace, audit });
        self.next_turn(ctx);
        changed
    }

    pub(super) fn next_turn(&mut self, ctx: &mut Context<Self>) {
        while !self.storing {
            self.sanitize_if_due(ctx);
            self.rotate_if_due(ctx);
            if self.storing {
                return;
            }
            let next = self.turn_of_a_waiter().or_else(|| self.turns.pop_front());
            let Some(turn) = next else { return };
            if turn.receipt.is_unheard() {
                continue; // The caller has left.
            }
            match self.decide(&turn.change) {
                Ok(next) if next != self.record.occupancy || turn.change == Change::Confirm => {
                    self.store(turn, next, ctx);
                }
                Err(SessionError::Refused(Refusal::Occupied { .. }) | SessionError::Starting)
                    if turn.wait.is_some() =>
                {
                    self.join_queue(turn, ctx);
                }
                decided => {
                    let _ = turn.answer.send(decided); // The caller may have left.
                }
            }
        }
    }

    fn decide(&self, change: &Change) -> Changed {
        match (&self.phase, change) {
            (Phase::Running { .. }, _) => {}
            // The holder is still served, but no new occupant begins on a broken desktop.
            (
                Phase::Recovering { .. },
                Change::Heartbeat { .. }
                | Change::Release { .. }
                | Change::TakeBack { .. }
                | Change::Evict { .. }
                | Change::Lapse
                | Change::Confirm,
            ) => {}
            (Phase::Dormant | Phase::Starting { .. } | Phase::Recovering { .. }, _) => {
                return Err(SessionError::Starting);
            }
            (Phase::Closing { .. }, _) => return Err(SessionError::Closing),
        }
        let now = self.world.clock.now();
        if let Change::Begin { by, .. } = change {
            if let Beginner::Ticket(ticket) = by
                && self.world.views.tickets.get(*ticket, now).is_none()
            {
                return Err(SessionError::TicketEnded);
            }
            if self.lapses_first() {
                return Err(SessionError::Starting);
            }
        }
        match self.event(change, now) {
            Some(event) => Ok(self.record.occupancy.after(event)?),
            None => Ok(self.record.occupancy.clone()),
        }
    }

    /// The event that `change` amounts to at `now`; `None` when nothing is left to change.
    fn event(&self, change: &Change, now: DateTime<Utc>) -> Option<Event> {
        let holder = self.record.occupancy.holder();
        Some(match change.clone() {
            Change::Begin { occupant, lease, ttl, by: _ } => {
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
            Change::TakeBack { generation, lease } => {
                holder.filter(|held| held.generation == generation && held.lease == lease)?;
                Event::Release { generation, lease }
            }
            Change::Evict { occupant } => {
                let held = holder.filter(|held| held.occupant == occupant)?;
                Event::Release { generation: held.generation, lease: held.lease }
            }
            Change::Lapse => Event::Lapse { now },
            Change::Confirm => return None,
        })
    }

    fn store(&mut self, turn: QueuedChange, next: Occupancy, ctx: &mut Context<Self>) {
        self.storing = true;
        if let Change::Begin { lease, by: Beginner::Ticket(ticket), .. } = &turn.change {
            self.world.views.tickets.note_lease(*ticket, *lease);
        }
        let before = self.record.occupancy.clone();
        let idle = self.idle_after(&next);
        let events = self.events_until(&next);
        let stored = Occupied {
            idle,
            events: events.clone(),
            taken: self.taken_by(&turn.change),
            audit: turn.audit.as_ref().map(Draft::event),
            ..Occupied::new(before.generation(), next.clone())
        };
        let id = self.record.id;
        let work = traces::call_within(turn.trace.clone(), || self.world.store.occupy(id, stored));
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.storing = false;
            let fault = outcome.is_err();
            if let (Ok(()), Some(draft)) = (&outcome, &turn.audit) {
                draft.stored();
            }
            let changed = session.on_stored(outcome, next.clone(), idle, events, ctx);
            // Before the answer: an asker that receives it and reads the view must find the same
            // state.
            session.publish();
            let lapsed = matches!(turn.change, Change::Lapse) && fault;
            session.after_store(turn, &before, next, changed, ctx);
            session.end_if_left(ctx);
            session.next_turn(ctx);
            session.set_timer_after(lapsed, ctx);
            session.leave_if_asked(ctx);
        }));
    }

    /// The lease of a client that begins, with its credential.
    fn taken_by(&self, change: &Change) -> Option<TakenLease> {
        let Change::Begin { lease, by, .. } = change else { return None };
        let (key, ends_at) = match by {
            Beginner::Run => return None,
            Beginner::Key(key) => (*key, None),
            Beginner::Ticket(ticket) => {
                let now = self.world.clock.now();
                let ticket = self.world.views.tickets.get(*ticket, now)?;
                (ticket.key, Some(ticket.expires_at))
            }
        };
        let SessionRecord { id: session, organization, .. } = self.record;
        Some(TakenLease { session, organization, lease: *lease, key, ends_at })
    }

    /// Answers a change after its write, and takes back an occupancy whose grant was not received.
    fn after_store(
        &mut self,
        turn: QueuedChange,
        before: &Occupancy,
        next: Occupancy,
        changed: Changed,
        ctx: &mut Context<Self>,
    ) {
        if let Err(SessionError::NotStored(StoreError::Conflict { stored })) = &changed
            && let Some(held) = stored.holder()
            && self.doubtful.take() == Some(held.lease)
        {
            // That begin was stored after all, although its asker received an error.
            let (generation, lease) = (held.generation, held.lease);
            self.turns.push_front(turn);
            return self.take_back(generation, lease);
        }
        match (&turn.change, &changed) {
            (
                Change::Begin { lease, .. },
                Err(SessionError::NotStored(StoreError::Unavailable { .. })),
            ) => {
                self.doubtful = Some(*lease);
                self.confirm_soon(ctx);
            }
            (Change::Confirm, Err(SessionError::NotStored(StoreError::Unavailable { .. }))) => {
                self.confirm_soon(ctx);
            }
            (
                Change::TakeBack { generation, lease },
                Err(SessionError::NotStored(StoreError::Unavailable { .. })),
            ) => {
                let (generation, lease) = (*generation, *lease);
                ctx.run_later(TAKE_BACK_AGAIN, move |session, ctx| {
                    session.take_back(generation, lease);
                    session.next_turn(ctx);
                });
            }
            (_, Ok(_)) => self.doubtful = None,
            (_, Err(_)) => {}
        }
        let QueuedChange { change, answer, receipt, .. } = turn;
        let granted = changed.is_ok();
        let _ = answer.send(changed); // The receipt reports the delivery.
        // A former holder with this lease knows the lease.
        let Change::Begin { lease, by, .. } = change else { return };
        if granted {
            self.note_beginner(by, next.generation(), lease, ctx);
        }
        let is_known = before.holder().is_some_and(|held| held.lease == lease);
        if !granted || is_known {
            return;
        }
        let generation = next.generation();
        if receipt.is_unheard() {
            return self.take_back(generation, lease);
        }
        ctx.spawn(receipt.heard().into_actor(self).map(move |heard, session, ctx| {
            if !heard {
                session.take_back(generation, lease);
                session.next_turn(ctx);
            }
        }));
    }

    pub(super) fn on_stored(
        &mut self,
        outcome: Result<(), StoreError>,
        next: Occupancy,
        idle: Option<DateTime<Utc>>,
        events: Vec<NewEvent>,
        ctx: &mut Context<Self>,
    ) -> Changed {
        match outcome {
            Ok(()) => {
                self.unsure = None;
                self.world.events.send(events);
                self.apply(next, idle);
            }
            Err(cause) => {
                match &cause {
                    // The row is right, whichever process wrote it. Its writer has stored the events.
                    StoreError::Conflict { stored } => {
                        if let Some((written, events)) = self.unsure.take()
                            && written == *stored
                        {
                            self.world.events.send(events);
                        }
                        self.apply(stored.clone(), self.idle_after(stored));
                    }
                    // Another process has ended this session.
                    StoreError::Final | StoreError::Missing => {
                        error!(parent: &self.span, "the row of {} is final", self.record.id);
                        let at = self.world.clock.now();
                        self.end(Ended::new(SessionStatus::Completed, at), ctx);
                    }
                    StoreError::Unavailable(_) if !events.is_empty() => {
                        self.unsure = Some((next, events));
                    }
                    StoreError::Unavailable(_) | StoreError::Rejected(_) => {}
                }
                return Err(SessionError::NotStored(cause));
            }
        }
        Ok(self.record.occupancy.clone())
    }

    /// The time at which the session will have been vacant for too long, if `next` makes it vacant.
    pub(super) fn idle_after(&self, next: &Occupancy) -> Option<DateTime<Utc>> {
        let vacated = self.record.occupancy.holder().is_some() && next.holder().is_none();
        if vacated { self.idle_from(self.world.clock.now()) } else { None }
    }

    /// The events about the change of the occupancy to `next`.
    pub(super) fn events_until(&self, next: &Occupancy) -> Vec<NewEvent> {
        let now = self.world.clock.now();
        let make = |kind, held| self.world.events.make(&self.record, kind, holding(held));
        let (before, after) = (self.record.occupancy.holder(), next.holder());
        let left = before.filter(|held| after.is_none_or(|next| next.occupant != held.occupant));
        // A holder with time left has released the session, or was evicted.
        let lapsed = left.is_some_and(|held| held.expires_at <= now);
        let kind = if lapsed { EventKind::OccupancyLapsed } else { EventKind::OccupancyReleased };
        let came =
            after.filter(|held| before.is_none_or(|before| before.generation != held.generation));
        let left = left.map(|held| make(kind, held));
        left.into_iter().chain(came.map(|held| make(EventKind::OccupancyBegun, held))).collect()
    }

    pub(super) fn apply(&mut self, next: Occupancy, idle: Option<DateTime<Utc>>) {
        let now = self.world.clock.now();
        let (before, after) = (self.record.occupancy.holder(), next.holder());
        if let Some(held) = before
            && after.is_none_or(|next| next.occupant != held.occupant)
        {
            info!(parent: &self.span, "{} left {}", held.occupant, self.record.id);
            let time = (now - held.since).to_std().unwrap_or_default();
            self.world.metrics.occupancy_hold.record(time);
        }
        if let Some(held) = after
            && before.is_none_or(|before| before.generation != held.generation)
        {
            info!(parent: &self.span, "{} holds {}", held.occupant, self.record.id);
        }
        if idle.is_some() {
            self.record.deadlines.idle_expires_at = idle;
        }
        self.record.occupancy = next;
        self.record.modified_at = now;
        self.use_changed();
    }

    fn confirm_soon(&self, ctx: &mut Context<Self>) {
        ctx.run_later(TAKE_BACK_AGAIN, |session, ctx| {
            if session.doubtful.is_some() {
                drop(session.change(Change::Confirm, None, ctx));
            }
        });
    }

    /// Takes back an occupancy whose grant was not received, and which no client could therefore
    /// release. It goes ahead of all other waiting changes.
    fn take_back(&mut self, generation: Generation, lease: LeaseHash) {
        info!(parent: &self.span, "generation {generation} of {} is released: its client left before the answer", self.record.id);
        self.end_lease(generation, lease);
    }

    /// Ends the occupancy of this lease before everything else that waits.
    pub(super) fn end_lease(&mut self, generation: Generation, lease: LeaseHash) {
        let change = Change::TakeBack { generation, lease };
        let (answer, _unheard) = oneshot::channel();
        let receipt = Receipt::default();
        let trace = traces::current();
        let wait = None;
        self.turns.push_front(QueuedChange { change, wait, answer, receipt, trace, audit: None });
    }

    fn grant(changed: Result<Changed, oneshot::error::RecvError>) -> Result<Grant, SessionError> {
        let occupancy = changed.map_err(|_gone| Unanswered::Gone)??;
        let held = occupancy.holder().ok_or(Unanswered::Gone)?;
        Ok(Grant { generation: held.generation, expires_at: held.expires_at })
    }
}

/// The event data that describes the holder of a session.
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
        Begin { occupant, lease, ttl, wait, by }: Begin,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Grant, SessionError>> {
        let change = Change::Begin { occupant, lease: lease.hash(), ttl, by };
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
