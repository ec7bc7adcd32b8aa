//! The launch of a session's desktop.

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info};

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, answered};
use crate::actors::journal::About;
use crate::actors::profiles;
use crate::db::store::{Started, StoreError};
use crate::domain::deadlines::Deadlines;
use crate::domain::event::EventKind;
use crate::domain::session::{Failure, SessionStatus};
use crate::system::desktop::{Desktop, Files, LaunchError, Order};
use crate::traces;

/// The hint of a launch that failed because of the database.
const REACH_THE_DATABASE: &str =
    "see that the database can be reached, then create the session again";

/// The member of a session's [`echo`](crate::domain::session::SessionSpec::echo) that is true if the
/// session was requested with a storage state.
pub const STORAGE_STATE: &str = "storage_state";

/// Starts the browser of a session that waits for its first use; has no effect on others. Only the
/// registry sends this message, after it has checked that the machine has room.
#[derive(Debug)]
pub(in crate::actors) struct Launch;

impl Ask for Launch {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "launch";
    const AUDITED: bool = true;
}

impl Handle<Launch> for Session {
    fn handle(
        &mut self,
        Launch: Launch,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return answered(Err(SessionError::Closing));
        }
        if self.record.is_dormant() {
            // Not stored: if this server ends before the browser runs, the next use starts it.
            let start_by = Some(self.world.clock.now() + self.world.settings.start_limit());
            self.record.deadlines = Deadlines { start_by, ..Deadlines::default() };
            if matches!(self.phase, Phase::Dormant) {
                self.enter(Phase::Starting { call_off: CancellationToken::new() });
                self.launch(ctx);
            } else {
                self.set_timer(ctx); // Launched after the check for remains of a former server.
            }
            self.publish();
        }
        answered(Ok(()))
    }
}

impl Session {
    pub(super) fn launch(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        if let Some(trace) = traces::current() {
            self.trace = Some(trace);
        }
        self.set_timer(ctx);
        self.with_lists(ctx, |session, read, ctx| match read {
            Ok(()) => session.launch_desktop(ctx),
            Err(cause) => {
                let failure = Box::new(no_lists(&cause));
                session.on_launched(Err(LaunchError::Failed(failure)), ctx);
            }
        });
    }

    pub(super) fn launch_desktop(&mut self, ctx: &mut Context<Self>) {
        if self.launches_after_settings() {
            return;
        }
        let Phase::Starting { call_off } = &self.phase else {
            return self.on_launched(Err(LaunchError::CalledOff), ctx);
        };
        let is_exhausted = self.is_exhausted();
        let (session, spec) = (self.record.id, self.record.spec.clone());
        let (world, organization) = (Arc::clone(&self.world), self.record.organization);
        let call_off = call_off.clone();
        let (storage_state, claim) = (self.storage_state.take(), self.claim.take());
        let was_given = spec.echo.get(STORAGE_STATE) == Some(&Value::Bool(true));
        if was_given && storage_state.is_none() {
            self.claim = claim;
            let failure = Box::new(state_lost());
            return self.on_launched(Err(LaunchError::Failed(failure)), ctx);
        }
        let work = async move {
            let fetched = match &spec.profile {
                Some(used) => tokio::select! {
                    () = call_off.cancelled() => return Err(LaunchError::CalledOff),
                    fetched = profiles::fetch(&world, organization, session, used) => {
                        fetched.map_err(|failure| LaunchError::Failed(Box::new(failure)))?
                    }
                },
                None => None,
            };
            let version = fetched.as_ref().map(|(version, _)| *version);
            let profile = fetched.as_ref().map(|(_, fetched)| fetched.0.clone());
            let order = Order { session, spec, is_exhausted, profile, storage_state, pooled: None };
            let launcher = &*world.launcher;
            let launched = match claim {
                Some(claim) => claim.equip(order, call_off, launcher).await,
                None => launcher.launch(order, call_off).await,
            };
            launched.map(|desktop| (desktop, version))
        };
        let about = About { organization: Some(organization), session: Some(session), run: None };
        let work = traces::spanned("start browser", about, Result::is_err, work);
        let work = traces::within(self.trace.clone(), work);
        let work = work.instrument(self.span.clone()).into_actor(self);
        ctx.spawn(work.map(|outcome, session, ctx| {
            let outcome = outcome.map(|(desktop, version)| {
                if let (Some(used), Some(_started)) = (&mut session.record.spec.profile, version) {
                    used.version = version;
                }
                desktop
            });
            session.on_launched(outcome, ctx);
        }));
    }

