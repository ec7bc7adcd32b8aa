//! A viewer of a session, from its admission to the end of its credentials.

use std::future::pending;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::bridge::{self, Close, CloseCode};
use super::state::Live;
use crate::actors::ask::{Ask, Handle};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Session, SessionError, Visit};
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::service::keys::Revocation;

/// A viewer whose credentials were checked.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The server's shared state of live streams.
    pub live: Arc<Live>,
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The credential, the role and the client of the viewer.
    pub visit: Visit,
    /// The end of the ticket, if the viewer has one.
    pub until: Option<DateTime<Utc>>,
    /// The revocation of the key that the viewer has, or that its ticket was made with.
    pub key: Revocation,
}

impl Viewer {
    /// Returns the session that a path names, directly or by its run. `what` is `browser_session`
    /// or `workflow_run`.
    ///
    /// # Errors
    ///
    /// The close code for an id that names nothing, and for a run without a session.
    pub fn session_of(&self, what: &str, id: &str) -> Result<SessionId, Close> {
        if what.starts_with("browser_session") {
            return id.parse().map_err(|_wrong| unknown("session"));
        }
        let run: RunId = id.parse().map_err(|_wrong| unknown("run"))?;
        let view = self.live.world.views.run(self.organization, run);
        let session = view.ok_or_else(|| unknown("run"))?.borrow().record.session;
        session.ok_or_else(|| Close::new(CloseCode::TryAgainLater, "not ready"))
    }

    /// Starts the browser of a session if it waits for its first use.
    ///
    /// # Errors
    ///
    /// The close code for a browser that does not start.
    pub async fn awake(&self, session: SessionId) -> Result<(), Close> {
        let woken = self.live.awake(self.organization, session).await;
        woken.map_err(|cause| Close::new(CloseCode::TryAgainLater, cause.to_string()))
    }

    /// Sends a message to a session on behalf of the viewer.
    ///
    /// # Errors
    ///
    /// The close code for the error of the session.
    pub async fn ask<M, T>(&self, session: SessionId, message: M) -> Result<T, Close>
    where
        T: Send + 'static,
        M: Ask<Answer = Result<T, SessionError>>,
        Session: Handle<M>,
    {
        if M::NEEDS_BROWSER {
            self.awake(session).await?;
        }
        let route = Route { organization: self.organization, session, message };
        let reason = match self.live.registry.ask(route).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(RouteError::Session(SessionError::Starting))) => "not ready".to_owned(),
            Ok(Err(cause)) => cause.to_string(),
            Err(cause) => cause.to_string(),
        };
        Err(Close::new(CloseCode::TryAgainLater, reason))
    }

    /// Resolves with the reason when the viewer must be disconnected: the session has ended, the
    /// viewer was kicked (`out`), its credentials have ended, or the server stops.
    pub async fn over(&self, ended: &CancellationToken, out: &CancellationToken) -> Close {
        let expired = async {
            match self.until {
                Some(at) => tokio::time::sleep(self.live.world.clock.until(at)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = ended.cancelled() => Close::new(CloseCode::Normal, "browser-closed"),
            () = out.cancelled() => Close::new(CloseCode::Policy, "put-out"),
            () = expired => Close::new(CloseCode::Policy, "ticket-expired"),
            () = self.key.revoked() => Close::new(CloseCode::Policy, "key-revoked"),
            () = self.live.closing.cancelled() => {
                Close::new(CloseCode::GoingAway, "the server is stopping")
            }
        }
    }
}

/// Makes the close code for an id that names nothing in the organization.
pub(super) fn unknown(what: &str) -> Close {
    Close::new(CloseCode::TryAgainLater, format!("there is no such {what}"))
}

/// Delays the rejection of an accepted viewer as long as any other.
pub(super) async fn slowly<T>(asked: impl Future<Output = Result<T, Close>>) -> Result<T, Close> {
    let answer = asked.await;
    if answer.is_err() {
        tokio::time::sleep(bridge::REFUSAL_DELAY).await;
    }
    answer
}
