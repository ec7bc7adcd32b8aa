//! The recovery of a session after a part of its desktop has died.
//!
//! ```text
//! death --row says retry--> wait (not the first time) --> restarting --row says running--> Running
//!                             ^                              |
//!                             +---------- failed ------------+--> too often --> Closing
//! ```

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};

use super::{Phase, Session};
use crate::actors::ask::{Address, Answering, Ask, Handle, answered};
use crate::actors::journal::About;
use crate::actors::storing::STORE_AGAIN;
use crate::actors::views::LastDeath;
use crate::db::store::{Ended, StoreError};
use crate::domain::event::EventKind;
use crate::domain::session::{Failure, SessionStatus};
use crate::system::desktop::{Death, Desktop, Files, Repair, RestartFailed, Restarted};

/// A session's message to itself, for the journal: the kernel has killed one of its processes,
/// because the session had used up its memory.
#[derive(Debug)]
pub(super) struct OutOfMemory {
    /// The number of such kills in this session.
    pub kills: u64,
}

impl Ask for OutOfMemory {
    type Answer = ();
    const KIND: &'static str = "out_of_memory";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "kills": self.kills })
    }
}

impl Handle<OutOfMemory> for Session {
    fn handle(&mut self, _: OutOfMemory, _: &mut Context<Self>) -> Answering<()> {
        answered(())
    }
}

/// A recovery under way.
#[derive(Debug, Clone)]
struct Trouble {
    cause: Failure,
    /// True if the browser was closed in good order, and its restart has not failed.
    orderly: bool,
    since: DateTime<Utc>,
    tries: u32,
}

/// A session's message to itself, for the journal: the session runs again.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The kind of recovery: `adopted`, `brought_back`, or `repair` for a single part while the
    /// rest of the desktop kept running.
    pub what: &'static str,
    /// The cause of the recovery.
    pub cause: String,
    /// The state that was lost with the part that broke.
    pub lost: String,
    /// The number of attempts.
    pub tries: u32,
    /// The time from the death until the session ran again.
    pub took: Duration,
}

impl Ask for Recovered {
    type Answer = ();
    const KIND: &'static str = "recovered";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({
            "what": self.what,
            "cause": self.cause,
            "lost": self.lost,
            "tries": self.tries,
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Handle<Recovered> for Session {
    fn handle(&mut self, recovered: Recovered, _: &mut Context<Self>) -> Answering<()> {
        self.record_event(EventKind::SessionRecovered, recovered.summary());
        let Recovered { what, cause, tries, took, .. } = recovered;
        let id = self.record.id;
        info!(parent: &self.span, "{id} {what} after {} ms, try {tries}: {cause}", took.as_millis());
        answered(())
    }
}

impl Session {
    /// Starts the tasks that watch a running desktop: for its death, for repairs, downloads and
    /// refused requests.
    pub(super) fn await_death(&mut self, desktop: &dyn Desktop, ctx: &mut Context<Self>) {
        let death = desktop.death();
        ctx.spawn(death.into_actor(self).map(|death, session, ctx| session.on_death(death, ctx)));
        self.await_repairs(desktop.repairs(), ctx);
        self.collect_downloads(desktop);
        self.report_refusals(desktop);
    }

    /// Waits for the repair of a single part of a desktop that lives on. Only the latest listener
    /// is notified, so the one before is canceled.
    fn await_repairs(&mut self, repair: BoxFuture<'static, Repair>, ctx: &mut Context<Self>) {
        let listening = ctx.spawn(
            repair.into_actor(self).map(|repair, session, ctx| session.on_repaired(repair, ctx)),
        );
        if let Some(before) = self.repairs.replace(listening) {
            ctx.cancel_future(before);
        }
    }

    fn on_repaired(&mut self, repair: Repair, ctx: &mut Context<Self>) {
        self.repairs = None;
        let Repair { cause, lost, tries, took } = repair;
        self.world.metrics.recovery("single_part", "repaired");
        self.own_address(ctx).notify(Recovered { what: "mended", cause, lost, tries, took });
        if let Phase::Running { desktop } = &self.phase {
            self.await_repairs(desktop.repairs(), ctx);
        }
    }

