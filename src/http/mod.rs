//! The HTTP API, the WebSockets and the pages.
//!
//! This module contains what all endpoints share: the reading of requests ([`body`]), the body of
//! errors ([`problem`]), ids of requests ([`request_id`]), and the order of the layers around the
//! endpoints ([`application`]).

mod absent;
pub mod admin;
pub mod agent;
pub mod api_keys;
pub mod artifacts;
pub mod body;
pub mod browser_profiles;
pub mod caller;
mod changes;
pub mod connect;
pub mod connections;
mod content;
mod counting;
pub mod debug_sessions;
pub mod devtools;
mod dialect;
pub mod egress;
mod ending;
pub mod error;
pub mod events;
pub mod explain;
pub mod extensions;
mod fallback;
mod field_error;
mod file_answer;
pub mod front;
mod headers;
pub mod health;
pub mod idempotency;
mod lasting;
pub mod links;
pub mod mcp;
pub mod metrics;
pub mod name_turns;
pub mod openapi;
pub mod outside;
pub mod pages;
mod paging;
pub mod picture;
pub mod problem;
mod proxy;
pub mod quotas;
pub mod request_id;
pub mod runs;
pub mod security;
pub mod sessions;
mod settings;
mod shares;
pub mod static_site;
pub mod stream;
mod subject;
mod traced;
pub mod ui_session;
mod under_way;
pub mod validation;
mod warnings;
pub mod webhooks;
pub mod workflows;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::{App, Error, web};

pub use settings::{Settings, Wrong};

/// Adds the routes of every endpoint.
pub fn routes(config: &mut web::ServiceConfig) {
    health::routes(config);
    explain::routes(config);
    metrics::routes(config);
    sessions::routes(config);
    egress::routes(config);
    events::routes(config);
    webhooks::routes(config);
    runs::routes(config); // Before those of workflows, whose ids would be `runs`.
    workflows::routes(config);
    browser_profiles::routes(config);
    artifacts::routes(config);
    extensions::routes(config);
    debug_sessions::routes(config);
    devtools::routes(config);
    mcp::routes(config);
    connect::routes(config);
    agent::routes(config);
    stream::routes(config);
    ui_session::routes(config);
    api_keys::routes(config);
    quotas::routes(config);
    admin::routes(config);
    openapi::routes(config);
}

/// Returns an application with the pages and every layer that the endpoints share, but without
/// endpoints.
///
/// From the outside in: figures, the request's id and the access log, headers that protect, refusals for quotas,
/// errors in one shape, cross-origin rules, host names of sessions, and paths without trailing slashes. Patterns of routes are written
/// without a trailing slash and answer with and without; that includes WebSockets, of which only
/// the path is rewritten.
pub fn application(
    settings: &Settings,
    bodies: &body::Bodies,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .app_data(web::Data::new(outside::TrustedProxies(settings.trusted_proxies.clone())))
        .app_data(web::Data::new(devtools::own_host::SessionDomain::of(settings)))
        .app_data(bodies.clone())
        .app_data(web::PayloadConfig::new(settings.max_body_bytes))
        .configure(pages::routes(settings))
        .default_service(web::to(fallback::no_route))
        .wrap(NormalizePath::trim())
        .wrap(from_fn(devtools::own_host::lead))
        .wrap(from_fn(pages::without_slash))
        .wrap(security::cors(settings))
        .wrap(from_fn(fallback::answers))
        .wrap(from_fn(quotas::answers))
        .wrap(from_fn(security::headers))
        .wrap(from_fn(outside::resolve))
        .wrap(from_fn(request_id::identify))
        .wrap(from_fn(connections::hold))
        .wrap(from_fn(counting::count))
}

#[cfg(test)]
mod tests;
