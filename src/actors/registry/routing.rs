//! The forwarding of messages to sessions.

use actix::Context;

use super::{Registry, Route, RouteError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered};
use crate::actors::session::{Session, SessionError};

impl<T, M> Handle<Route<M>> for Registry
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, SessionError>>,
    Session: Handle<M>,
{
    fn handle(
        &mut self,
        Route { organization, session, message }: Route<M>,
        _: &mut Context<Self>,
    ) -> Answering<Result<T, RouteError>> {
        if self.draining.is_some() && M::TAKES_NEW {
            return answered(Err(RouteError::Draining));
        }
        match self.sessions.get(&session) {
            Some(entry) if entry.organization == organization => {
                let answer = entry.address.forward(message);
                let view = self.world.views.session(organization, session);
                let has_ended =
                    move || view.as_ref().is_some_and(|it| it.borrow().record.status.is_final());
                Box::pin(async move {
                    match answer.await {
                        // The session stopped with the message still in its mailbox.
                        Err(Unanswered::Gone) if has_ended() => Err(RouteError::Unknown(session)),
                        answer => Ok(answer??),
                    }
                })
            }
            None if self.restarting.get(&session) == Some(&organization) => {
                answered(Err(RouteError::Session(SessionError::Starting)))
            }
            // A session of another organization does not exist for the asker: both answers are the
            // same.
            Some(_) | None => answered(Err(RouteError::Unknown(session))),
        }
    }
}
