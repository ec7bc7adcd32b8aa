//! The timer of a session: set to its first deadline, and again after every change.

use std::time::Duration;

use actix::{AsyncContext as _, Context};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tracing::info;

use super::launching::too_late;
use super::turns::Change;
use super::{Phase, Session};
use crate::actors::journal::NextTimer;
use crate::db::store::Ended;
use crate::domain::deadlines::DeadlineKind;
use crate::domain::event::EventKind;
use crate::domain::session::SessionStatus;

/// The delay before a lapse that could not be stored is tried again.
const AFTER_A_FAULT: Duration = Duration::from_secs(1);

impl Session {
    /// Sets the timer to the first deadline.
    pub(super) fn set_timer(&mut self, ctx: &mut Context<Self>) {
        self.set_timer_after(false, ctx);
    }

    /// Sets the timer to the first deadline; after a fault, no sooner than a short delay.
    pub(super) fn set_timer_after(&mut self, fault: bool, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let next = match self.phase {
            Phase::Dormant
            | Phase::Running { .. }
            | Phase::Recovering { .. }
            | Phase::Starting { .. } => self.next_timer(),
            Phase::Closing { .. } => None,
        };
        if let Some(NextTimer { at, .. }) = &next {
            let wait = self.world.clock.until(*at);
            let wait = if fault { wait.max(AFTER_A_FAULT) } else { wait };
            self.timer = Some(ctx.run_later(wait, Self::on_timer));
        }
        self.world.journal.timer(&self.name, next);
    }

    fn next_timer(&mut self) -> Option<NextTimer> {
        let end = self.record.deadlines.end(&self.record.occupancy);
        self.warnings.follow(end.map(|end| end.at), self.world.clock.now());
        let warning = self.warnings.next();
        let warning = warning.map(|at| NextTimer { kind: "warning".to_owned(), at });
        let deadline = self.record.deadlines.next(&self.record.occupancy);
        // The pending write may be a heartbeat; the timer is set again when its outcome is known.
        let is_open = |kind| self.storing && kind == DeadlineKind::Occupancy;
        let deadline = deadline.filter(|next| !is_open(next.kind)).map(|next| {
            let kind = match next.kind {
                DeadlineKind::StartUp => "start_up",
                DeadlineKind::Lifetime => "lifetime",
                DeadlineKind::Idle => "idle",
                DeadlineKind::Occupancy => "occupancy",
            };
            NextTimer { kind: kind.to_owned(), at: next.at }
        });
        let stays = self.stays_from();
        let stays = stays.map(|at| NextTimer { kind: "holder_stays".to_owned(), at });
        let timers =
            deadline.into_iter().chain(warning).chain(self.next_waiter_timer()).chain(stays);
        timers.min_by_key(|timer| timer.at)
    }

    fn next_waiter_timer(&self) -> Option<NextTimer> {
        let at = self.queue.next_deadline()?;
        Some(NextTimer { kind: "waiter".to_owned(), at })
    }

    fn on_timer(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        let now = self.world.clock.now();
        let passed = |at: Option<DateTime<Utc>>| at.is_some_and(|at| at <= now);

        if !matches!(self.phase, Phase::Closing { .. }) && passed(self.record.deadlines.start_by) {
            return self.fail(too_late(self.world.settings.start_seconds), ctx);
        }
        let idle = self.record.occupancy.holder().is_none()
            && passed(self.record.deadlines.idle_expires_at);
        let has_a_lifetime = self.record.is_dormant()
            || matches!(self.phase, Phase::Running { .. } | Phase::Recovering { .. });
        if has_a_lifetime && (idle || passed(self.record.deadlines.expires_at)) {
            let why =
                if idle { "has been vacant for too long" } else { "has reached its lifetime" };
            info!(parent: &self.span, "session {} {why}", self.record.id);
            self.end(Ended::new(SessionStatus::Timeout, now), ctx);
            return;
        }

        self.warn(now);
        self.expire_waiters();
        self.use_changed();
        if passed(self.record.occupancy.holder().map(|held| held.expires_at)) && !self.storing {
            drop(self.change(Change::Lapse, None, ctx)); // No caller waits for the outcome.
        } else {
            self.set_timer(ctx);
        }
        self.publish();
    }

    /// Warns of the session's end while there is time to renew it.
    fn warn(&mut self, now: DateTime<Utc>) {
        let end = self.record.deadlines.end(&self.record.occupancy);
        let Some(end) = end.filter(|_end| self.warnings.give(now)) else { return };
        // Timers fire a moment late.
        let left = (end.at - now + TimeDelta::milliseconds(500)).num_seconds();
        info!(parent: &self.span, "session {} ends in {left} s", self.record.id);
        let data = json!({ "reason": end.kind, "at": end.at, "seconds_left": left });
        self.record_event(EventKind::SessionExpiring, data);
    }

    /// The end of the idle time of a session that is vacant from `now`.
    pub(super) fn idle_from(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.world.settings.idle().map(|idle| now + idle)
    }
}
