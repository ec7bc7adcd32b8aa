//! `GET /v1/browser_sessions/{id}/explain` and `GET /v1/runs/{id}/explain`: the cause of a state.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::{Data, Json, ServiceConfig, get};
use actix_web::{FromRequest, HttpRequest};

use super::body::PathId;
use super::caller::{Bearer, Operator};
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use crate::db;
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::domain::tenancy::KeyRole;
use crate::service::error::ServiceError;
use crate::service::explain::{self, Explanation, Reader};

/// Adds the routes. They must come before those with an id at the end.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/browser_sessions/{id}/explain", get().to(session))
        .route("/v1/runs/{run}/explain", get().to(run));
}

/// The client that asks for an explanation: an operator, for anything on this server, or a client
/// whose key opens everything of its organization.
#[derive(Debug, Clone, Copy)]
pub enum Asker {
    /// A client with the operator key, or with a key that has the role `operator`.
    Operator,
    /// A client of this organization.
    Organization(OrganizationId),
}

impl FromRequest for Asker {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if Operator::comes_with(request) {
            return Box::pin(std::future::ready(Ok(Self::Operator)));
        }
        let bearer = Bearer::from_request(request, payload);
        Box::pin(async move {
            let bearer = bearer.await?;
            if bearer.at_least(KeyRole::Operator).is_ok() {
                return Ok(Self::Operator);
            }
            Ok(Self::Organization(bearer.whole()?.organization))
        })
    }
}

/// Explains why a session is in its state: the first sentence names the cause, and fields have the holder, the queue,
/// the next deadline, the last error, the latest messages and the programs. An operator is also shown the numbers of
/// processes, the ends of their logs, and the details of messages, for the sessions of all organizations.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/explain",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The explanation", body = Explanation),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn session(
    asker: Asker,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Explanation>, ApiError> {
    let (organization, reader) = match asker {
        Asker::Organization(organization) => (organization, Reader::Organization),
        Asker::Operator => {
            let live = front.world.views.session_of_anyone(id);
            let live = live.map(|view| view.borrow().record.organization);
            let owner = match live {
                Some(owner) => Some(owner),
                None => db::sessions::owner(&front.db, id).await?,
            };
            (owner.ok_or_else(|| ServiceError::unknown(id))?, Reader::Operator)
        }
    };
    Ok(Json(explain::session(&front, organization, id, reader).await?))
}

/// Explains why a run is in its state, as for a session; with the explanation of the session that it uses.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/explain",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    responses(
        (status = 200, description = "The explanation", body = Explanation),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn run(
    asker: Asker,
    PathId(id): PathId<RunId>,
    front: Data<Front>,
) -> Result<Json<Explanation>, ApiError> {
    let (organization, reader) = match asker {
        Asker::Organization(organization) => (organization, Reader::Organization),
        Asker::Operator => {
            let owner = db::runs::owner(&front.db, id).await?;
            (owner.ok_or_else(|| ServiceError::unknown(id))?, Reader::Operator)
        }
    };
    Ok(Json(explain::run(&front, organization, id, reader).await?))
}
