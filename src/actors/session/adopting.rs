//! The adoption of a session that a former server had, or whose actor broke.
//!
//! The row holds its state, and `desktop.json` its processes. Its occupancy, its generation and its
//! deadlines are unchanged; deadlines that have passed meanwhile take effect at once.

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info};

use super::recovery::Recovered;
use super::{Phase, Session};
use crate::actors::downloads::finish_downloads;
use crate::domain::session::{Failure, SessionStatus};
use crate::system::desktop::{AdoptError, Desktop, Files, Order};

impl Session {
    pub(super) fn adopt(&mut self, ctx: &mut Context<Self>) {
        if self.ends_unclaimed(ctx) {
            return;
        }
        self.with_lists(ctx, |session, read, ctx| {
            if let Err(cause) = read {
                // The lists of the row apply until they change.
                tracing::warn!(parent: &session.span, "the organization's lists of `egress` cannot be read: {cause}");
            }
            session.adopt_desktop(ctx);
        });
        self.set_timer(ctx); // A deadline that has passed takes effect at once.
    }

    fn adopt_desktop(&mut self, ctx: &mut Context<Self>) {
        let is_exhausted = self.is_exhausted();
        let (session, spec) = (self.record.id, self.record.spec.clone());
        let order = Order { is_exhausted, ..Order::new(session, spec) };
        let began = self.world.clock.now();
        let world = Arc::clone(&self.world);
        let work = async move {
            // Without the mark, it has what its session asked for.
            if world.directories.of(session).pooled().is_some() {
                return Err(AdoptError::NothingSaved);
            }
            world.launcher.adopt(order).await
        };
        let work = work.instrument(self.span.clone());
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| match outcome {
            Ok(desktop) => session.on_adopted(desktop, began, ctx),
            Err(cause) => session.on_not_adopted(&cause, ctx),
        }));
    }

    fn on_adopted(
        &mut self,
        desktop: Box<dyn Desktop>,
        began: chrono::DateTime<chrono::Utc>,
        ctx: &mut Context<Self>,
    ) {
        match self.phase {
            Phase::Closing { .. } => return self.shut_down(desktop, ctx),
            Phase::Dormant
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Recovering { .. } => {}
        }
        info!(parent: &self.span, "session {} was adopted", self.record.id);
        self.take_up_films(ctx);
        if self.record.status == SessionStatus::Created {
            // The former server ended between the last step of the launch and the write of the row.
            return self.store_start(desktop, ctx);
        }
        let recovered = Recovered {
            what: "adopted",
            cause: "the server was restarted".to_owned(),
            lost: String::new(),
            tries: 1,
            took: (self.world.clock.now() - began).to_std().unwrap_or_default(),
        };
        let is_as_stored = self.record.status == SessionStatus::Running
            && self.record.desktop.as_ref() == Some(desktop.identity());
        if is_as_stored {
            return self.run_again(desktop, Some(recovered), ctx);
        }
        self.store_restart(desktop, Some(recovered), ctx);
    }

    fn on_not_adopted(&mut self, cause: &AdoptError, ctx: &mut Context<Self>) {
        let is_closing = matches!(self.phase, Phase::Closing { .. });
        let never_ran = self.record.status == SessionStatus::Created;
        let (code, files) = match cause {
            AdoptError::NothingSaved if never_ran && !is_closing => {
                return self.launch_anew(ctx);
            }
            AdoptError::NothingSaved => ("desktop_lost", Files::Kept),
            AdoptError::OtherBoot => ("machine_restarted", Files::Kept),
            AdoptError::Broken { .. } => ("desktop_lost", Files::Kept),
        };
        self.give_up(failure(code, cause), files, ctx);
    }

    /// Ends the processes of an interrupted launch, and launches again. A dormant session is
    /// launched at its first use instead.
    fn launch_anew(&mut self, ctx: &mut Context<Self>) {
        self.enter(Phase::Starting { call_off: CancellationToken::new() });
        let files = if self.record.is_dormant() { Files::AsSet } else { Files::Kept };
        let swept = self.world.launcher.sweep(self.record.id, files);
        ctx.spawn(swept.into_actor(self).map(|left, session, ctx| {
            for what in left {
                tracing::error!(parent: &session.span, "left behind by a former server: {what}");
            }
            match session.phase {
                Phase::Closing { .. } => session.on_shut_down(Vec::new(), ctx),
                Phase::Dormant
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Recovering { .. }
                    if session.record.is_dormant() =>
                {
                    session.enter(Phase::Dormant);
                    session.set_timer(ctx);
                    session.leave_if_asked(ctx);
                }
                Phase::Dormant
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Recovering { .. } => session.launch(ctx),
            }
        }));
    }

    /// Ends the session as failed without a handle of a desktop: its processes are found by their
    /// marker.
    pub(super) fn give_up(&mut self, failure: Failure, files: Files, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Closing { .. }) {
            let end = self.failed(failure);
            self.begin_closing(end, ctx);
        }
        self.sweep_up(files, ctx);
    }

    /// Ends the programs of a session that is closing, which are found by their marker.
    pub(super) fn sweep_up(&mut self, files: Files, ctx: &mut Context<Self>) {
        self.take_up_films(ctx);
        self.keep_last_moments(self.run_inside());
        let films = self.wrap_films();
        let (world, run) = (Arc::clone(&self.world), self.run_inside());
        let (id, organization) = (self.record.id, self.record.organization);
        // The sweep removes files, so it starts after the films and downloads are stored.
        let swept = async move {
            films.await;
            finish_downloads(&world, organization, id, run).await;
            world.launcher.sweep(id, files).await
        };
        ctx.spawn(swept.into_actor(self).map(|left, session, ctx| session.on_shut_down(left, ctx)));
    }
}

fn failure(code: &str, cause: &AdoptError) -> Failure {
    Failure::new(code, format!("the session could not be adopted: {cause}"))
        .hint("create another session; the profile of this one is kept")
}
