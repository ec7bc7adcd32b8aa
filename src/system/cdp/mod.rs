//! A thin client of the Chrome DevTools Protocol.
//!
//! One WebSocket to the browser, with flat sessions. It knows no method and no event: unknown
//! values of a newer browser cannot break it. Deadlines are the caller's.

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

/// The message of a command that was not sent.
pub const BUSY: &str = "the browser does not keep up with commands, and this one was not sent";

/// The way to a browser's DevTools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devtools {
    /// Loopback, of the server or of the session's own network.
    pub address: SocketAddr,
    /// The path of the browser's own WebSocket, `/devtools/browser/<uuid>`.
    pub path: String,
    /// The directory of the egress program that leads into the session's network; none where the
    /// browser is in the server's.
    pub inside: Option<PathBuf>,
}

impl Devtools {
    /// That of a desktop.
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

    /// Connects to the port.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let stream = match &self.inside {
            Some(directory) => egress::door::connect(directory, self.address.port()).await?,
            None => TcpStream::connect(self.address).await?,
        };
        // A command is a small segment that must not wait for the answer to the one before.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

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
