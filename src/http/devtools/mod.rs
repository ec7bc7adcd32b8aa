//! `/v1/browser_sessions/{id}/cdp`: a session's DevTools, for drivers.
//!
//! This module admits drivers; [`live::devtools`](crate::live::devtools) connects them. A block's
//! executor connects with a pass, `?pass=`, for as long as the block runs.

mod admission;
mod discovery;

use std::net::SocketAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::SEC_WEBSOCKET_KEY;
use actix_web::web::{Data, Payload, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse};

use self::admission::{Admitted, admit};
use super::body::PathId;
use super::caller::{self, unusable};
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use super::quotas;
use crate::domain::ids::SessionId;
use crate::domain::quota::Quota;
use crate::live::devtools::{self, ConnectError, Driver};

/// The headers of requests that a proxy has forwarded.
const FORWARDED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/browser_sessions/{id}/cdp", get().to(connect))
        .route("/v1/browser_sessions/{id}/cdp/json/version", get().to(discovery::version));
}

async fn connect(
    driver: Result<caller::Driver, Problem>,
    PathId(id): PathId<SessionId>,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok())
    else {
        let detail = "this is a WebSocket: pass it to connectOverCDP, or get …/cdp/json/version";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_expected", detail).into());
    };
    let Admitted { view, ground } = admit(&front, driver, id, request.query_string()).await?;
    let organization = view.borrow().record.organization;
    quotas::admit(&request, organization).await?; // Also for a client that has a lease or a pass.
    let place = front.place(organization, Quota::DevtoolsConnections)?;
    front.awake(organization, id).await?;
    let local = peer_on_this_machine(&request);
    let driver = Driver { session: id, view, ground, local, place };
    devtools::connect(&front, driver, key, payload).await.map_err(not_connected)
}

fn not_connected(cause: ConnectError) -> ApiError {
    match cause {
        ConnectError::Route(cause) => cause.into(),
        ConnectError::Unreachable(_) => unreachable(cause.to_string()),
        ConnectError::Ticket(cause) => unusable(cause).into(),
    }
}

fn unreachable(detail: String) -> ApiError {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "browser_unreachable", detail).retryable().into()
}

/// Returns the client's address if the client itself is on this machine; `None` if only a proxy is.
fn peer_on_this_machine(request: &HttpRequest) -> Option<SocketAddr> {
    let peer = request.peer_addr().filter(|peer| peer.ip().to_canonical().is_loopback())?;
    let is_forwarded = FORWARDED.iter().any(|header| request.headers().contains_key(*header));
    (!is_forwarded).then_some(peer)
}
