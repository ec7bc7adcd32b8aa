//! `WS /v1/stream/browser_sessions/{id}` and `…/workflow_runs/{id}`: pictures of the display as JSON
//! frames, one for each change, from the capture that everybody shares.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{Message, MessageStream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Named, asked, over, session_of, turn_away};
use crate::actors::session::{Follow, Followed, Picture};
use crate::http::body::parse_query;
use crate::http::bridge::{self, Close, CloseCode};
use crate::http::caller::Visitor;
use crate::http::front::Front;
use crate::http::problem::Problem;

/// A stream in which nothing has changed for so long ends.
const UNCHANGED: Duration = Duration::from_secs(300);
/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A viewer that takes nothing for so long is gone.
const STALL: Duration = Duration::from_secs(20);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    force_cdp: bool,
}

pub async fn pictures(
    visitor: Result<Visitor, Problem>,
    path: Named,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, actix_web::Error> {
    let (what, id) = path.into_inner();
    let of_a_session = what == "browser_sessions";
    let Ok(visitor) = visitor else {
        return refused_in_words(&request, payload).await;
    };
    let wish: Wish = parse_query(request.query_string()).unwrap_or_default();
    if of_a_session && !wish.force_cdp {
        let close = Close::new(CloseCode::UseVnc, "use-vnc-streaming");
        return turn_away(&request, payload, close);
    }
    let followed = match session_of(&front, &visitor, &what, &id) {
        Ok(session) => {
            asked(&front, &visitor, session, Follow { visit: visitor.visit.clone() }).await
        }
        Err(close) => Err(close),
    };
    let followed = match followed {
        Ok(followed) => followed,
        Err(close) => return turn_away(&request, payload, close),
    };
    let (response, socket) = bridge::accept(&request, payload)?;
    let name = if of_a_session { "browser_session_id" } else { "workflow_run_id" };
    actix_web::rt::spawn(serve(socket, followed, (name, id), visitor, front));
    Ok(response)
}

/// As in the compatible API: words, and then the end.
async fn refused_in_words(
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let (response, socket) = bridge::accept(request, payload)?;
    let (mut session, _stream) = socket.into_parts();
    actix_web::rt::spawn(async move {
        tokio::time::sleep(bridge::REFUSAL_DELAY).await;
        let _gone = session.text("Invalid credential provided").await;
        let _gone = session.close(None).await;
    });
    Ok(response)
}

async fn serve(
    socket: bridge::Socket,
    followed: Followed,
    (name, id): (&'static str, String),
    visitor: Visitor,
    front: Data<Front>,
) {
    let (mut session, mut stream) = socket.into_parts();
    let Followed { following, connected } = followed;
    let mut pictures = following.pictures.clone();
    let status = || connected.view.borrow().record.status.as_str();
    let close = {
        let over = over(&front, &connected.ended, &connected.out, visitor.until);
        tokio::pin!(over);
        let mut ping_at = Instant::now() + PING_EVERY;
        let mut end_at = Instant::now() + UNCHANGED;
        loop {
            let frame = tokio::select! {
                close = &mut over => break close,
                left = until_left(&mut stream, &mut session) => break left,
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + PING_EVERY;
                    match timeout(STALL, session.ping(b"")).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(_)) | Err(_) => break Close::new(CloseCode::Normal, "viewer-left"),
                    }
                }
                () = sleep_until(end_at) => {
                    let last = json!({ name: id, "status": "timeout" });
                    let _gone = timeout(STALL, session.text(last.to_string())).await;
                    break Close::new(CloseCode::Normal, "unchanged");
                }
                changed = pictures.changed() => match changed {
                    Ok(()) => {
                        let picture = pictures.borrow_and_update().clone();
                        picture.map(|picture| frame(name, &id, status(), &picture))
                    }
                    Err(_) => break Close::new(CloseCode::Normal, "browser-closed"),
                },
            };
            let Some(frame) = frame else { continue };
            end_at = Instant::now() + UNCHANGED;
            match timeout(STALL, session.text(frame.to_string())).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break Close::new(CloseCode::Normal, "viewer-left"),
            }
        }
    };
    if connected.ended.is_cancelled() {
        let last = json!({ name: id, "status": "completed" });
        let _gone = timeout(STALL, session.text(last.to_string())).await;
    }
    let _gone = timeout(STALL, session.close(Some(close.into()))).await;
    drop((following, connected));
}

fn frame(name: &str, id: &str, status: &str, picture: &Picture) -> Value {
    json!({
        name: id,
        "status": status,
        "screenshot": STANDARD.encode(&picture.bytes),
        "format": "png",
        "viewport_width": picture.size.width(),
        "viewport_height": picture.size.height(),
        "url": Value::Null,
    })
}

/// Resolves when the viewer has left; answers its pings until then.
async fn until_left(stream: &mut MessageStream, session: &mut actix_ws::Session) -> Close {
    while let Some(Ok(message)) = stream.recv().await {
        match message {
            Message::Ping(payload) => {
                let _gone = session.pong(&payload).await;
            }
            Message::Close(_) => break,
            Message::Text(_)
            | Message::Binary(_)
            | Message::Continuation(_)
            | Message::Pong(_)
            | Message::Nop => {}
        }
    }
    Close::new(CloseCode::Normal, "viewer-left")
}
