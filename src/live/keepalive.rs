//! Pings to viewers, and the detection of those that do not answer.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The interval between two pings.
pub(super) const PING_EVERY: Duration = Duration::from_secs(20);
/// A viewer that was silent for this time is disconnected; it answers pings, so the silence is real.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(45);
/// A viewer that takes nothing for this time is disconnected.
pub(super) const STALL: Duration = Duration::from_secs(20);

/// The times of a viewer's keepalive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keepalive {
    /// The interval between two pings.
    pub ping_every: Duration,
    /// The silence after which a viewer counts as gone.
    pub dead_after: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { ping_every: PING_EVERY, dead_after: DEAD_AFTER }
    }
}

impl Keepalive {
    /// Sends pings by `ping`, and resolves when the viewer has been silent for too long. `heard` is
    /// the time of its last message.
    pub(super) async fn until_silent(self, heard: &Cell<Instant>, mut ping: impl AsyncFnMut()) {
        let mut ping_at = Instant::now() + self.ping_every;
        loop {
            sleep_until(ping_at.min(heard.get() + self.dead_after)).await;
            let now = Instant::now();
            if now >= heard.get() + self.dead_after {
                return;
            }
            if now >= ping_at {
                ping().await;
                ping_at = now + self.ping_every;
            }
        }
    }
}
