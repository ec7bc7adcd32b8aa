//! `/v1/browser_sessions/{id}/cdp`: a session's DevTools, for whoever may drive it.
//!
//! The handshake with the browser is our own, because Chromium refuses those that carry an
//! `Origin` or a foreign `Host`. After it the bytes of both sides are passed on as they are, but for
//! what a driver sends to act on the page while a person has control, see `takeover`. To read
//! that, messages must not be compressed: no extension is negotiated unless the session shares
//! its page with its drivers.
//!
//! Who comes by a lease is sent away when the lease ends; the browser stays. Who executes a block
//! of a run drives by a pass, `?pass=`, for as long as the block goes on.
//!
//! `GET …/cdp/json/version` is what Playwright asks when it is given an `http` address.

mod admission;
mod downward;
mod takeover;

use std::io;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use actix_web::web::{Bytes, Data, Json, Payload, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Drive, SessionError};
use crate::actors::views::SessionView;
use crate::domain::control::OnTakeover;
use crate::domain::ids::SessionId;
use crate::domain::session::{DesktopIdentity, SessionStatus};
use crate::http::body::PathId;
use crate::http::bridge::{Close, CloseCode};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::sessions::on_takeover;
use admission::{Admitted, Ground, admit};
use downward::Downward;
use takeover::Upward;

/// How long a session may take to notice that its browser is gone.
const NOTICES: Duration = Duration::from_secs(5);

/// How long the browser may take to answer the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a session that is starting, or being brought back, is waited for.
const STARTING: Duration = Duration::from_secs(45);

/// How long the client has to take the close frame, and to answer it.
const PARTING: Duration = Duration::from_secs(2);

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/browser_sessions/{id}/cdp", get().to(connect))
        .route("/v1/browser_sessions/{id}/cdp/json/version", get().to(version));
}

/// The desktop of a session that runs; waits for one that is starting.
async fn running(view: &mut watch::Receiver<SessionView>) -> Result<DesktopIdentity, ApiError> {
    let coming = [SessionStatus::Created, SessionStatus::Retry];
    let settled = view.wait_for(|view| !coming.contains(&view.record.status));
    if timeout(STARTING, settled).await.is_err() {
        return Err(RouteError::Session(SessionError::Starting).into());
    }
    let (desktop, status) = {
        let view = view.borrow();
        (view.record.desktop.clone(), view.record.status)
    };
    match desktop {
        Some(desktop) if !status.is_final() => Ok(desktop),
        Some(_) | None => Err(RouteError::Session(SessionError::Closing).into()),
    }
}

async fn version(
    caller: Result<Caller, Problem>,
    PathId(id): PathId<SessionId>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let mut admitted = admit(&front, caller, id, request.query_string()).await?;
    running(&mut admitted.view).await?;
    let address = format!("{}{}", front.socket_url(), admitted.path(id));
    Ok(Json(json!({
        "Browser": "Chrome/Greenroom",
        "Protocol-Version": "1.3",
        "webSocketDebuggerUrl": address,
    })))
}

async fn connect(
    caller: Result<Caller, Problem>,
    PathId(id): PathId<SessionId>,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok())
    else {
        let detail = "this is a WebSocket: give it to connectOverCDP, or ask …/cdp/json/version";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_expected", detail).into());
    };
    let Admitted { mut view, ground } = admit(&front, caller, id, request.query_string()).await?;
    let desktop = running(&mut view).await?;
    // Before the browser is asked anything: one that hangs is noticed because somebody wants it.
    let organization = view.borrow().record.organization;
    let drive = Route { organization, session: id, message: Drive };
    let driving = front.registry.ask(drive).await.map_err(RouteError::from)??;
    let rule = on_takeover(&view.borrow().record, &front);
    let extensions = request.headers().get("sec-websocket-extensions");
    let extensions = extensions.and_then(|value| value.to_str().ok());
    let extensions = extensions.filter(|_offer| rule == OnTakeover::Share);
    let upstream = match reach(&desktop, key, extensions).await {
        Ok(upstream) => upstream,
        // It may have died a moment ago, and its session is about to notice: then it comes back.
        Err(cause) => {
            let notices = view.wait_for(|view| view.record.status != SessionStatus::Running);
            if timeout(NOTICES, notices).await.is_err() {
                return Err(unreachable(&cause));
            }
            let desktop = running(&mut view).await?;
            reach(&desktop, key, extensions).await.map_err(|cause| unreachable(&cause))?
        }
    };

    let (from_browser, to_browser) = upstream.socket.into_split();
    let (left, parted) = (CancellationToken::new(), CancellationToken::new());
    let (answers, refusals) = mpsc::unbounded_channel();
    let upward = Upward::new(to_browser, rule, view.clone(), answers);
    let (say_over, is_over) = mpsc::channel(1);
    let passing = Passing {
        upward,
        over: over(view, ground, front.closing.clone()),
        say_over,
        left: left.clone(),
        _parted: parted.clone().drop_guard(),
    };
    actix_web::rt::spawn(passing.run(payload));
    let down = Downward {
        early: upstream.early,
        from_browser,
        refusals,
        over: is_over,
        _left: left.drop_guard(),
        _drives: driving,
        parted,
    };
    let down = down.stream();
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade("websocket").insert_header((SEC_WEBSOCKET_ACCEPT, upstream.accept));
    if let Some(extensions) = upstream.extensions {
        response.insert_header(("sec-websocket-extensions", extensions));
    }
    Ok(response.streaming(down))
}

