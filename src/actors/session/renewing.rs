//! The properties of a session that may be changed while it lives: its end, and the fate of its
//! profile.

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Phase, Renew, Session, SessionError};
use crate::actors::ask::{Answering, Handle, Unanswered, answered};
use crate::actors::views::SessionView;
use crate::domain::event::EventKind;

impl Handle<Renew> for Session {
    fn handle(
        &mut self,
        Renew { by }: Renew,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SessionView, SessionError>> {
        match &self.phase {
            Phase::Starting { .. } => return answered(Err(SessionError::Starting)),
            Phase::Closing { .. } => return answered(Err(SessionError::Closing)),
            Phase::Dormant | Phase::Running { .. } | Phase::Recovering { .. } => {}
        }
        let now = self.world.clock.now();
        let mut deadlines = self.record.deadlines.extended(now, by);
        // A client that renews a session uses it: the session is not idle.
        if !self.record.is_dormant() {
            deadlines.idle_expires_at = deadlines.idle_expires_at.max(self.idle_from(now));
        }
        if deadlines == self.record.deadlines {
            return answered(Ok(self.view.borrow().clone()));
        }
        let (answer, renewed) = oneshot::channel();
        let data = json!({ "expires_at": deadlines.expires_at });
        let events = vec![self.make_event(EventKind::SessionRenewed, data)];
        let (id, store) = (self.record.id, &self.world.store);
        let work = store.extend_deadlines(id, deadlines.clone(), events.clone());
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            let answered = outcome.map_err(SessionError::NotStored).map(|()| {
                // Another renewal may have been stored meanwhile: the later end counts. The
                // lifetime of a session that was woken meanwhile counts from when it runs.
                if session.record.is_dormant() || !matches!(session.phase, Phase::Starting { .. }) {
                    session.record.deadlines = session.record.deadlines.later(&deadlines);
                }
                session.world.events.send(events);
                session.publish();
                session.set_timer(ctx);
                session.view.borrow().clone()
            });
            let _ = answer.send(answered); // The caller may have left.
        }));
        Box::pin(async move { renewed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
