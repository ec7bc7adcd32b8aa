//! Rejection of a viewer, with a delay before the close code.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, rt, web};
use tokio::time::{Instant, timeout_at};

use super::close::Close;
use super::{Socket, accept};

/// The delay before a rejected viewer gets its close code. Skyvern's viewers reconnect at once and
/// without end; the delay limits their rate.
pub const REFUSAL_DELAY: Duration = Duration::from_millis(1500);

/// Accepts the WebSocket, so that the viewer can get a close code, and closes it after
/// [`REFUSAL_DELAY`]. No message from the viewer shortens the delay; it can only leave.
pub fn refuse(
    request: &HttpRequest,
    body: web::Payload,
    close: Close,
) -> Result<HttpResponse, actix_web::Error> {
    let (response, socket) = accept(request, body)?;
    rt::spawn(reject_accepted(socket, None, close));
    Ok(response)
}

/// Closes an accepted WebSocket after the same delay, with the text message `word` first.
pub async fn reject_accepted(socket: Socket, word: Option<String>, close: Close) {
    let (mut session, mut stream) = socket.into_parts();
    let deadline = Instant::now() + REFUSAL_DELAY;
    // The viewer's messages are read, because its leaving would go unnoticed otherwise.
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
