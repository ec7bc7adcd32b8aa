//! `/v1/browser_sessions`: sessions, and who drives them.
//!
//! The routes, fields and statuses of the compatible API are kept; what is ours stands beside
//! them.

mod begin;
mod close;
mod create;
mod heartbeat;
mod list;
mod look;
mod release;
pub mod resource;
mod screenshot;

use actix_web::web::{ServiceConfig, get, post, resource as at};

pub use self::resource::SessionResource;
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use crate::actors::views::SessionView;
use crate::db;
use crate::domain::ids::{OrganizationId, SessionId};

/// Adds the routes. `history` stands before `{id}`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/browser_sessions").route(post().to(create::create)).route(get().to(list::list)),
        )
        .route("/v1/browser_sessions/history", get().to(list::history))
        .route("/v1/browser_sessions/{id}", get().to(look::look))
        .route("/v1/browser_sessions/{id}/close", post().to(close::close))
        .route("/v1/browser_sessions/{id}/begin", post().to(begin::begin))
        .route("/v1/browser_sessions/{id}/heartbeat", post().to(heartbeat::heartbeat))
        .route("/v1/browser_sessions/{id}/release", post().to(release::release))
        .route("/v1/browser_sessions/{id}/screenshot", get().to(screenshot::screenshot));
}

/// A session as it stands: as it was last published if it lives, and as it is stored if not.
pub async fn find(
    front: &Front,
    organization: OrganizationId,
    id: SessionId,
) -> Result<SessionView, ApiError> {
    if let Some(view) = front.world.views.session(organization, id) {
        return Ok(view.borrow().clone());
    }
    match db::sessions::by_id(&front.db, organization, id).await? {
        Some(record) => Ok(SessionView::of_stored(record)),
        None => Err(Problem::unknown::<SessionId>(id).into()),
    }
}
