//! The network targets that sessions may reach: parsing of requests, the network of a session, the
//! lists of the organization, and tests.

pub mod check;
pub mod organization;
mod request;

use actix_web::web::{ServiceConfig, get, post, put, resource as at};

pub use self::request::{EgressRequest, MOST_RULES};

pub fn routes(config: &mut ServiceConfig) {
    let lists =
        at("/v1/egress").route(get().to(organization::show)).route(put().to(organization::change));
    config.service(lists).route("/v1/browser_sessions/{id}/egress/check", post().to(check::check));
}
