//! The HTTP client that delivers webhooks.

use tokio::sync::Notify;

use super::settings::Settings;
use crate::workflow::guard::Guard;

/// The webhook client with its settings, shared with the endpoints.
#[derive(Debug)]
pub struct Webhooks {
    /// The limits and timeouts of deliveries.
    pub settings: Settings,
    /// The rules for addresses of webhooks.
    pub guard: Guard,
    pub(super) client: reqwest::Client,
    pub(super) woken: Notify,
}

impl Webhooks {
    /// Creates the client with these settings.
    ///
    /// # Errors
    ///
    /// Fails if no HTTP client can be created.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(settings.guard());
        let client = guard.client(settings.timeout())?;
        Ok(Self { settings, guard, client, woken: Notify::new() })
    }

    /// Wakes the deliverer for a message that was not stored with an event.
    pub fn wake(&self) {
        self.woken.notify_one();
    }
}
