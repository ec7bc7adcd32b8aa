//! The first use of a session whose browser was not started with it.

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use tokio::sync::oneshot;

use super::{Registry, RegistryError, Wake};
use crate::actors::ask::{Answering, Handle, Unanswered, answered};
use crate::actors::session::Launch;
use crate::traces;

/// An asker of [`Wake`].
pub(super) type Asker = oneshot::Sender<Result<(), RegistryError>>;

impl Handle<Wake> for Registry {
    fn handle(
        &mut self,
        Wake { organization, session }: Wake,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), RegistryError>> {
        let resides = self.sessions.get(&session);
        let Some(resides) = resides.filter(|resides| resides.organization == organization) else {
            return answered(Ok(()));
        };
        let address = resides.address.downgrade();
        let view = self.world.views.session(organization, session);
        if !view.is_some_and(|view| view.borrow().record.is_dormant()) {
            return answered(Ok(())); // Another request has started it.
        }
        let (answer, woken) = oneshot::channel();
        let answering: Answering<Result<(), RegistryError>> =
            Box::pin(async move { woken.await.map_err(|_gone| Unanswered::Gone)? });
        if let Some(askers) = self.waking.get_mut(&session) {
            askers.push(answer);
            return answering;
        }
        if let Err(refusal) = self.has_place() {
            return answered(Err(refusal));
        }
        self.take_place();
        self.waking.insert(session, vec![answer]);
        self.sessions_coming.insert(session);
        let room = self.room();
        let wakes = async move {
            room.await?;
            // A session that closes meanwhile answers the next message.
            let _closing = address.ask(Launch).await?;
            Ok::<(), RegistryError>(())
        };
        let wakes = traces::carried(wakes);
        ctx.spawn(wakes.into_actor(self).map(move |woken, registry, _| {
            registry.sessions_coming.remove(&session);
            for asker in registry.waking.remove(&session).unwrap_or_default() {
                let _ = asker.send(woken.clone()); // The caller may have left.
            }
        }));
        answering
    }
}
