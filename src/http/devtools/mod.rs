//! `/v1/browser_sessions/{id}/cdp`: a session's DevTools, for drivers.
//!
//! This module admits drivers; [`live::devtools`](crate::live::devtools) connects them. A block's
//! executor connects with a pass, `?pass=`, for as long as the block runs.
//!
//! Below this path are the addresses of Chromium's own server, so that the path is good wherever a
//! client takes the address of a browser. Clients that drop the path use the host name of the session
//! ([`own_host`]) or a port of it ([`port`]).

mod admission;
pub mod discovery;
pub mod own_host;
pub mod port;

use std::net::SocketAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::{Data, Path, Payload, ServiceConfig, get, post, put};
use actix_web::{HttpRequest, HttpResponse};

use self::admission::{Admitted, admit};
use super::caller::{self, refused, unusable};
use super::error::{ApiError, stopping};
use super::front::Front;
use super::problem::Problem;
use super::subject;
use crate::actors::registry::RouteError;
use crate::actors::session::SessionError;
use crate::domain::ids::SessionId;
use crate::domain::quota::Quota;
use crate::live::bridge::CloseCode;
use crate::live::devtools::{self, ConnectError, Driver, Endpoint, PORT_PEER, TargetError};

/// The headers of requests that a proxy has forwarded.
const FORWARDED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

pub fn routes(config: &mut ServiceConfig) {
    let at = |below: &str| format!("/v1/browser_sessions/{{id}}/cdp{below}");
    config
        .route(&at(""), get().to(to_browser))
        .route(&at("/devtools/browser"), get().to(to_browser))
        // A restarted browser has another name, and the session has only one browser.
        .route(&at("/devtools/browser/{browser}"), get().to(to_browser))
        .route(&at("/devtools/page/{target}"), get().to(to_page))
        .route(&at("/json"), get().to(discovery::list))
        .route(&at("/json/list"), get().to(discovery::list))
        .route(&at("/json/version"), get().to(discovery::version))
        .route(&at("/json/protocol"), get().to(discovery::protocol))
        .route(&at("/json/new"), put().to(discovery::open))
        .route(&at("/json/close/{target}"), get().to(discovery::close))
        .route(&at("/json/activate/{target}"), get().to(discovery::activate))
        .route(&at("/port"), post().to(port::open));
}

/// Returns the session that the path names as `id`; 404 for a malformed id.
fn session_of(request: &HttpRequest) -> Result<SessionId, Problem> {
    subject::note(request);
    let text = request.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|_not_an_id| Problem::unknown::<SessionId>(text))
}

async fn to_browser(
    driver: Result<caller::Driver, Problem>,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    connect(driver, Endpoint::Browser, request, payload, front).await
}

async fn to_page(
    driver: Result<caller::Driver, Problem>,
    request: HttpRequest,
    path: Path<(String, String)>,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let endpoint = discovery::target_of(&path.1).map(Endpoint::Page);
    // A client without rights does not learn more from an odd id.
    match endpoint {
        Ok(endpoint) => connect(driver, endpoint, request, payload, front).await,
        Err(problem) => {
            admit(&front, driver, session_of(&request)?, &request, request.query_string()).await?;
            Err(problem.into())
        }
    }
}

/// Returns the key of a WebSocket's handshake.
///
/// # Errors
///
/// 426 for another request.
pub(super) fn handshake_key(request: &HttpRequest) -> Result<&str, Problem> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    key.ok_or_else(|| {
        let detail = "this is a WebSocket: pass it to connectOverCDP, or get …/cdp/json/version; where a \
                      client takes the http address of a browser, it is the one that ends with …/cdp";
        Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_expected", detail)
    })
}

async fn connect(
    driver: Result<caller::Driver, Problem>,
    endpoint: Endpoint,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let id = session_of(&request)?;
    let key = handshake_key(&request)?;
    let admitted = admit(&front, driver, id, &request, request.query_string()).await?;
    let Admitted { view, ground, .. } = admitted;
    let organization = view.borrow().record.organization;
    let place = front.place(organization, Quota::DevtoolsConnections)?;
    front.awake(organization, id).await?;
    let local = local_peer(&front, &request);
    let driver = Driver { session: id, view, ground, endpoint, local, place, ended: None };
    let answer = devtools::connect(&front, driver, key, payload).await.map_err(not_connected)?;
    Ok(with_subprotocol(&request, answer))
}

/// Chooses the first subprotocol that the client offers and that is no credential: the page of a browser
/// needs one of those that it offers.
pub(super) fn with_subprotocol(request: &HttpRequest, mut answer: HttpResponse) -> HttpResponse {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let offers = offers.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    let chosen = offers.map(str::trim).find(|it| !it.is_empty() && !it.starts_with("greenroom."));
    if let Some(Ok(chosen)) = chosen.map(HeaderValue::from_str) {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    answer
}

/// Converts the reason why a driver was not connected.
pub(super) fn not_connected(cause: ConnectError) -> ApiError {
    match cause {
        ConnectError::Route(cause) => cause.into(),
        ConnectError::Unreachable(_) => unreachable(cause.to_string()),
        ConnectError::Ticket(cause) => unusable(cause).into(),
        ConnectError::Target(cause) => target_failed(cause),
    }
}

fn target_failed(cause: TargetError) -> ApiError {
    let detail = cause.to_string();
    let problem = |status, code| Problem::new(status, code, detail.clone()).into();
    match cause {
        TargetError::Route(cause) => cause.into(),
        TargetError::Unreachable(_) => unreachable(detail),
        TargetError::Forbidden(_) => problem(StatusCode::FORBIDDEN, "command_refused"),
        TargetError::Failed(_) => problem(StatusCode::UNPROCESSABLE_ENTITY, "command_failed"),
        TargetError::Unknown(_) => problem(StatusCode::NOT_FOUND, "target_unknown"),
        TargetError::Over(close) if close.code == CloseCode::OccupancyLost => {
            problem(StatusCode::CONFLICT, "occupancy_lost")
        }
        TargetError::Over(close) if close.code == CloseCode::GoingAway => stopping().into(),
        TargetError::Over(close) if close.code == CloseCode::Normal => {
            RouteError::Session(SessionError::Closing).into()
        }
        TargetError::Over(_) => refused().into(),
    }
}

fn unreachable(detail: String) -> ApiError {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "browser_unreachable", detail).retryable().into()
}

/// Returns the client's address and the port that it is connected to, if the client itself is on this
/// machine; `None` if only a proxy is. A port of a session names its own client.
pub(super) fn local_peer(front: &Front, request: &HttpRequest) -> Option<(SocketAddr, u16)> {
    if let Some(secret) = request.headers().get(devtools::PORT_SECRET) {
        let opened = front.devtools.ports.opened(secret.to_str().ok()?)?;
        let peer = request.headers().get(PORT_PEER)?.to_str().ok()?.parse().ok()?;
        return Some((peer, opened.address.port()));
    }
    let peer = peer_on_this_machine(request)?;
    Some((peer, front.address.port()))
}

/// Returns the client's address if the client itself is on this machine; `None` if only a proxy is.
fn peer_on_this_machine(request: &HttpRequest) -> Option<SocketAddr> {
    let peer = request.peer_addr().filter(|peer| peer.ip().to_canonical().is_loopback())?;
    let is_forwarded = FORWARDED.iter().any(|header| request.headers().contains_key(*header));
    (!is_forwarded).then_some(peer)
}
