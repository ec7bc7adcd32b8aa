//! Turning a viewer away, slowly.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, rt, web};
use tokio::time::{Instant, timeout_at};

use super::close::Close;
use super::{Socket, accept};

/// How long a refused viewer waits for its close code. Skyvern's viewers dial again at once and
/// without end; this makes it a trickle.
pub const REFUSAL_DELAY: Duration = Duration::from_millis(1500);

/// Accepts the WebSocket, so that the viewer can be told a code, and closes it after
/// [`REFUSAL_DELAY`]. Nothing that the viewer sends shortens that; it can only leave.
pub fn refuse(
    request: &HttpRequest,
    body: web::Payload,
    close: Close,
) -> Result<HttpResponse, actix_web::Error> {
    let (response, socket) = accept(request, body)?;
    rt::spawn(turn_away(socket, None, close));
    Ok(response)
}

/// Closes a WebSocket that was accepted already, in the same manner; `word` is said before.
pub async fn turn_away(socket: Socket, word: Option<String>, close: Close) {
    let (mut session, mut stream) = socket.into_parts();
    let deadline = Instant::now() + REFUSAL_DELAY;
    // What the viewer says is read, or its leaving would not be seen.
    let mut broken = false;
    while !broken {
        match timeout_at(deadline, stream.recv()).await {
            Err(_elapsed) => break,
            Ok(None) => return,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_))) => broken = true,
        }
    }
    tokio::time::sleep_until(deadline).await;
    if let Some(word) = word {
        let _gone = session.text(word).await;
    }
    let _gone = session.close(Some(close.into())).await;
    let patience = Instant::now() + REFUSAL_DELAY;
    while let Ok(Some(Ok(_))) = timeout_at(patience, stream.recv()).await {}
}
