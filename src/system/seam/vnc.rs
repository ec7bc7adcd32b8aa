//! The VNC server of a desktop, as its viewers use it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use crate::domain::rfb::Dialect;
use crate::domain::session::Failure;

/// The address of a VNC server, and the messages that it supports.
#[derive(Debug, Clone)]
pub struct VncEndpoint {
    /// The loopback address of the server.
    pub address: SocketAddr,
    /// The password for RFB's security type 2, VNC Authentication (RFC 6143, section 7.2.2).
    pub password: SecretString,
    /// The message types that the server understands.
    pub dialect: Dialect,
}

/// A seat at a VNC server, which runs at least as long as it has a seat.
#[derive(Debug)]
pub struct VncSeat {
    /// The address and password of the server.
    pub endpoint: VncEndpoint,
    /// To be notified when the server seems to hang: it is then checked, and replaced if it does.
    pub doubts: Arc<Notify>,
    /// Releases the seat when dropped.
    pub guard: DropGuard,
}

/// The VNC server of one desktop, as its viewers use it.
pub trait VncServer: fmt::Debug + Send + Sync + 'static {
    /// Resolves when the server accepts connections, or with the reason for which it will not.
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>>;
}
