//! Connections to a session's DevTools, with or without the occupancy.
//!
//! Their bytes do not pass through the actor. It only counts the connections, because a desktop in
//! use is monitored more closely.

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, answered};

/// Registers a driver that connects to the browser. Dropping the answer unregisters it.
#[derive(Debug)]
pub struct Drive;

impl Ask for Drive {
    type Answer = Result<DropGuard, SessionError>;
    const KIND: &'static str = "drive";
    const NEEDS_BROWSER: bool = true;
}

impl Session {
    /// Publishes the number of drivers without waking the readers of the view.
    fn notify_drivers(&mut self) {
        let drivers = self.drivers;
        self.view.send_if_modified(|view| {
            view.drivers = drivers;
            false
        });
        self.use_changed();
    }
}

impl Handle<Drive> for Session {
    fn handle(
        &mut self,
        Drive: Drive,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<DropGuard, SessionError>> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return answered(Err(SessionError::Closing));
        }
        let limit = self.world.settings.max_drivers;
        if self.drivers >= limit {
            return answered(Err(SessionError::TooManyDrivers { limit }));
        }
        self.drivers += 1;
        self.notify_drivers();
        let left = CancellationToken::new();
        let leaves = left.clone();
        let leaves = async move { leaves.cancelled().await };
        ctx.spawn(leaves.into_actor(self).map(|(), session, ctx| {
            session.drivers = session.drivers.saturating_sub(1);
            session.notify_drivers();
            session.renew_settings(ctx);
        }));
        answered(Ok(left.drop_guard()))
    }
}
