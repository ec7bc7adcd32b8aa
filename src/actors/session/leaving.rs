//! The detachment of a session from its desktop, which the next server adopts.

use std::time::Duration;

use actix::{ActorContext as _, Context};
use tokio::sync::oneshot;
use tracing::info;

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered};

/// Detaches from the desktop, which runs on: pending writes complete, then the actor stops. A
/// session whose desktop is starting or recovering detaches after that; a closing session closes.
/// Only the registry sends this message, when the server stops.
#[derive(Debug)]
pub(in crate::actors) struct Detach;

impl Ask for Detach {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "let_go";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(45)
    }
}

impl Session {
    /// Stops the actor if it was asked to detach and its state is settled: the session runs or is
    /// dormant, and no occupancy change is being stored.
    pub(super) fn leave_if_asked(&mut self, ctx: &mut Context<Self>) {
        let is_settled =
            matches!(self.phase, Phase::Dormant | Phase::Running { .. }) && !self.storing;
        if self.leaving.is_empty() || !is_settled {
            return;
        }
        self.dismiss_waiters();
        self.ended.cancel();
        self.following = None;
        info!(parent: &self.span, "session {} is detached for the next server", self.record.id);
        self.notify_left();
        self.registration.in_order();
        ctx.stop();
    }

    pub(super) fn notify_left(&mut self) {
        for asker in self.leaving.drain(..) {
            let _ = asker.send(()); // The caller may have left.
        }
    }
}

impl Handle<Detach> for Session {
    fn handle(
        &mut self,
        Detach: Detach,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let (asker, left) = oneshot::channel();
        self.leaving.push(asker);
        self.leave_if_asked(ctx);
        Box::pin(async move { Ok(left.await.map_err(|_gone| Unanswered::Gone)?) })
    }
}
