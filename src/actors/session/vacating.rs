//! Sessions that end with their holder.
//!
//! Such a session is made for the client that then begins it, see `http/connect.rs`. It ends when it
//! becomes vacant, by whatever means: a release, or the lapse of a lease that nobody renews any more,
//! because the server of the client was killed. One that nobody holds when a server adopts it was made
//! by a server that ended before its client could begin.

use actix::Context;
use serde_json::Value;
use tracing::info;

use super::{Phase, Session};
use crate::db::store::Ended;
use crate::domain::occupancy::Generation;
use crate::domain::session::SessionStatus;
use crate::system::desktop::Files;

/// The member of a session's [`echo`](crate::domain::session::SessionSpec::echo) that is true if the
/// session ends when its holder has left.
pub const ENDS_VACANT: &str = "ends_vacant";

impl Session {
    fn is_left(&self) -> bool {
        self.record.spec.echo.get(ENDS_VACANT) == Some(&Value::Bool(true))
            && self.record.occupancy.holder().is_none()
            && !matches!(self.phase, Phase::Closing { .. })
    }

    /// Ends the session if it is one that ends with its holder, and the holder has left.
    pub(super) fn end_if_left(&mut self, ctx: &mut Context<Self>) {
        if self.is_left() && self.record.occupancy.generation() > Generation::default() {
            info!(parent: &self.span, "session {} ends with its holder", self.record.id);
            self.end(self.left(), ctx);
        }
    }

    /// Ends the session if a former server has made it for a client that did not begin; true if so.
    pub(super) fn ends_unclaimed(&mut self, ctx: &mut Context<Self>) -> bool {
        let ends = self.is_left();
        if ends {
            info!(parent: &self.span, "session {} ends: its client has left", self.record.id);
            self.begin_closing(self.left(), ctx);
            self.sweep_up(Files::AsSet, ctx);
        }
        ends
    }

    fn left(&self) -> Ended {
        Ended::new(SessionStatus::Completed, self.world.clock.now())
    }
}
