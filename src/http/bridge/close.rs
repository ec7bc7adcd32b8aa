//! How a viewer's WebSocket is closed.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_ws::CloseReason;
use tokio::time::timeout;

use super::upward::Incoming;

/// How long the viewer has to take the close frame, and to answer it.
const PARTING: Duration = Duration::from_secs(2);

/// The close codes that Greenroom uses: those of RFC 6455 (section 7.4.1) and of IANA's registry, and
/// from 4000 on those that Skyvern's viewers know, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// A normal end.
    Normal,
    /// The server stops.
    GoingAway,
    /// Bad or missing credentials, a missing `client_id`, or a broken protocol.
    Protocol,
    /// Text where only binary is understood.
    Unsupported,
    /// Something that the server does not permit; also a viewer that was put out.
    Policy,
    /// A frame over the limit.
    TooBig,
    /// The server's own failure.
    Internal,
    /// The session is unknown, not ready, without a live view or at its end; or try again later.
    TryAgainLater,
    /// The screenshot stream of a session that has a VNC server.
    UseVnc,
    /// CDP input: unknown or at its end.
    NotFound,
    /// CDP input: the run or the browser was not there in time.
    TimedOut,
    /// CDP input: the run is closing.
    Closing,
    /// CDP input: there is no page that works.
    NoPage,
    /// CDP input: the event could not be passed on.
    NotDispatched,
    /// DevTools: the lease by which the client had come is over.
    OccupancyLost,
}

impl CloseCode {
    /// As on the wire.
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

/// A code, and a word for it in kebab case, which the viewer's script can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: CloseCode,
    pub reason: Cow<'static, str>,
}

impl Close {
    /// A reason is cut after 123 bytes.
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

/// Sends the close frame and waits for the answer: a connection that is closed with bytes unread is
/// reset, and the viewer would not learn why.
pub(super) async fn close(sent: impl Future<Output = ()>, incoming: &mut Incoming) {
    let parting = async {
        sent.await;
        incoming.drain().await;
    };
    // A viewer that takes nothing is left to the connection's own end.
    let _late = timeout(PARTING, parting).await;
}
