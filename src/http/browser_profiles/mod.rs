//! `/v1/browser_profiles`: stored states of browsers, from which sessions start.

pub mod endpoints;
pub mod resource;
pub mod storage_state;
pub mod versions;

use actix_web::web::{ServiceConfig, delete, get, patch, post, put, resource as at};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/browser_profiles")
                .route(post().to(endpoints::create))
                .route(get().to(endpoints::list)),
        )
        .service(
            at("/v1/browser_profiles/{profile}")
                .route(get().to(endpoints::show))
                .route(patch().to(endpoints::change))
                .route(delete().to(endpoints::remove)),
        )
        .service(
            at("/v1/browser_profiles/{profile}/storage_state")
                .route(get().to(storage_state::show))
                .route(put().to(storage_state::put)),
        )
        .route("/v1/browser_profiles/{profile}/usage", get().to(endpoints::usage))
        .route("/v1/browser_profiles/{profile}/versions", get().to(versions::list))
        .route("/v1/browser_profiles/{profile}/rollback", post().to(versions::roll_back))
        .route("/v1/browser_profiles/{profile}/versions/{number}", delete().to(versions::remove))
        .route("/v1/browser_sessions/{session}/profile", post().to(versions::store));
    for name in super::workflows::NAMES {
        let of = |rest: &str| format!("/v1/{name}/{{workflow}}/browser_session/{rest}");
        config
            .route(&of("reset_profile"), post().to(endpoints::reset))
            .route(&of("refresh"), post().to(endpoints::reset));
    }
}
