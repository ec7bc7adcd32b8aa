//! The request for the browser of a session that waits for its first use.

use std::time::Duration;

use tokio::time::timeout;

use super::messages::RegistryError;
use crate::actors::ask::{Ask, Asks};
use crate::actors::journal::About;
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
    registry: &(impl Asks<Wake> + ?Sized),
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
