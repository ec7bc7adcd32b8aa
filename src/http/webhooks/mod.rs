//! `/v1/webhooks`: the webhooks of an organization, and the record of their messages.
//!
//! Messages are delivered by [`service::webhooks`](crate::service::webhooks).

pub mod endpoints;
pub mod log;

use actix_web::web::{ServiceConfig, get, post, resource as at};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/webhooks").route(post().to(endpoints::create)).route(get().to(endpoints::list)),
        )
        .service(
            at("/v1/webhooks/{webhook}")
                .route(get().to(endpoints::show))
                .route(actix_web::web::patch().to(endpoints::change))
                .route(actix_web::web::delete().to(endpoints::remove)),
        )
        .route("/v1/webhooks/{webhook}/rotate_secret", post().to(endpoints::rotate))
        .route("/v1/webhooks/{webhook}/messages", get().to(log::of_webhook))
        .route("/v1/runs/{run}/webhook_messages", get().to(log::of_run))
        .route("/v1/webhook_messages/{message}", get().to(log::show))
        .route("/v1/webhook_messages/{message}/replay", post().to(log::replay));
}
