//! `WS /v1/stream/vnc/browser_session/{id}`: a session's display, by RFB.
//!
//! The compatible API's viewers are accepted and then closed with a code when they are refused,
//! and not at once, because they dial again at once.

use std::str::FromStr as _;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span};

use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{SessionError, Watch, Watching};
use crate::domain::ids::SessionId;
use crate::domain::rfb::{Dialect, Policy, Role};
use crate::http::bridge::{self, Close, CloseCode, Endpoint, Limits};
use crate::http::caller::Caller;
use crate::http::front::Front;
use crate::http::problem::Problem;

pub async fn vnc(
    caller: Result<Caller, Problem>,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, actix_web::Error> {
    let Ok(caller) = caller else {
        let close = Close::new(CloseCode::Protocol, "Invalid credentials");
        return bridge::refuse(&request, payload, close);
    };
    let watching = match SessionId::from_str(&id) {
        Ok(session) => watch(&front, caller, session, &request).await,
        Err(_) => Err("there is no such session".to_owned()),
    };
    let watching = match watching {
        Ok(watching) => watching,
        Err(reason) => {
            return bridge::refuse(&request, payload, Close::new(CloseCode::TryAgainLater, reason));
        }
    };
    let (response, socket) = bridge::accept(&request, payload)?;
    let closing = front.closing.clone();
    let span = info_span!("viewer", session.id = %*id);
    actix_web::rt::spawn(serve(socket, watching, closing).instrument(span));
    Ok(response)
}

async fn watch(
    front: &Front,
    caller: Caller,
    session: SessionId,
    request: &HttpRequest,
) -> Result<Watching, String> {
    let label = request.connection_info().realip_remote_addr().unwrap_or("viewer").to_owned();
    let message = Watch { label };
    let route = Route { organization: caller.organization, session, message };
    match front.registry.ask(route).await {
        Ok(Ok(watching)) => Ok(watching),
        Ok(Err(RouteError::Session(SessionError::Starting))) => Err("not ready".to_owned()),
        Ok(Err(cause)) => Err(cause.to_string()),
        Err(cause) => Err(cause.to_string()),
    }
}

/// Bridges until somebody has had enough. The seat at the VNC server and the place in the session
/// are given back when this returns.
async fn serve(socket: bridge::Socket, watching: Watching, closing: CancellationToken) {
    let Watching { seat, ended, view: _, guard } = watching;
    let endpoint = Endpoint {
        address: seat.endpoint.address,
        password: seat.endpoint.password.clone(),
        dialect: Dialect::X11VNC,
    };
    // Without a message channel that says who has control, everybody who may come in may drive.
    let (_control, role) = watch::channel(Role::Control);
    let stop = async {
        tokio::select! {
            () = ended.cancelled() => Close::new(CloseCode::Normal, "browser-closed"),
            () = closing.cancelled() => Close::new(CloseCode::GoingAway, "the server is stopping"),
        }
    };
    let limits = Limits::default();
    let ended = bridge::run(socket, endpoint, role, Policy::default(), limits, stop).await;
    debug!("a viewer has left: {}", ended.why);
    drop((seat, guard));
}
