//! Close codes of a viewer's WebSocket, and the closing handshake.

use std::borrow::Cow;
use std::fmt;

use actix_ws::CloseReason;

/// The close codes that Greenroom uses: those of RFC 6455 (section 7.4.1) and of IANA's registry;
/// from 4000 on, those that Skyvern's viewers know, and one of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    Normal,
    /// The server is stopping.
    GoingAway,
    /// Bad or missing credentials, a missing `client_id`, or a broken protocol.
    Protocol,
    /// A text message on a socket that takes only binary ones.
    Unsupported,
    /// A message that the server does not permit, or a viewer that was kicked.
    Policy,
    /// A frame, or a whole message, over the size limit.
    TooBig,
    /// A failure inside the server.
    Internal,
    /// The session is unknown, not ready, without a live view, or ending; or the viewer should
    /// retry later.
    TryAgainLater,
    /// The session has a VNC server: the viewer should use it in place of the screenshot stream.
    UseVnc,
    /// CDP input: the session or run is unknown, or has ended.
    NotFound,
    /// CDP input: the run or its browser was not ready in time.
    TimedOut,
    /// CDP input: the run is closing.
    Closing,
    /// CDP input: no page responds.
    NoPage,
    /// CDP input: the event could not be dispatched to the browser.
    NotDispatched,
    /// DevTools: the client's lease has ended.
    OccupancyLost,
}

impl CloseCode {
    /// Returns the code as it stands on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::TryAgainLater => 1013,
            Self::UseVnc => 4001,
            Self::NotFound => 4404,
            Self::TimedOut => 4408,
            Self::Closing => 4409,
            Self::NoPage => 4410,
            Self::NotDispatched => 4411,
            Self::OccupancyLost => 4412,
        }
    }
}

/// A close code with a reason in kebab case, which the viewer's script can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: CloseCode,
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Makes a close; the reason is cut after 123 bytes on the wire.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code.number())
    }
}

impl From<Close> for CloseReason {
    fn from(close: Close) -> Self {
        Self { code: close.code.number().into(), description: Some(close.reason.into_owned()) }
    }
}
