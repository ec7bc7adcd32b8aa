//! A desktop that was taken from the pool for one session.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Cold, Pool, Waiting};
use crate::domain::ids::SessionId;
use crate::system::desktop::{Desktop, Files, Launch, LaunchError, Order, RestartFailed};

/// A desktop that was taken from the pool. It is shut down if it is dropped: once a row may have its id, no other
/// session can have the desktop.
#[derive(Debug)]
pub struct Claim {
    waiting: Option<Waiting>,
    pool: Arc<Pool>,
    session: SessionId,
}

impl Claim {
    pub(super) fn new(waiting: Waiting, pool: Arc<Pool>) -> Self {
        let session = waiting.session;
        Self { waiting: Some(waiting), pool, session }
    }

    /// The id of the session that the desktop was made for.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Puts the desktop back, because its session was refused before there was a row of it.
    pub fn unclaim(mut self) {
        if let Some(Waiting { session, shape, desktop, since, .. }) = self.waiting.take() {
            self.pool.add(session, shape, desktop, since);
        }
    }

    /// Makes the desktop the one of its session. If that fails, the session starts cold. Resolves when the desktop
    /// can be driven, or when none of its programs is left.
    ///
    /// # Errors
    ///
    /// A [`LaunchError`], as of a cold start.
    pub async fn equip(
        mut self,
        order: Order,
        call_off: CancellationToken,
        launcher: &dyn Launch,
    ) -> Result<Box<dyn Desktop>, LaunchError> {
        let Some(Waiting { desktop, shape, since, .. }) = self.waiting.take() else {
            return launcher.launch(order, call_off).await;
        };
        let session = order.session;
        let waited = self.pool.clock.now() - since;
        let half = match desktop.equip(order.clone(), call_off.clone()).await {
            Ok(desktop) => {
                let mut state = self.pool.state.lock();
                state.counts.warm = state.counts.warm.saturating_add(1);
                if let Some(figures) = state.figures(&shape) {
                    figures.taken.add(1);
                    figures.waited.record(waited.to_std().unwrap_or_default());
                }
                return Ok(desktop);
            }
            Err(RestartFailed { failure, desktop }) => {
                self.pool.count_cold(Cold::Failed);
                warn!(code = failure.code, session.id = %session, "{session} starts cold: {}", failure.message);
                desktop
            }
        };
        let left = match half {
            Some(half) => half.shut_down().await,
            None => launcher.sweep(session, Files::AsSet).await,
        };
        for what in left {
            warn!(session.id = %session, "left behind by a desktop of the pool, {session}: {what}");
        }
        launcher.launch(order, call_off).await
    }

    /// Shuts the desktop down. Resolves with a line for each thing that could not be removed.
    pub fn shut_down(mut self) -> BoxFuture<'static, Vec<String>> {
        match self.waiting.take() {
            Some(Waiting { desktop, .. }) => desktop.shut_down(),
            None => Box::pin(std::future::ready(Vec::new())),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        // The next actor of a session whose actor panics ends what is left, before it starts a desktop.
        if !std::thread::panicking() {
            self.pool.end(waiting);
        }
    }
}
