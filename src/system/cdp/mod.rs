//! A thin client of the Chrome DevTools Protocol.
//!
//! One WebSocket to the browser, with flat sessions. It knows no method and no event: unknown
//! values of a newer browser cannot break it. Deadlines are the caller's.

mod connection;

use serde_json::Value;

pub use connection::Connection;

/// The message of a command that was not sent.
pub const BUSY: &str = "the browser does not keep up with commands, and this one was not sent";

/// Why a call gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CdpError {
    /// The browser refused it.
    #[error("{method}: {message} ({code})")]
    Refused {
        /// The method that was called.
        method: String,
        /// The protocol's error code.
        code: i64,
        /// The browser's words.
        message: String,
    },
    /// The connection could not be made.
    #[error("no connection to the browser: {cause}")]
    NotConnected {
        /// What the system or the browser said.
        cause: String,
    },
    /// The browser does not keep up with what was sent to it, so this was not sent.
    #[error("{method}: {BUSY}")]
    Busy {
        /// The method that was called.
        method: String,
    },
    /// The connection has ended; every later call fails in the same way.
    #[error("the connection to the browser has ended")]
    Disconnected,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct CdpEvent {
    /// The flat session it belongs to; none for the browser itself.
    pub session: Option<String>,
    /// `Page.loadEventFired`.
    pub method: String,
    /// As the protocol defines for the method.
    pub params: Value,
}