    fn on_launched(
        &mut self,
        outcome: Result<Box<dyn Desktop>, LaunchError>,
        ctx: &mut Context<Self>,
    ) {
        let failure = match outcome {
            Ok(desktop) if matches!(self.phase, Phase::Closing { .. }) => {
                return self.shut_down(desktop, ctx);
            }
            Ok(desktop) => return self.store_start(desktop, ctx),
            Err(LaunchError::CalledOff) => called_off(),
            Err(LaunchError::Failed(failure)) => *failure,
        };
        if !matches!(self.phase, Phase::Closing { .. }) {
            let end = self.failed(failure);
            self.begin_closing(end, ctx);
        }
        let work = match self.claim.take() {
            Some(claim) => claim.shut_down(),
            // A launch that failed has ended what it started. A launch that did not begin leaves what a former server
            // has started, if that was killed meanwhile.
            None => self.world.launcher.sweep(self.record.id, Files::AsSet),
        };
        ctx.spawn(work.into_actor(self).map(|left, session, ctx| session.on_shut_down(left, ctx)));
    }

    /// Stores that the session is running, which it is only after that write. Its lifetime counts
    /// from now.
    pub(super) fn store_start(&mut self, desktop: Box<dyn Desktop>, ctx: &mut Context<Self>) {
        if let Some(failure) = self.lacks_egress(&*desktop) {
            let end = self.failed(failure);
            self.begin_closing(end, ctx);
            return self.shut_down(desktop, ctx);
        }
        let now = self.world.clock.now();
        let expires_at = Some(now + self.record.spec.lifetime);
        let data = json!({
            "display_number": desktop.identity().display_number,
            "expires_at": expires_at,
            "stages_ms": desktop.stages(),
        });
        let started = Started {
            desktop: desktop.identity().clone(),
            at: now,
            deadlines: Deadlines {
                start_by: None,
                expires_at,
                idle_expires_at: self.idle_from(now),
            },
            events: vec![self.make_event(EventKind::SessionStarted, data)],
        };
        let work = traces::call_within(self.trace.take(), || {
            self.world.store.start_session(self.record.id, started.clone())
        });
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.on_start_stored(outcome, started, desktop, ctx);
        }));
    }

    fn on_start_stored(
        &mut self,
        outcome: Result<(), StoreError>,
        Started { desktop: identity, at, deadlines, events }: Started,
        desktop: Box<dyn Desktop>,
        ctx: &mut Context<Self>,
    ) {
        if outcome.is_ok() {
            self.world.events.send(events);
        }
        if matches!(self.phase, Phase::Closing { .. }) {
            return self.shut_down(desktop, ctx);
        }
        self.await_death(&*desktop, ctx);
        self.await_out_of_memory(&*desktop, ctx);
        // From here on the phase owns the desktop, so that every way to the end shuts it down.
        self.enter(Phase::Running { desktop });
        if let Err(cause) = outcome {
            return self.fail(not_stored(&cause), ctx);
        }

        let number = identity.display_number;
        self.record.status = SessionStatus::Running;
        self.record.desktop = Some(identity);
        self.record.started_at = Some(at);
        self.record.modified_at = at;
        self.record.deadlines = deadlines;
        info!(parent: &self.span, "session {} runs on display :{number}", self.record.id);
        self.film();
        self.refresh_egress(ctx);
        self.refresh_settings();
        self.record_if_asked(ctx);
        self.settle_vnc(ctx);
        self.next_turn(ctx);
        self.use_changed();
        self.publish();
        self.set_timer(ctx);
        self.leave_if_asked(ctx);
    }
}

/// The failure of a session whose browser does not run in time.
pub(super) fn too_late(limit: u64) -> Failure {
    let message = format!("the browser did not run within {limit} s (sessions.start_seconds)");
    Failure::new("start_timed_out", message)
        .hint("check the load of the machine, then create the session again")
}

fn called_off() -> Failure {
    Failure::new("launch_called_off", "the launch was canceled")
}

/// The failure of a session whose organization's lists cannot be read: the session must not reach
/// more than they allow.
fn no_lists(cause: &StoreError) -> Failure {
    let message = format!("the organization's lists of `egress` could not be read: {cause}");
    Failure::new("egress_unknown", message).stage("database").hint(REACH_THE_DATABASE)
}

/// The failure of a session whose storage state the former server had in memory: without it, the
/// session would not be the one that was requested.
fn state_lost() -> Failure {
    let message = "the server ended before the browser had its storage state, which is not kept on \
                   disk";
    Failure::new("storage_state_lost", message).hint("create the session again")
}

fn not_stored(cause: &StoreError) -> Failure {
    let message = format!("the start of the session could not be stored: {cause}");
    Failure::new("start_not_stored", message).stage("database").hint(REACH_THE_DATABASE)
}
