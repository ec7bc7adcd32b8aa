//! The first use of a session whose browser was not started with it.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Registry, RegistryError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, WeakAddress, answered};
use crate::actors::journal::About;
use crate::actors::session::Launch;
use crate::actors::views::Views;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::session::SessionStatus;

/// The time that the first use of a session waits for its browser.
const STARTING: Duration = Duration::from_secs(45);

/// Starts the browser of a session that waits for its first use, and waits until it runs or has
/// failed.
///
/// # Errors
///
/// Those of creating a session: the browser takes its share of the machine's capacity now.
pub async fn awake(
    registry: &WeakAddress<Registry>,
    views: &Views,
    organization: OrganizationId,
    session: SessionId,
) -> Result<(), RegistryError> {
    // The message that comes next reports a session that has ended.
    let Some(mut view) = views.session(organization, session) else { return Ok(()) };
    let is_dormant = view.borrow().record.is_dormant();
    if is_dormant {
        registry.ask(Wake { organization, session }).await??;
    }
    // Also if another request has started it: all first uses wait for the same start.
    let settled =
        view.wait_for(|view| view.closing || view.record.status != SessionStatus::Created);
    let _ = timeout(STARTING, settled).await; // On a timeout it is still starting.
    Ok(())
}

/// An asker of [`Wake`].
pub(super) type Asker = oneshot::Sender<Result<(), RegistryError>>;

/// Starts the browser of a session that waits for its first use. Answered when the start has begun.
#[derive(Debug)]
pub struct Wake {
    /// The organization that owns the session.
    pub organization: OrganizationId,
    pub session: SessionId,
}

impl Ask for Wake {
    type Answer = Result<(), RegistryError>;
    const KIND: &'static str = "wake";

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn about(&self) -> About {
        About {
            organization: Some(self.organization),
            session: Some(self.session),
            ..About::default()
        }
    }
}

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
        self.waking.insert(session, vec![answer]);
        self.sessions_coming.insert(session);
        let room = self.room();
        let wakes = async move {
            room.await?;
            // A session that closes meanwhile answers the next message.
            let _closing = address.ask(Launch).await?;
            Ok::<(), RegistryError>(())
        };
        ctx.spawn(wakes.into_actor(self).map(move |woken, registry, _| {
            registry.sessions_coming.remove(&session);
            for asker in registry.waking.remove(&session).unwrap_or_default() {
                let _ = asker.send(woken.clone()); // The caller may have left.
            }
        }));
        answering
    }
}
