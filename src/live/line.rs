//! A viewer's WebSocket that carries JSON, one message in each text frame.

use actix_ws::{AggregatedMessage, AggregatedMessageStream, ProtocolError, Session};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use super::bridge::{Close, CloseCode, Socket};
use super::keepalive::{DEAD_AFTER, PING_EVERY, STALL};

/// An accepted WebSocket. It sends pings while [`hear`](Self::hear) waits.
pub(super) struct Line {
    session: Session,
    stream: AggregatedMessageStream,
    heard_at: Instant,
    ping_at: Instant,
}

impl Line {
    /// Wraps a socket; a viewer's message may have at most `longest` bytes.
    pub fn new(socket: Socket, longest: usize) -> Self {
        let (session, stream) = socket.into_parts();
        let stream = stream.max_frame_size(longest).aggregate_continuations();
        let stream = stream.max_continuation_size(longest);
        let now = Instant::now();
        Self { session, stream, heard_at: now, ping_at: now + PING_EVERY }
    }

    /// Sends a message, and resolves when it is queued; fails if the viewer takes nothing.
    pub async fn say(&mut self, message: &Value) -> Result<(), Close> {
        match timeout(STALL, self.session.text(message.to_string())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(left()),
            Err(_late) => Err(Close::new(CloseCode::TryAgainLater, "viewer-too-slow")),
        }
    }

    /// Returns the viewer's next text, or the reason why none follows. Cancel safe: nothing is lost
    /// when the future is dropped.
    pub async fn hear(&mut self) -> Result<String, Close> {
        loop {
            let message = tokio::select! {
                message = self.stream.recv() => message,
                () = sleep_until(self.ping_at.min(self.heard_at + DEAD_AFTER)) => {
                    if self.heard_at.elapsed() >= DEAD_AFTER {
                        return Err(Close::new(CloseCode::Policy, "viewer-silent"));
                    }
                    self.ping_at = Instant::now() + PING_EVERY;
                    if !matches!(timeout(STALL, self.session.ping(b"")).await, Ok(Ok(()))) {
                        return Err(left());
                    }
                    continue;
                }
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(ProtocolError::Overflow)) => {
                    return Err(Close::new(CloseCode::TooBig, "message-too-big"));
                }
                Some(Err(_)) | None => return Err(left()),
            };
            self.heard_at = Instant::now();
            match message {
                AggregatedMessage::Text(text) => return Ok(text.to_string()),
                AggregatedMessage::Close(_) => return Err(left()),
                AggregatedMessage::Ping(payload) => {
                    let _gone = timeout(STALL, self.session.pong(&payload)).await;
                }
                AggregatedMessage::Binary(_) | AggregatedMessage::Pong(_) => {}
            }
        }
    }

    /// Resolves when the viewer has left; its messages are ignored.
    pub async fn left(&mut self) -> Close {
        loop {
            if let Err(close) = self.hear().await {
                return close;
            }
        }
    }

    /// Closes the WebSocket with this code.
    pub async fn close(self, close: Close) {
        let _gone = timeout(STALL, self.session.close(Some(close.into()))).await;
    }
}

fn left() -> Close {
    Close::new(CloseCode::Normal, "viewer-left")
}
