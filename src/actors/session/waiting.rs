//! The queue of waiters for an occupied session.

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};

use super::turns::{Change, QueuedChange};
use super::waiters::Waiting;
use super::{Phase, Session, SessionError, Wait};
use crate::domain::occupancy::Waiter;
use crate::domain::quota::Quota;

impl Session {
    /// Gives a begin that found the session occupied a place in the queue.
    pub(super) fn join_queue(&mut self, turn: QueuedChange, ctx: &mut Context<Self>) {
        let QueuedChange { change, wait, answer, receipt, trace, audit } = turn;
        let (Change::Begin { occupant, lease, ttl, by }, Some(Wait { patience, gone })) =
            (change, wait)
        else {
            return;
        };
        let place = match self.world.quotas.take(self.record.organization, Quota::Waiters) {
            Ok(place) => place,
            Err(refusal) => {
                let refusal = SessionError::Quota(Box::new(refusal));
                drop(answer.send(Err(refusal))); // The caller may have left.
                return;
            }
        };
        let since = self.world.clock.now();
        let until = since + patience;
        let answered = receipt.clone();
        let waiting =
            Waiting { lease, ttl, by, answer, receipt, trace, audit, since, _place: place };
        match self.queue.join(occupant, until, waiting) {
            Ok(ticket) => {
                // A waiter that has been answered leaves the queue.
                let leaves = async move {
                    tokio::select! {
                        () = gone.cancelled() => {}
                        _ = answered.heard() => {}
                    }
                };
                ctx.spawn(leaves.into_actor(self).map(move |(), session, ctx| {
                    if let Some(waiter) = session.queue.leave(ticket) {
                        let _ = waiter.answer.answer.send(Err(SessionError::WaitCalledOff));
                        session.publish();
                        session.set_timer(ctx);
                    }
                }));
                self.publish();
                self.set_timer(ctx);
            }
            Err(Waiting { answer, .. }) => {
                let limit = self.world.settings.max_waiters;
                let _ = answer.send(Err(SessionError::QueueFull { limit }));
            }
        }
    }

    /// The begin of the first waiter, when the session is available.
    pub(super) fn turn_of_a_waiter(&mut self) -> Option<QueuedChange> {
        let now = self.world.clock.now();
        let running = matches!(self.phase, Phase::Running { .. });
        let held = self.record.occupancy.holder().is_some_and(|held| held.expires_at > now);
        if !running || held || self.lapses_first() {
            return None;
        }
        loop {
            let Waiter {
                occupant,
                answer: Waiting { lease, ttl, by, answer, receipt, trace, audit, since, .. },
                ..
            } = self.queue.take_first()?;
            if !receipt.is_unheard() {
                let time = (now - since).to_std().unwrap_or_default();
                self.world.metrics.occupancy_wait.record(time);
                let change = Change::Begin { occupant, lease, ttl, by };
                let wait = None;
                return Some(QueuedChange { change, wait, answer, receipt, trace, audit });
            }
        }
    }

    /// Refuses the waiters whose time is over.
    pub(super) fn expire_waiters(&mut self) {
        let over = self.queue.expire(self.world.clock.now());
        for Waiter { answer, .. } in over {
            let refusal = match self.record.occupancy.holder() {
                Some(held) => {
                    SessionError::WaitedInVain { by: held.occupant.clone(), until: held.expires_at }
                }
                None => SessionError::Starting,
            };
            let _ = answer.answer.send(Err(refusal));
        }
    }

    /// Refuses all waiters: the session is ending.
    pub(super) fn dismiss_waiters(&mut self) {
        for waiter in self.queue.clear() {
            let _ = waiter.answer.answer.send(Err(SessionError::Closing));
        }
    }
}
