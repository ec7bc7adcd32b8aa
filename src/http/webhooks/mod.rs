//! Telling clients' servers what has happened.
//!
//! What is to be told is a row, written in the transaction that stores what it tells of: the end of
//! a run that names a webhook, an event that a webhook of the organization wants. [`deliver`] tells
//! it, at least once, whatever becomes of this server; nothing waits for it.
//!
//! It stands in this floor because what is told of a run is what the API shows of it.

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

/// Adds the routes.
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

/// What tells clients' servers, as endpoints see it.
#[derive(Debug)]
pub struct Webhooks {
    /// Limits and patience.
    pub settings: Settings,
    guard: Guard,
    client: reqwest::Client,
    woken: Notify,
}

impl Webhooks {
    /// With these settings.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(settings.guard());
        let client = guard.client(settings.timeout())?;
        Ok(Self { settings, guard, client, woken: Notify::new() })
    }

    /// Says that something is to be told that was not stored with an event.
    pub fn wake(&self) {
        self.woken.notify_one();
    }
}