    /// Records an event when the kernel kills a process of the session for lack of memory. The
    /// browser itself may live on.
    pub(super) fn await_out_of_memory(&self, desktop: &dyn Desktop, ctx: &mut Context<Self>) {
        let killed = desktop.out_of_memory().into_actor(self);
        ctx.spawn(killed.map(|kills, session, ctx| {
            let id = session.record.id;
            warn!(parent: &session.span, "{id} has used up its memory, {kills} times so far");
            session.own_address(ctx).notify(OutOfMemory { kills });
            session.record_event(EventKind::SessionOutOfMemory, json!({ "kills": kills }));
            session.publish();
            if let Phase::Running { desktop } = &session.phase {
                session.await_out_of_memory(&**desktop, ctx);
            }
        }));
    }

    fn on_death(&mut self, Death { failure, orderly }: Death, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        let (id, now) = (self.record.id, self.world.clock.now());
        warn!(parent: &self.span, code = failure.code, "{id}: {}", failure.message);
        let call_off = CancellationToken::new();
        let left = self.enter(Phase::Recovering { desktop: None, call_off });
        if let (Phase::Running { desktop: dead }, Phase::Recovering { desktop, .. }) =
            (left, &mut self.phase)
        {
            *desktop = Some(dead);
        }
        self.following = None;
        let part = failure.stage.as_deref().unwrap_or_default();
        self.world.metrics.recovery(part, &failure.code);
        self.recoveries.last_death = Some(LastDeath { failure: failure.clone(), at: now });
        self.record_event(EventKind::SessionRecovering, json!({ "failure": failure }));
        if !orderly {
            self.keep_last_moments(self.run_inside());
        }
        let trouble = Trouble { cause: failure, orderly, since: now, tries: 0 };
        let stored = self.world.store.retry_session(id);
        ctx.spawn(stored.into_actor(self).map(move |stored, session, ctx| {
            match stored {
                Ok(()) => {
                    session.record.status = SessionStatus::Retry;
                    session.record.modified_at = session.world.clock.now();
                    session.publish();
                }
                // The row is written again when the session runs.
                Err(cause) => warn!(parent: &session.span, "the retry is not stored: {cause}"),
            }
            session.try_to_revive(trouble, ctx);
        }));
    }

    /// Restarts the desktop, unless that was done too often.
    fn try_to_revive(&mut self, trouble: Trouble, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Recovering { .. }) {
            return;
        }
        let settings = &self.world.settings;
        let window = Duration::from_secs(settings.recovery_window_seconds);
        let wait = Duration::from_millis(settings.recovery_wait_milliseconds);
        let now = self.world.clock.now();
        let wait = if trouble.orderly {
            Some(self.recoveries.reopen(now, window, wait))
        } else {
            self.recoveries.begin(now, window, settings.max_recoveries, wait)
        };
        match wait {
            Some(wait) if wait.is_zero() => self.restart(trouble, ctx),
            Some(wait) => drop(ctx.run_later(wait, |session, ctx| session.restart(trouble, ctx))),
            None => {
                let most = settings.max_recoveries;
                let Failure { message, hint, .. } = &trouble.cause;
                let message = format!("{message}; it was restarted {most} times before");
                let failure = Failure { message, hint: hint.clone(), ..trouble.cause.clone() };
                let failure = if most == 0 { trouble.cause } else { failure };
                self.fail(failure, ctx);
            }
        }
    }

