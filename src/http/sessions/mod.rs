//! `/v1/browser_sessions`: sessions, their occupancy and their viewers.
//!
//! The routes, fields and statuses of the compatible API are kept; our own are added to them.

pub mod begin;
pub mod close;
pub mod create;
pub mod extend;
pub mod files;
pub mod heartbeat;
pub mod list;
pub mod native;
pub mod native_seats;
pub mod recordings;
pub mod release;
pub mod renew;
pub mod rotate;
pub mod sanitize;
pub mod screenshot;
mod settings;
pub mod show;
pub mod storage_state;
pub mod viewers;

use actix_web::web::{ServiceConfig, delete, get, patch, post, put, resource as at};

use super::error::ApiError;
use super::front::Front;
use crate::actors::ask::{Ask, Handle};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Session, SessionError};
pub use crate::service::lookup::session as find;
pub use crate::service::resources::session::{SessionResource, on_takeover};

/// Adds the routes. `history` must precede `{id}`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/browser_sessions").route(post().to(create::create)).route(get().to(list::list)),
        )
        .route("/v1/browser_sessions/history", get().to(list::history))
        .service(
            at("/v1/browser_sessions/{id}")
                .route(get().to(show::show))
                .route(patch().to(renew::change)),
        )
        .route("/v1/browser_sessions/{id}/renew", post().to(renew::renew))
        .route("/v1/browser_sessions/{id}/close", post().to(close::close))
        .route("/v1/browser_sessions/{id}/begin", post().to(begin::begin))
        .route("/v1/browser_sessions/{id}/heartbeat", post().to(heartbeat::heartbeat))
        .route("/v1/browser_sessions/{id}/release", post().to(release::release))
        .route("/v1/browser_sessions/{id}/sanitize", post().to(sanitize::sanitize))
        .route("/v1/browser_sessions/{id}/rotate", post().to(rotate::rotate))
        .route("/v1/browser_sessions/{id}/extend", post().to(extend::extend))
        .route("/v1/browser_sessions/{id}/screenshot", get().to(screenshot::screenshot))
        .route("/v1/browser_sessions/{id}/vnc", get().to(native::native))
        .service(
            at("/v1/browser_sessions/{id}/storage_state")
                .route(get().to(storage_state::show))
                .route(put().to(storage_state::put)),
        )
        .service(
            at("/v1/browser_sessions/{id}/recordings")
                .route(post().to(recordings::start))
                .route(get().to(recordings::list)),
        )
        .route("/v1/browser_sessions/{id}/recordings/{recording}/stop", post().to(recordings::stop))
        .route("/v1/browser_sessions/{id}/artifacts", get().to(recordings::artifacts))
        .service(
            at("/v1/browser_sessions/{id}/viewers")
                .route(post().to(viewers::invite))
                .route(get().to(viewers::list))
                .route(delete().to(viewers::revoke_all)),
        )
        .route("/v1/browser_sessions/{id}/viewers/{viewer}", delete().to(viewers::kick));
    files::routes(config);
    // The routes of an older version of the compatible API.
    config
        .service(
            at("/api/v1/browser_sessions")
                .route(post().to(create::create))
                .route(get().to(list::list)),
        )
        .route("/api/v1/browser_sessions/close", post().to(close::close_all))
        .route("/api/v1/browser_sessions/{id}", get().to(show::show))
        .route("/api/v1/browser_sessions/{id}/close", post().to(close::close));
}

/// Sends a message to a session and returns its answer. For a session that has ended the error is
/// that of a closing one (410); 404 is for sessions that never existed.
pub async fn ask_session<T, M>(front: &Front, route: Route<M>) -> Result<T, ApiError>
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, SessionError>>,
    Session: Handle<M>,
{
    let (organization, id) = (route.organization, route.session);
    if M::NEEDS_BROWSER {
        front.awake(organization, id).await?;
    }
    match front.registry.ask(route).await? {
        Ok(answer) => Ok(answer),
        Err(RouteError::Unknown(_)) => {
            find(front, organization, id).await?;
            Err(RouteError::Session(SessionError::Closing).into())
        }
        Err(cause) => Err(cause.into()),
    }
}
