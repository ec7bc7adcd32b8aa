//! A thin client of the Chrome DevTools Protocol.
//!
//! It uses one WebSocket to the browser, with flat sessions. It has no types for methods and
//! events, so that unknown values of a newer browser cannot break it. Deadlines are the caller's
//! responsibility.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use tokio::net::TcpStream;

pub use connection::Connection;

use crate::domain::egress::NetworkLevel;
use crate::domain::session::DesktopIdentity;
use crate::egress;

/// The message of a command that was not sent because the queue is full.
pub const BUSY: &str = "the browser does not keep up with commands, and this one was not sent";

/// The address of a browser's DevTools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devtools {
    /// The loopback address, of the server or in the session's own network.
    pub address: SocketAddr,
    /// The path of the browser's own WebSocket, `/devtools/browser/<uuid>`.
    pub path: String,
    /// The directory of the egress program that leads into the session's network; none if the
    /// browser is in the server's network.
    pub inside: Option<PathBuf>,
}

impl Devtools {
    /// The DevTools address of a desktop.
    pub fn of(desktop: &DesktopIdentity) -> Self {
        Self {
            address: desktop.devtools,
            path: desktop.devtools_path.clone(),
            inside: desktop.egress.as_ref().and_then(|egress| match egress.level {
                NetworkLevel::Enforced => Some(egress.directory.clone()),
                NetworkLevel::Proxied | NetworkLevel::None => None,
            }),
        }
    }

    /// Opens a TCP connection to the DevTools port.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let stream = match &self.inside {
            Some(directory) => egress::door::connect(directory, self.address.port()).await?,
            None => TcpStream::connect(self.address).await?,
        };
        // A command is a small segment and must not wait for the acknowledgment of the previous one.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The reasons for which a call gives no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CdpError {
    /// The browser returned an error.
    #[error("{method}: {message} ({code})")]
    Refused {
        /// The method that was called.
        method: String,
        /// The protocol's error code.
        code: i64,
        /// The error message of the browser.
        message: String,
    },
    /// The connection could not be made.
    #[error("no connection to the browser: {cause}")]
    NotConnected {
        /// The error of the system or the browser.
        cause: String,
    },
    /// The browser does not keep up with commands, so this one was not sent.
    #[error("{method}: {BUSY}")]
    Busy {
        /// The method that was called.
        method: String,
    },
    /// The connection has ended; every later call fails in the same way.
    #[error("the connection to the browser has ended")]
    Disconnected,
}

/// An event that the browser sent.
#[derive(Debug, Clone, PartialEq)]
pub struct CdpEvent {
    /// The flat session of the event; none for the browser itself.
    pub session: Option<String>,
    /// The name of the event, such as `Page.loadEventFired`.
    pub method: String,
    /// The parameters that the protocol defines for the event.
    pub params: Value,
}
