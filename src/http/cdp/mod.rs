//! `/v1/browser_sessions/{id}/cdp`: a session's DevTools, for whoever may drive it.
//!
//! The handshake with the browser is our own, because Chromium refuses those that carry an
//! `Origin` or a foreign `Host`. After it the bytes of both sides are passed on as they are, but for
//! what a driver sends to act on the page while a person has control, see `takeover`. To read
//! that, messages must not be compressed: no extension is negotiated unless the session shares
//! its page with its drivers.
//!
//! Who executes a block of a run drives by a pass, `?pass=`, for as long as the block goes on.
//!
//! `GET …/cdp/json/version` is what Playwright asks when it is given an `http` address.

mod driver;
mod takeover;

use std::io;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use actix_web::web::{Bytes, Data, Json, Payload, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Drive, SessionError};
use crate::actors::views::SessionView;
use crate::domain::control::OnTakeover;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::session::{DesktopIdentity, SessionStatus};
use crate::domain::websocket::Frames;
use crate::http::body::PathId;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::sessions::{find, on_takeover};
use driver::Driver;
use takeover::Upward;

/// How long a session may take to notice that its browser is gone.
const NOTICES: Duration = Duration::from_secs(5);

/// How long the browser may take to answer the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a session that is starting, or being brought back, is waited for.
const STARTING: Duration = Duration::from_secs(45);

/// How much is read from the browser at once.
const CHUNK: usize = 64 * 1024;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/browser_sessions/{id}/cdp", get().to(connect))
        .route("/v1/browser_sessions/{id}/cdp/json/version", get().to(version));
}

/// The desktop of a session that runs, and its view; waits for one that is starting.
async fn running(
    front: &Front,
    organization: OrganizationId,
    id: SessionId,
) -> Result<(DesktopIdentity, watch::Receiver<SessionView>), ApiError> {
    let Some(mut view) = front.world.views.session(organization, id) else {
        find(front, organization, id).await?;
        return Err(RouteError::Session(SessionError::Closing).into());
    };
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
        Some(desktop) if !status.is_final() => Ok((desktop, view)),
        Some(_) | None => Err(RouteError::Session(SessionError::Closing).into()),
    }
}

async fn version(
    Driver { organization, query, .. }: Driver,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    running(&front, organization, id).await?;
    let address = format!("{}/v1/browser_sessions/{id}/cdp{query}", front.socket_url());
    Ok(Json(json!({
        "Browser": "Chrome/Greenroom",
        "Protocol-Version": "1.3",
        "webSocketDebuggerUrl": address,
    })))
}

async fn connect(
    Driver { organization, until, .. }: Driver,
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
    let (desktop, mut view) = running(&front, organization, id).await?;
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
            let (desktop, revived) = running(&front, organization, id).await?;
            view = revived;
            reach(&desktop, key, extensions).await.map_err(|cause| unreachable(&cause))?
        }
    };

    let drive = Route { organization, session: id, message: Drive };
    let driving = front.registry.ask(drive).await.map_err(RouteError::from)??;
    let (from_browser, to_browser) = upstream.socket.into_split();
    let ended = CancellationToken::new();
    let (answers, refusals) = mpsc::unbounded_channel();
    let upward = Upward::new(to_browser, rule, view.clone(), answers);
    let ends = until_ended(view, front.closing.clone(), until);
    let guard = ended.clone().drop_guard();
    actix_web::rt::spawn(pass_on(payload, upward, ended));
    // The tunnel ends with the session, with the server, and when the client lets go of it.
    let down = down(upstream.early, from_browser, refusals).take_until(Box::pin(ends));
    let down = down.map(move |chunk| {
        let (_ends_the_other_direction, _drives) = (&guard, &driving);
        chunk
    });
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade("websocket").insert_header((SEC_WEBSOCKET_ACCEPT, upstream.accept));
    if let Some(extensions) = upstream.extensions {
        response.insert_header(("sec-websocket-extensions", extensions));
    }
    Ok(response.streaming(down))
}

async fn until_ended(
    mut view: watch::Receiver<SessionView>,
    closing: CancellationToken,
    until: CancellationToken,
) {
    tokio::select! {
        _ = view.wait_for(|view| view.closing || view.record.status.is_final()) => {}
        () = closing.cancelled() => {}
        () = until.cancelled() => {}
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

/// What the browser sends, in order, from what came right behind its answer; and between two of its
/// messages the refusals of commands that it never saw.
fn down(
    early: Bytes,
    from_browser: OwnedReadHalf,
    refusals: mpsc::UnboundedReceiver<Bytes>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    let state = (early, from_browser, refusals, Frames::default());
    stream::unfold(state, |(early, mut from_browser, mut refusals, mut frames)| async move {
        let read = async {
            if !early.is_empty() {
                return Ok(early);
            }
            let mut chunk = Vec::with_capacity(CHUNK);
            from_browser.read_buf(&mut chunk).await.map(|_length| Bytes::from(chunk))
        };
        let (chunk, of_browser) = tokio::select! {
            biased;
            Some(refusal) = refusals.recv(), if frames.is_between() => (Ok(refusal), false),
            chunk = read => (chunk, true),
        };
        if of_browser && let Ok(chunk) = &chunk {
            if chunk.is_empty() {
                return None;
            }
            let mut followed = chunk.clone();
            // Nothing is asked for, so nothing is put aside and nothing is too long.
            while let Ok(Some(_)) = frames.next(&mut followed, false) {}
        }
        Some((chunk, (Bytes::new(), from_browser, refusals, frames)))
    })
}

/// Passes on what the client sends, until either direction ends.
async fn pass_on(mut payload: Payload, mut upward: Upward, ended: CancellationToken) {
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
    tokio::select! {
        () = passing => {}
        () = ended.cancelled() => {}
    }
    upward.finish().await;
}
