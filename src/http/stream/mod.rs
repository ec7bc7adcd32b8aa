//! `/v1/stream/…`: live pictures of sessions, control and input, over WebSockets.
//!
//! A rejected viewer is first accepted, and then closed with a code after a delay, because the
//! compatible API's viewers reconnect at once.

mod input;
mod line;
mod messages;
mod pages;
mod pictures;
mod run;
mod screencast;
mod subject;
mod vnc;

use std::future::pending;

use actix_web::web::{Path, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse, web};
use tokio_util::sync::CancellationToken;

use super::bridge::{self, Close, CloseCode};
use super::caller::Visitor;
use super::front::Front;
use super::problem::Problem;
use crate::actors::ask::{Ask, Handle};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Session, SessionError};
use crate::domain::ids::{RunId, SessionId};

/// Adds the routes under both prefixes of the compatible API.
pub fn routes(config: &mut ServiceConfig) {
    for prefix in ["/v1", "/api/v1"] {
        let of = "{what:browser_session|workflow_run}/{id}";
        config
            .route(&format!("{prefix}/stream/vnc/{of}"), get().to(vnc::vnc))
            .route(&format!("{prefix}/stream/messages/{of}"), get().to(messages::messages))
            .route(&format!("{prefix}/stream/cdp_input/{of}"), get().to(input::input))
            .route(
                &format!("{prefix}/stream/{{what:browser_sessions|workflow_runs}}/{{id}}"),
                get().to(pictures::pictures),
            );
    }
}

/// The subject in a path: `browser_session` or `workflow_run`, and its id.
type Named = Path<(String, String)>;

/// Returns the session that a path names, directly or by its run.
fn session_of(front: &Front, visitor: &Visitor, what: &str, id: &str) -> Result<SessionId, Close> {
    if what.starts_with("browser_session") {
        return id.parse().map_err(|_wrong| unknown("session"));
    }
    let run: RunId = id.parse().map_err(|_wrong| unknown("run"))?;
    let view = front.world.views.run(visitor.organization, run).ok_or_else(|| unknown("run"))?;
    let session = view.borrow().record.session;
    session.ok_or_else(|| Close::new(CloseCode::TryAgainLater, "not ready"))
}

fn unknown(what: &str) -> Close {
    Close::new(CloseCode::TryAgainLater, format!("there is no such {what}"))
}

/// Starts the browser of a session if it waits for its first use.
async fn awake(front: &Front, visitor: &Visitor, session: SessionId) -> Result<(), Close> {
    let woken = front.awake(visitor.organization, session).await;
    woken.map_err(|cause| Close::new(CloseCode::TryAgainLater, cause.to_string()))
}

/// Sends a message to a session on behalf of a viewer; errors become close codes.
async fn asked<M, T>(
    front: &Front,
    visitor: &Visitor,
    session: SessionId,
    message: M,
) -> Result<T, Close>
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, SessionError>>,
    Session: Handle<M>,
{
    if M::NEEDS_BROWSER {
        awake(front, visitor, session).await?;
    }
    let route = Route { organization: visitor.organization, session, message };
    let reason = match front.registry.ask(route).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(RouteError::Session(SessionError::Starting))) => "not ready".to_owned(),
        Ok(Err(cause)) => cause.to_string(),
        Err(cause) => cause.to_string(),
    };
    Err(Close::new(CloseCode::TryAgainLater, reason))
}

/// Delays the rejection of an accepted viewer as long as any other.
async fn slowly<T>(asked: impl Future<Output = Result<T, Close>>) -> Result<T, Close> {
    let answer = asked.await;
    if answer.is_err() {
        tokio::time::sleep(bridge::REFUSAL_DELAY).await;
    }
    answer
}

fn turn_away(
    request: &HttpRequest,
    payload: web::Payload,
    close: Close,
) -> Result<HttpResponse, actix_web::Error> {
    bridge::refuse(request, payload, close)
}

/// Returns the close code for rejected credentials. A failed look-up is not reported as invalid
/// credentials.
fn not_let_in(problem: &Problem) -> Close {
    if problem.status.is_server_error() {
        Close::new(CloseCode::TryAgainLater, problem.code.clone())
    } else {
        Close::new(CloseCode::Protocol, "Invalid credentials")
    }
}

/// Resolves with the reason when a viewer must be disconnected.
async fn over(
    front: &Front,
    ended: &CancellationToken,
    out: &CancellationToken,
    visitor: &Visitor,
) -> Close {
    let expired = async {
        match visitor.until {
            Some(at) => tokio::time::sleep(front.world.clock.until(at)).await,
            None => pending().await,
        }
    };
    let revocation = front.keys.watch(visitor.key);
    tokio::select! {
        () = ended.cancelled() => Close::new(CloseCode::Normal, "browser-closed"),
        () = out.cancelled() => Close::new(CloseCode::Policy, "put-out"),
        () = expired => Close::new(CloseCode::Policy, "ticket-expired"),
        () = revocation.revoked() => Close::new(CloseCode::Policy, "key-revoked"),
        () = front.closing.cancelled() => Close::new(CloseCode::GoingAway, "the server is stopping"),
    }
}
