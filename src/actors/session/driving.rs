//! Who is connected to a session's DevTools, with or without the occupancy.
//!
//! The bytes pass the actor by; it is told only because a desktop that somebody drives is looked
//! after more closely.

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, answered};

/// A driver connects to the browser, for as long as the answer lives.
#[derive(Debug)]
pub struct Drive;

impl Ask for Drive {
    type Answer = Result<DropGuard, SessionError>;
    const KIND: &'static str = "drive";
    const NEEDS_BROWSER: bool = true;
}

impl Session {
    /// Notes a change of the number of drivers, of which no reader of the view is woken.
    fn tell_drivers(&mut self) {
        let drivers = self.drivers;
        self.view.send_if_modified(|view| {
            view.drivers = drivers;
            false
        });
        self.tell_use();
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
        self.tell_drivers();
        let left = CancellationToken::new();
        let leaves = left.clone();
        let leaves = async move { leaves.cancelled().await };
        ctx.spawn(leaves.into_actor(self).map(|(), session, _| {
            session.drivers = session.drivers.saturating_sub(1);
            session.tell_drivers();
        }));
        answered(Ok(left.drop_guard()))
    }
}
