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
mod refusal;
#[cfg(test)]
mod tests;
mod upstream;
mod upward;
mod wire;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::error::ErrorInternalServerError;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{MessageStream, Session};
use bytes::Bytes;
use secrecy::SecretString;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::domain::rfb::{ClientMessage, Dialect, HandshakeError, ParseError, Policy, Role};
use crate::system::input::Devices;

pub use close::{Close, CloseCode};
pub use refusal::{REFUSAL_DELAY, refuse, turn_away};
pub use wire::remember;

use downward::Outbox;
use upward::{Incoming, Upward};
use wire::Wire;

/// The address of a VNC server, its password, and the messages that it accepts.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The loopback address of the VNC server.
    pub address: SocketAddr,
    /// The password for VNC Authentication (RFC 6143, section 7.2.2).
    pub password: SecretString,
    /// The client messages that the VNC server understands.
    pub dialect: Dialect,
    /// Notified when the VNC server seems to hang.
    pub doubts: Arc<Notify>,
    /// The keyboard and pointer of the display, which get a viewer's keys and clicks.
    pub devices: Devices,
}

/// The timeouts and size limits of a bridge.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The timeout of each handshake: with the VNC server, up to its description of the display,
    /// and with the viewer.
    pub handshake: Duration,
    /// The interval between two pings.
    pub ping_every: Duration,
    /// A viewer that was silent for this time is disconnected; it answers pings, so the silence is
    /// real.
    pub dead_after: Duration,
    /// A viewer that has taken nothing for this time, while bytes are queued, is disconnected.
    pub stall: Duration,
    /// The maximum number of bytes queued for a viewer; above the size of one uncompressed picture.
    pub backlog: usize,
    /// The number of queued bytes above which requests for pictures are held back.
    pub hold_updates_over: usize,
    /// A VNC server that accepts no input for this time is given up.
    pub upstream_stall: Duration,
    /// A VNC server that has sent nothing for this time, although its viewer types and clicks, may
    /// hang.
    pub doubt_after: Duration,
    /// The maximum length of a viewer's WebSocket frame, in bytes.
    pub frame: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(15),
            ping_every: Duration::from_secs(20),
            dead_after: Duration::from_secs(45),
            stall: Duration::from_secs(20),
            backlog: 48 << 20,
            hold_updates_over: 1 << 20,
            upstream_stall: Duration::from_secs(20),
            doubt_after: Duration::from_secs(10),
            frame: 2 << 20,
        }
    }
}

/// Called with a viewer's keys, clicks and clipboards before the VNC server gets them; returns true
/// if they may go on to it.
pub type OnInput = Box<dyn FnMut(&ClientMessage) -> bool>;

/// The viewer's role and policy, by which its messages are judged, and the callback for its input.
type Judging = (watch::Receiver<Role>, Policy, OnInput);

/// The reason why a bridge ended.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The viewer closed its side, or its connection broke.
    #[error("the viewer left")]
    ViewerLeft,
    /// The viewer did not even answer pings.
    #[error("the viewer fell silent")]
    ViewerSilent,
    /// Too many bytes were queued for the viewer, or for too long.
    #[error("the viewer was too slow")]
    TooSlow,
    /// The viewer sent a text message; RFB is binary.
    #[error("the viewer sent text")]
    Text,
    /// The viewer violated the WebSocket protocol.
    #[error("the viewer's WebSocket is broken")]
    Socket(#[source] actix_ws::ProtocolError),
    /// The RFB handshake of the viewer failed, or timed out (`None`).
    #[error("the viewer did not shake hands")]
    ViewerHandshake(#[source] Option<HandshakeError>),
    /// The viewer sent a message that is not RFB.
    #[error("the viewer does not speak RFB")]
    Malformed(#[source] ParseError),
    /// The connection to the VNC server failed.
    #[error("the VNC server cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The handshake with the VNC server failed, or it rejected the password.
    #[error("the VNC server did not let us in")]
    Refused(#[source] HandshakeError),
    /// The VNC server did not answer in time, or stopped accepting input.
    #[error("the VNC server does not respond")]
    Unresponsive,
    /// The display accepts no keys and clicks.
    #[error("the display takes no input")]
    NoInput,
    /// The VNC server closed the connection.
    #[error("the VNC server closed the connection")]
    UpstreamClosed,
    /// The owner of the bridge stopped it.
    #[error("the bridge was stopped: {0}")]
    Stopped(Close),
}

impl Why {
    /// Returns the close code and reason for the viewer's WebSocket.
    pub fn close(&self) -> Close {
        use CloseCode as C;
        match self {
            Self::ViewerLeft => Close::new(C::Normal, "viewer-left"),
            Self::ViewerSilent => Close::new(C::Policy, "viewer-silent"),
            Self::TooSlow => Close::new(C::TryAgainLater, "viewer-too-slow"),
            Self::Text => Close::new(C::Unsupported, "binary-only"),
            Self::Socket(actix_ws::ProtocolError::Overflow) => {
                Close::new(C::TooBig, "frame-too-big")
            }
            Self::Socket(_) => Close::new(C::Protocol, "websocket-error"),
            Self::ViewerHandshake(_) | Self::Malformed(_) => Close::new(C::Protocol, "rfb-error"),
            Self::Unreachable(_) => Close::new(C::TryAgainLater, "vnc-unreachable"),
            Self::Refused(_) => Close::new(C::Internal, "vnc-refused"),
            Self::Unresponsive => Close::new(C::TryAgainLater, "vnc-unresponsive"),
            Self::NoInput => Close::new(C::TryAgainLater, "no-input"),
            Self::UpstreamClosed => Close::new(C::Normal, "vnc-closed"),
            Self::Stopped(close) => close.clone(),
        }
    }
}

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
    let outbox = Outbox::new(&limits);
    let heard = Rc::new(Cell::new(Instant::now()));
    let stream = stream.max_frame_size(limits.frame);
    let mut incoming = Incoming::new(stream, outbox.clone(), Rc::clone(&heard));
    let mut upstream = None;
    let judging = (role, policy, on_input);
    let viewer = Viewer { session: &session, below, outbox: &outbox };
    let talking = talk(&mut upstream, &mut incoming, viewer, (&endpoint, judging, &limits));

    let why = tokio::select! {
        biased;
        close = stop => Why::Stopped(close),
        why = keep(&outbox, &heard, &limits) => why,
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
            tokio::join!(upward.finish(read), close::close(sent, &mut incoming));
        }
        None => {
            let sent = async { drop(session.close(Some(reason.into())).await) };
            close::close(sent, &mut incoming).await;
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

/// Sends pings, and resolves when the viewer has been silent for too long.
async fn keep(outbox: &Outbox, heard: &Cell<Instant>, limits: &Limits) -> Why {
    let mut ping_at = Instant::now() + limits.ping_every;
    loop {
        sleep_until(ping_at.min(heard.get() + limits.dead_after)).await;
        let now = Instant::now();
        if now >= heard.get() + limits.dead_after {
            return Why::ViewerSilent;
        }
        if now >= ping_at {
            outbox.ping();
            ping_at = now + limits.ping_every;
        }
    }
}
