//! Webhooks: events delivered to clients' servers.
//!
//! A message is a row, written in the transaction that stores its event: the end of a run that names
//! a webhook URL, or an event that a webhook of the organization subscribes to. [`deliver`] delivers
//! it at least once, also after a restart of the server; no other part waits for it.
//!
//! This module belongs to the `http` floor because the body of a message is the API's own form of a
//! run.

mod attempt;
mod deliverer;
pub mod endpoints;
pub mod log;
mod payload;
mod settings;

use actix_web::web::{ServiceConfig, get, post, resource as at};
use tokio::sync::Notify;

pub use self::attempt::Attempt;
pub use self::deliverer::deliver;
pub(super) use self::deliverer::delivery;
pub(super) use self::payload::{headers_of_run, of_run as body_of_run};
pub use self::settings::Settings;
use crate::workflow::guard::Guard;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/webhooks").route(post().to(endpoints::create)).route(get().to(endpoints::list)),
        )
        .service(
            at("/v1/webhooks/{webhook}")
                .route(get().to(endpoints::look))
                .route(actix_web::web::patch().to(endpoints::change))
                .route(actix_web::web::delete().to(endpoints::remove)),
        )
        .route("/v1/webhooks/{webhook}/rotate_secret", post().to(endpoints::rotate))
        .route("/v1/webhooks/{webhook}/messages", get().to(log::of_webhook))
        .route("/v1/runs/{run}/webhook_messages", get().to(log::of_run))
        .route("/v1/webhook_messages/{message}", get().to(log::look))
        .route("/v1/webhook_messages/{message}/replay", post().to(log::replay));
}

/// The webhook client with its settings, shared with the endpoints.
#[derive(Debug)]
pub struct Webhooks {
    /// The limits and timeouts of deliveries.
    pub settings: Settings,
    guard: Guard,
    client: reqwest::Client,
    woken: Notify,
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
