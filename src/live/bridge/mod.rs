//! The bridge from a viewer's WebSocket to a session's VNC server.
//!
//! ```text
//!                                             +--> keyboard and pointer of the display
//!                  +-- upward ---> Parser --> Gate --+
//!   WebSocket <--> |                                 | <--> TCP, VNC server
//!                  +-- Outbox <--------- downward ---+
//! ```
//!
//! Keys and clicks bypass the VNC server, whose keyboard lacks most characters, and go to the
//! display itself (`system/input`). The VNC server gets the requests for pictures and the
//! clipboards.
//!
//! The handshake goes through actix. After it, bytes to the viewer bypass actix: they are written
//! to the underlying socket, or moved there by the kernel (see `wire.rs`).
//!
//! Each viewer has one task, on the worker that has its WebSocket; no actor takes part. A handler
//! calls [`accept`], spawns [`run`], and gets the outcome as [`Ended`]; or it calls [`refuse`]. The
//! handler has already decided whether the viewer is admitted, and with which role.
//!
//! # Slow viewers
//!
//! x11vnc serves all viewers from one thread: while it waits for one socket to take bytes, all
//! viewers stall. So the bridge drains its socket at all times, and bytes that a viewer does not
//! take queue up here. Three limits bound this queue:
//!
//! 1. RFB sends a picture only on request. While the queue is over [`Limits::hold_updates_over`],
//!    requests for pictures are held back and merged: a slow viewer sees fewer pictures.
//! 2. Over [`Limits::backlog`] the viewer is disconnected, as [`Why::TooSlow`]. The limit must be
//!    above the size of the largest picture.
//! 3. A viewer that has taken nothing for [`Limits::stall`] is disconnected in the same way.
//!
//! No bytes are ever left out of the stream: the encodings compress over the whole of it.

mod close;
mod downward;
mod incoming;
mod refusal;
mod terms;
#[cfg(test)]
mod tests;
mod upstream;
mod upward;
mod wire;

use std::cell::Cell;
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::error::ErrorInternalServerError;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{MessageStream, Session};
use bytes::Bytes;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::domain::rfb::{Policy, Role};

pub use close::{Close, CloseCode};
pub use refusal::{REFUSAL_DELAY, refuse, reject_accepted};
pub use terms::{Endpoint, Limits, OnInput, Why};
pub use wire::remember;

use downward::Outbox;
use incoming::Incoming;
use terms::Judging;
use upward::Upward;
use wire::Wire;

use super::keepalive::Keepalive;

/// The outcome of a bridge.
#[derive(Debug)]
pub struct Ended {
    /// The reason for the end.
    pub why: Why,
    /// Bytes of RFB that were queued for the viewer.
    pub to_viewer: u64,
    /// Bytes of RFB that were received from the viewer.
    pub from_viewer: u64,
    /// The number of viewer messages that the gate dropped.
    pub dropped: u64,
}

/// A viewer's WebSocket that is accepted but not yet in use.
pub struct Socket {
    session: Session,
    stream: MessageStream,
    below: OwnedFd,
}

