//! The terms of a bridge: the VNC server, the limits, the judgement of input, and the reasons for
//! the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{Notify, watch};

use super::close::{Close, CloseCode};
use crate::domain::rfb::{ClientMessage, Dialect, HandshakeError, ParseError, Policy, Role};
use crate::live::keepalive::{DEAD_AFTER, PING_EVERY, STALL};
use crate::metrics::StreamMetrics;
use crate::system::input::Devices;

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
    /// The figures that the bytes of the viewer are added to.
    pub metrics: Arc<StreamMetrics>,
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
    /// The time after which a VNC server that accepts no input is disconnected.
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
            ping_every: PING_EVERY,
            dead_after: DEAD_AFTER,
            stall: STALL,
            backlog: 48 << 20,
            hold_updates_over: 1 << 20,
            upstream_stall: Duration::from_secs(20),
            doubt_after: Duration::from_secs(10),
            frame: 2 << 20,
        }
    }
}

/// Called with a viewer's keys, clicks and clipboards before the VNC server receives them; returns true
/// if they are forwarded.
pub type OnInput = Box<dyn FnMut(&ClientMessage) -> bool>;

/// The viewer's role and policy, by which its messages are judged, and the callback for its input.
pub(super) type Judging = (watch::Receiver<Role>, Policy, OnInput);

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
    #[error("the display accepts no input")]
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
