//! `/admin`: the API of operators. It needs the operator key of the settings, or a key with the role
//! `operator`.

pub mod audit;
pub mod config;
pub mod deletion;
pub mod drain;
pub mod leaks;
pub mod messages;
pub mod nodes;
pub mod organizations;
pub mod pool;
pub mod pressure;
pub mod profiles;
mod retention;
pub mod suspension;

use actix_web::web::{ServiceConfig, delete, get, patch, post, put, resource as at};

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/admin/messages", get().to(messages::list))
        .route("/admin/messages/stream", get().to(messages::stream))
        .route("/admin/messages/{message}", get().to(messages::show))
        .route("/admin/actors", get().to(messages::actors))
        .route("/admin/audit", get().to(audit::list))
        .route("/admin/config", get().to(config::show))
        .route("/admin/nodes", get().to(nodes::list))
        .route("/admin/pressure", get().to(pressure::show))
        .route("/admin/leaks", get().to(leaks::show))
        .route("/admin/leaks/fix", post().to(leaks::fix))
        .route("/admin/pool", get().to(pool::show))
        .service(
            at("/admin/pool/{name}").route(put().to(pool::put)).route(delete().to(pool::delete)),
        )
        .route("/admin/profiles/restore", post().to(profiles::begin))
        .service(
            at("/admin/organizations")
                .route(post().to(organizations::create))
                .route(get().to(organizations::list)),
        )
        .service(
            at("/admin/organizations/{id}")
                .route(get().to(organizations::show))
                .route(patch().to(organizations::change))
                .route(delete().to(deletion::delete)),
        )
        .service(
            at("/admin/organizations/{id}/api_keys")
                .route(post().to(organizations::make_key))
                .route(get().to(organizations::list_keys)),
        )
        .route("/admin/organizations/{id}/api_keys/{key}", delete().to(organizations::revoke_key))
        .route(
            "/admin/organizations/{id}/api_keys/{key}/rotate",
            post().to(organizations::rotate_key),
        )
        .service(
            at("/admin/drain")
                .route(post().to(drain::begin))
                .route(get().to(drain::show))
                .route(delete().to(drain::end)),
        );
}
