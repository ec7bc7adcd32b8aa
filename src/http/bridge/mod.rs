//! The bridge from a viewer's WebSocket to a session's VNC server.
//!
//! ```text
//!                                             +--> keyboard and pointer of the display
//!                  +-- upward ---> Parser --> Gate --+
//!   WebSocket <--> |                                 | <--> TCP, VNC server
//!                  +-- Outbox <--------- downward ---+
//! ```
//!
//! Keys and clicks do not go to the VNC server, whose keyboard lacks most signs, but to the display itself
//! (`system/input`); what is left for the VNC server are requests for pictures, and clipboards.
//!
//! Hands are shaken by way of actix. From then on what goes down is written to the socket below it,
//! or moved there by the kernel: see `wire.rs`.
//!
//! One task for each viewer, on the worker that has its WebSocket; no mailbox takes part. A handler
//! calls [`accept`], spawns [`run`], and hears from [`Ended`] what became of it; or it calls
//! [`refuse`]. Who may come, and with which role, has been decided before.
//!
//! # Slow viewers
//!
//! x11vnc serves all viewers from one thread: while it waits for one socket to take bytes, all of them
//! stand still. So its socket is drained at all times, and what a viewer does not take piles up
//! here. That is bounded three times:
//!
//! 1. RFB sends a picture only when asked. While more than [`Limits::hold_updates_over`] is piled up,
//!    requests for pictures are held back and merged: a slow viewer sees fewer pictures.
//! 2. Over [`Limits::backlog`] the viewer is told to go, as [`Why::TooSlow`]. It must be above the
//!    largest single picture.
//! 3. So it is when nothing has moved for [`Limits::stall`].
//!
//! Nothing is ever left out of the stream: the encodings compress over the whole of it.

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

/// Where a VNC server listens, what it wants to hear, and what it understands.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// On loopback.
    pub address: SocketAddr,
    /// For VNC Authentication.
    pub password: SecretString,
    /// What may be sent to it.
    pub dialect: Dialect,
    /// Notified when it seems to hang.
    pub doubts: Arc<Notify>,
    /// The keyboard and pointer of its display, which take what a viewer types and clicks.
    pub devices: Devices,
}

/// How long and how much the bridge bears.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the VNC server to accept, to check the password and to tell of its display; and for the
    /// viewer to shake hands.
    pub handshake: Duration,
    /// Between two pings.
    pub ping_every: Duration,
    /// A viewer that was silent for so long is gone; it answers pings, so the silence is real.
    pub dead_after: Duration,
    /// A viewer that has taken nothing for so long, while something waits, is told to go.
    pub stall: Duration,
    /// Bytes that may wait for a viewer. Above the size of one picture, uncompressed.
    pub backlog: usize,
    /// With more bytes waiting than this, requests for pictures are held back.
    pub hold_updates_over: usize,
    /// A VNC server that takes no input for so long is given up.
    pub upstream_stall: Duration,
    /// A VNC server that has sent nothing for so long, though its viewer types and clicks, may hang.
    pub doubt_after: Duration,
    /// The longest WebSocket frame of a viewer, in bytes.
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

/// Hears of a viewer's keys, clicks and clipboards before the VNC server does, and says whether they
/// go on to it.
pub type OnInput = Box<dyn FnMut(&ClientMessage) -> bool>;

/// By what a viewer's messages are judged, and who hears of them.
type Judging = (watch::Receiver<Role>, Policy, OnInput);

/// Why a bridge ended.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The viewer closed its side, or its connection broke.
    #[error("the viewer left")]
    ViewerLeft,
    /// Not even pings were answered.
    #[error("the viewer fell silent")]
    ViewerSilent,
    /// Too much waited for it, or for too long.
    #[error("the viewer was too slow")]
    TooSlow,
    /// It sent text, which RFB is not.
    #[error("the viewer sent text")]
    Text,
    /// It broke the rules of the WebSocket.
    #[error("the viewer's WebSocket is broken")]
    Socket(#[source] actix_ws::ProtocolError),
    /// It did not shake hands, or not in time (`None`).
    #[error("the viewer did not shake hands")]
    ViewerHandshake(#[source] Option<HandshakeError>),
    /// It sent something that is not RFB.
    #[error("the viewer does not speak RFB")]
    Malformed(#[source] ParseError),
    /// No connection to the VNC server.
    #[error("the VNC server cannot be reached")]
    Unreachable(#[source] io::Error),
    /// It did not shake hands, or not with this password.
    #[error("the VNC server did not let us in")]
    Refused(#[source] HandshakeError),
    /// It did not answer in time, or took no input any more.
    #[error("the VNC server does not respond")]
    Unresponsive,
    /// The display takes no keys and clicks.
    #[error("the display takes no input")]
    NoInput,
    /// It closed the connection.
    #[error("the VNC server closed the connection")]
    UpstreamClosed,
    /// The one who started the bridge wanted it to end.
    #[error("told to stop: {0}")]
    Stopped(Close),
}

impl Why {
    /// How the viewer's WebSocket is closed for it.
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

/// What became of a bridge.
#[derive(Debug)]
pub struct Ended {
    /// Why it ended.
    pub why: Why,
    /// Bytes of RFB that were queued for the viewer.
    pub to_viewer: u64,
    /// Bytes of RFB that came from the viewer.
    pub from_viewer: u64,
    /// The viewer's messages that the gate held back.
    pub dropped: u64,
}

/// A viewer's WebSocket, accepted and not yet used.
pub struct Socket {
    session: Session,
    stream: MessageStream,
    below: OwnedFd,
}

impl Socket {
    /// The two directions, for what is no RFB.
    pub fn into_parts(self) -> (Session, MessageStream) {
        (self.session, self.stream)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// Accepts a WebSocket: with the subprotocol `binary` if the viewer offers it, and with none if not.
/// The answer is to be returned from the handler; fails if the request is no WebSocket's, or came
/// over a connection that [`remember`] was not told of.
pub fn accept(
    request: &HttpRequest,
    body: web::Payload,
) -> Result<(HttpResponse, Socket), actix_web::Error> {
    let below = wire::below(request).map_err(ErrorInternalServerError)?;
    let (response, session, stream) = actix_ws::handle_with_protocols(request, body, &["binary"])?;
    Ok((response, Socket { session, stream, below }))
}

/// Bridges until one side or `stop` ends it, then closes the WebSocket with the code for it.
///
/// `role` may change at any time, and each message is judged by the role of that moment; if its
/// sender is gone, the viewer watches. When the bridge ends, whatever way, the keys and buttons that
/// the viewer held are let go first. Dropping the future does neither.
///
/// `on_input` hears of every key, click and clipboard that the gate lets pass, and may keep it.
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
    // Both are bounded in time, so neither waits for the other.
    match upstream {
        Some(Talk { upward, read, wire }) => {
            let sent = async {
                outbox.close(&wire, reason).await;
                // With it ends what actix had to answer, and so the connection.
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

/// The viewer's side, until hands are shaken.
struct Viewer<'a> {
    session: &'a Session,
    below: OwnedFd,
    outbox: &'a Outbox,
}

/// Both sides, once hands are shaken.
struct Talk {
    upward: Upward,
    read: OwnedReadHalf,
    wire: Wire,
}

/// Both handshakes side by side, then both directions, until one of them ends.
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

/// Sends pings, and resolves when nothing has been heard for too long.
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