/// Resolves when a driver's time is over, and why: what it came by is good no more, or the session
/// ends, or the server.
async fn over(
    mut view: watch::Receiver<SessionView>,
    ground: Ground,
    closing: CancellationToken,
) -> Close {
    let (lease, pass) = match ground {
        Ground::Key => (None, None),
        Ground::Lease(lease) => (Some(lease), None),
        Ground::Pass { over, .. } => (None, Some(over)),
    };
    let pass = async {
        match pass {
            Some(over) => over.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let lost = |view: &SessionView| lease.as_ref().is_some_and(|lease| lease.check(view).is_err());
    let ends = |view: &SessionView| view.closing || view.record.status.is_final();
    tokio::select! {
        view = view.wait_for(|view| ends(view) || lost(view)) => match view {
            Ok(view) if !ends(&view) => Close::new(CloseCode::OccupancyLost, "occupancy-lost"),
            // One whose actor is gone has ended.
            Ok(_) | Err(_) => Close::new(CloseCode::Normal, "browser-closed"),
        },
        () = pass => Close::new(CloseCode::Policy, "pass-expired"),
        () = closing.cancelled() => Close::new(CloseCode::GoingAway, "the server is stopping"),
    }
}

/// A browser that has agreed to speak WebSocket.
struct Upstream {
    socket: TcpStream,
    /// What it says of the client's key.
    accept: String,
    extensions: Option<String>,
    /// What it sent right behind its answer.
    early: Bytes,
}

fn unreachable(cause: &io::Error) -> ApiError {
    let detail = format!("the browser does not answer: {cause}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "browser_unreachable", detail).retryable().into()
}

/// Shakes hands within [`HANDSHAKE`].
async fn reach(
    desktop: &DesktopIdentity,
    key: &str,
    extensions: Option<&str>,
) -> io::Result<Upstream> {
    let shaking = timeout(HANDSHAKE, shake_hands(desktop, key, extensions)).await;
    shaking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// RFC 6455, section 4.1, with the client's own key, so that the browser's answer to it is the
/// answer to the client.
async fn shake_hands(
    desktop: &DesktopIdentity,
    key: &str,
    extensions: Option<&str>,
) -> io::Result<Upstream> {
    let (address, path) = (desktop.devtools, &desktop.devtools_path);
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let extensions = extensions
        .map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{extensions}\r\n"
    );
    socket.write_all(request.as_bytes()).await?;

    let mut reader = BufReader::new(socket);
    let (mut status, mut accept, mut granted) = (String::new(), None, None);
    reader.read_line(&mut status).await?;
    loop {
        let mut line = String::new();
        if (&mut reader).take(16 * 1024).read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "sec-websocket-accept" => accept = Some(value.trim().to_owned()),
            "sec-websocket-extensions" => granted = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let Some(accept) = accept.filter(|_accept| status.contains(" 101 ")) else {
        return Err(io::Error::other(format!("it said {}", status.trim_end())));
    };
    let early = Bytes::copy_from_slice(reader.buffer());
    Ok(Upstream { socket: reader.into_inner(), accept, extensions: granted, early })
}

/// Passes on what the client sends.
struct Passing<F> {
    upward: Upward,
    /// Resolves when the client's time is over.
    over: F,
    /// Whom to tell.
    say_over: mpsc::Sender<Close>,
    /// Canceled when the client has left.
    left: CancellationToken,
    _parted: DropGuard,
}

impl<F: Future<Output = Close>> Passing<F> {
    /// Until either direction ends, or the client's time is over: then it is waited for, to take
    /// the close frame. From then on nothing that it sends reaches the browser.
    async fn run(self, mut payload: Payload) {
        let Self { mut upward, over, say_over, left, _parted } = self;
        let passing = async {
            loop {
                let passed = tokio::select! {
                    chunk = payload.next(), if upward.has_room() => match chunk {
                        Some(Ok(chunk)) => upward.take(chunk).await,
                        Some(Err(_)) | None => return,
                    },
                    () = upward.changed() => upward.let_go().await,
                };
                if passed.is_err() {
                    return;
                }
            }
        };
        let close = tokio::select! {
            biased;
            () = left.cancelled() => None,
            close = over => Some(close),
            () = passing => None,
        };
        if let Some(close) = close {
            let _ = say_over.send(close).await; // A client that has just left hears nothing.
            let leaving = async { while let Some(Ok(_)) = payload.next().await {} };
            let _late = timeout(PARTING, leaving).await;
        }
        upward.finish().await;
    }
}