impl Socket {
    /// Returns the two directions, for protocols other than RFB.
    pub fn into_parts(self) -> (Session, MessageStream) {
        (self.session, self.stream)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// Accepts a WebSocket: with the subprotocol `binary` if the viewer offers it, else with none. The
/// handler must return the answer.
///
/// Fails if the request is no WebSocket handshake, or came over a connection that [`remember`] has
/// not seen.
pub fn accept(
    request: &HttpRequest,
    body: web::Payload,
) -> Result<(HttpResponse, Socket), actix_web::Error> {
    let below = wire::below(request).map_err(ErrorInternalServerError)?;
    let (response, session, stream) = actix_ws::handle_with_protocols(request, body, &["binary"])?;
    Ok((response, Socket { session, stream, below }))
}

/// Runs the bridge until either side or `stop` ends it, then closes the WebSocket with the matching
/// code.
///
/// `role` may change at any time, and each message is judged by the role of that moment; if its
/// sender is gone, the viewer only watches. At every end, the keys and buttons that the viewer held
/// are released before the socket is closed. Dropping the future does neither.
///
/// `on_input` is called with every key, click and clipboard that the gate lets pass, and may keep
/// it from the VNC server.
pub async fn run(
    socket: Socket,
    endpoint: Endpoint,
    role: watch::Receiver<Role>,
    policy: Policy,
    limits: Limits,
    on_input: OnInput,
    stop: impl Future<Output = Close>,
) -> Ended {
    let Socket { session, stream, below } = socket;
    let outbox = Outbox::new(&limits, Arc::clone(&endpoint.metrics));
    let heard = Rc::new(Cell::new(Instant::now()));
    let stream = stream.max_frame_size(limits.frame);
    let mut incoming = Incoming::new(stream, outbox.clone(), Rc::clone(&heard));
    let mut upstream = None;
    let judging = (role, policy, on_input);
    let viewer = Viewer { session: &session, below, outbox: &outbox };
    let talking = talk(&mut upstream, &mut incoming, viewer, (&endpoint, judging, &limits));

    let Limits { ping_every, dead_after, .. } = limits;
    let keepalive = Keepalive { ping_every, dead_after };
    let why = tokio::select! {
        biased;
        close = stop => Why::Stopped(close),
        () = keepalive.until_silent(&heard, async || outbox.ping()) => Why::ViewerSilent,
        why = talking => why,
    };

    if matches!(why, Why::Unresponsive) {
        endpoint.doubts.notify_one();
    }
    let dropped = upstream.as_ref().map_or(0, |talk| talk.upward.dropped());
    let reason = why.close();
    // Both are bounded in time, so that neither waits for the other.
    match upstream {
        Some(Talk { upward, read, wire }) => {
            let sent = async {
                outbox.close(&wire, reason).await;
                // This ends the body of actix's response, and so the connection.
                drop(session);
            };
            tokio::join!(upward.finish(read), incoming::close(sent, &mut incoming));
        }
        None => {
            let sent = async { drop(session.close(Some(reason.into())).await) };
            incoming::close(sent, &mut incoming).await;
        }
    }
    Ended { to_viewer: outbox.pushed(), from_viewer: incoming.received(), dropped, why }
}

/// The viewer's side, until its handshake is over.
struct Viewer<'a> {
    session: &'a Session,
    below: OwnedFd,
    outbox: &'a Outbox,
}

/// Both directions, after the handshakes.
struct Talk {
    upward: Upward,
    read: OwnedReadHalf,
    wire: Wire,
}

/// Runs both handshakes side by side, then both directions, until one of them ends.
async fn talk(
    talk: &mut Option<Talk>,
    incoming: &mut Incoming,
    Viewer { session, below, outbox }: Viewer<'_>,
    (endpoint, judging, limits): (&Endpoint, Judging, &Limits),
) -> Why {
    let connecting = async {
        timeout(limits.handshake, upstream::connect(endpoint))
            .await
            .unwrap_or(Err(Why::Unresponsive))
    };
    let greeting = async {
        timeout(limits.handshake, incoming.greet()).await.unwrap_or(Err(Why::ViewerHandshake(None)))
    };
    let both = tokio::select! {
        both = async { tokio::try_join!(connecting, greeting) } => both,
        why = outbox.send_by(session.clone(), limits.stall) => Err(why),
    };
    let (upstream, pipelined): (upstream::Connected, Bytes) = match both {
        Ok(both) => both,
        Err(why) => return why,
    };
    let wire = match Wire::new(below) {
        Ok(wire) => wire,
        Err(error) => return Why::Socket(actix_ws::ProtocolError::Io(error)),
    };
    if let Err(why) = outbox.push(upstream.first) {
        return why;
    }
    let (read, write) = upstream.stream.into_split();
    let upward = Upward::new(write, judging, endpoint, limits);
    let Talk { upward, read, wire } = talk.insert(Talk { upward, read, wire });
    tokio::select! {
        why = outbox.send(wire, limits.stall) => why,
        why = downward::pass(read, outbox, wire) => why,
        why = upward.run(incoming, outbox, pipelined) => why,
    }
}
