//! A VNC server that is the X server itself: Xtigervnc.
//!
//! It listens as long as its display lives, so there is nothing to start on demand, and its death
//! is the death of the display. This module only holds its port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::ports::Reservation;
use super::{STAGE, Server};
use crate::domain::rfb::Dialect;
use crate::domain::session::Failure;
use crate::system::desktop::{VncEndpoint, VncSeat, VncServer};
use crate::system::failure::failure;

/// The dialect of the version in Debian 12: buttons beyond the eighth came later.
const DIALECT: Dialect = Dialect { extended_mouse_buttons: false, qemu_keys: true };

/// The VNC server that is part of a display. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::system) struct Within(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    password: SecretString,
    port: u16,
    /// The reserved port; none once the server is closed.
    reservation: Mutex<Option<Reservation>>,
}

impl Within {
    /// The server that listens on the port of `reservation` while its display lives.
    pub(in crate::system) fn new(password: SecretString, reservation: Reservation) -> Self {
        let port = reservation.port();
        Self(Arc::new(Inner { password, port, reservation: Mutex::new(Some(reservation)) }))
    }

    fn seat(&self) -> Result<VncSeat, Failure> {
        if self.0.reservation.lock().is_none() {
            return Err(failure(STAGE.name, "vnc_closing", "the desktop is closing".to_owned()));
        }
        let endpoint = VncEndpoint {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.0.port)),
            password: self.0.password.clone(),
            dialect: DIALECT,
        };
        // Seats are not counted, because an idle server costs nothing. Doubts are ignored: the
        // display is the same process, and is checked periodically.
        let guard = CancellationToken::new().drop_guard();
        Ok(VncSeat { endpoint, doubts: Arc::default(), guard })
    }
}

impl VncServer for Within {
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>> {
        Box::pin(std::future::ready(self.seat()))
    }
}

impl Server for Within {
    fn is_the_display(&self) -> bool {
        true
    }

    fn start(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn kill_if_stopped(&self) {}

    fn numbers(&self) -> Vec<i32> {
        Vec::new()
    }

    fn let_go(&self) {}

    fn kill_now(&self) {}

    fn close(&self) -> BoxFuture<'_, Vec<String>> {
        drop(self.0.reservation.lock().take());
        let listens = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.0.port)).is_ok();
        let left = listens.then(|| format!("somebody still listens on port {}", self.0.port));
        Box::pin(std::future::ready(left.into_iter().collect()))
    }
}