    fn restart(&mut self, trouble: Trouble, ctx: &mut Context<Self>) {
        let Phase::Recovering { desktop, call_off } = &mut self.phase else { return };
        let Some(desktop) = desktop.take() else { return };
        let work = desktop.restart(call_off.clone()).instrument(self.span.clone());
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.on_revived(outcome, Trouble { tries: trouble.tries + 1, ..trouble }, ctx);
        }));
    }

    fn on_revived(
        &mut self,
        outcome: Result<Restarted, RestartFailed>,
        trouble: Trouble,
        ctx: &mut Context<Self>,
    ) {
        let closing = matches!(self.phase, Phase::Closing { .. });
        match outcome {
            Ok(Restarted { desktop, is_cleared, .. }) if closing => {
                if is_cleared {
                    drop(self.keep_no_profile(ctx));
                }
                self.shut_down(desktop, ctx);
            }
            Err(RestartFailed { desktop: Some(desktop), .. }) if closing => {
                self.shut_down(desktop, ctx);
            }
            Ok(Restarted { desktop, lost, is_cleared }) => {
                if is_cleared {
                    drop(self.keep_no_profile(ctx));
                }
                let Trouble { cause, since, tries, .. } = trouble;
                let took = (self.world.clock.now() - since).to_std().unwrap_or_default();
                let recovered =
                    Recovered { what: "brought_back", cause: cause.message, lost, tries, took };
                self.store_restart(desktop, Some(recovered), ctx);
            }
            Err(RestartFailed { failure, desktop: None }) => {
                self.give_up(failure, Files::Kept, ctx);
            }
            Err(RestartFailed { failure, desktop: Some(half) }) => {
                warn!(parent: &self.span, code = failure.code, "{}", failure.message);
                if let Phase::Recovering { desktop, .. } = &mut self.phase {
                    *desktop = Some(half);
                }
                self.try_to_revive(Trouble { cause: failure, orderly: false, ..trouble }, ctx);
            }
        }
    }

    /// Stores that the session is running, and continues it only after that write. `recovered` is
    /// its message for the journal; `None` if nothing had broken.
    pub(super) fn store_restart(
        &mut self,
        desktop: Box<dyn Desktop>,
        recovered: Option<Recovered>,
        ctx: &mut Context<Self>,
    ) {
        let work = self.world.store.restart_session(self.record.id, desktop.identity().clone());
        ctx.spawn(work.into_actor(self).map(move |stored, session, ctx| {
            if matches!(session.phase, Phase::Closing { .. }) {
                return session.shut_down(desktop, ctx);
            }
            match stored {
                Ok(()) => session.run_again(desktop, recovered, ctx),
                Err(cause @ StoreError::Unavailable(_)) => {
                    warn!(parent: &session.span, "the restart is not stored yet: {cause}");
                    session.hold(desktop);
                    ctx.run_later(STORE_AGAIN, |session, ctx| {
                        if let Phase::Recovering { desktop, .. } = &mut session.phase
                            && let Some(desktop) = desktop.take()
                        {
                            session.store_restart(desktop, recovered, ctx);
                        }
                    });
                }
                // The same write would be refused again: the session cannot continue.
                Err(StoreError::Rejected(rejection)) => {
                    session.hold(desktop);
                    session.fail(super::closing::not_stored(&rejection), ctx);
                }
                // Another process has ended this session.
                Err(StoreError::Conflict { .. } | StoreError::Final | StoreError::Missing) => {
                    session.hold(desktop);
                    let at = session.world.clock.now();
                    let end = Ended::new(SessionStatus::Completed, at);
                    session.end(end, ctx);
                }
            }
        }));
    }

    pub(super) fn hold(&mut self, held: Box<dyn Desktop>) {
        if let Phase::Recovering { desktop, .. } = &mut self.phase {
            *desktop = Some(held);
        }
    }

    pub(super) fn run_again(
        &mut self,
        desktop: Box<dyn Desktop>,
        recovered: Option<Recovered>,
        ctx: &mut Context<Self>,
    ) {
        self.await_death(&*desktop, ctx);
        self.await_out_of_memory(&*desktop, ctx);
        self.record.status = SessionStatus::Running;
        self.record.desktop = Some(desktop.identity().clone());
        self.record.modified_at = self.world.clock.now();
        self.enter(Phase::Running { desktop });
        if let Some(recovered) = recovered {
            self.own_address(ctx).notify(recovered);
        }
        self.report_sanitizing();
        self.settle_vnc(ctx);
        self.follow();
        self.film();
        self.refresh_egress(ctx);
        self.refresh_settings();
        self.next_turn(ctx);
        self.use_changed();
        self.publish();
        self.set_timer(ctx);
        self.leave_if_asked(ctx);
    }

    /// The address of this session with itself as the user.
    fn own_address(&self, ctx: &Context<Self>) -> Address<Self> {
        let about = About {
            organization: Some(self.record.organization),
            session: Some(self.record.id),
            run: None,
        };
        let journal = std::sync::Arc::clone(&self.world.journal);
        Address::new(ctx.address(), self.name.clone(), about, journal).used_by(&self.name)
    }
}
