//! A VNC server that is the X server itself: Xtigervnc.
//!
//! It listens as long as its display lives, so there is nothing to start on demand, and its death
//! is the death of the display. This module only holds its port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::direct::direct;
use super::password::Password;
use super::ports::Reservation;
use super::{STAGE, Server};
use crate::domain::rfb::Dialect;
use crate::domain::session::Failure;
use crate::system::failure::failure;
use crate::system::process::{find, output_with};
use crate::system::seam::{VncEndpoint, VncSeat, VncServer};

/// The dialect of the version in Debian 12: buttons beyond the eighth came later.
const DIALECT: Dialect = Dialect { extended_mouse_buttons: false, qemu_keys: true };

/// The longest wait for `vncconfig`.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the display that is the VNC server.
#[derive(Debug, Clone)]
pub(in crate::system) struct Reach {
    pub display: u16,
    /// The file with its cookie.
    pub authority: PathBuf,
    /// The directories with programs.
    pub path: String,
}

/// The VNC server that is within a display. Clones are the same.
#[derive(Debug, Clone)]
pub(in crate::system) struct Within(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    password: Password,
    reach: Reach,
    port: u16,
    /// The reserved port; none once the server is closed.
    reservation: Mutex<Option<Reservation>>,
}

impl Within {
    /// The built-in server that listens on the port of `reservation` while its display lives.
    pub(in crate::system) fn new(
        password: Password,
        reservation: Reservation,
        reach: Reach,
    ) -> Self {
        let port = reservation.port();
        let reservation = Mutex::new(Some(reservation));
        Self(Arc::new(Inner { password, reach, port, reservation }))
    }

    fn seat(&self) -> Result<VncSeat, Failure> {
        if self.0.reservation.lock().is_none() {
            return Err(failure(STAGE.name, "vnc_closing", "the desktop is closing".to_owned()));
        }
        let endpoint = VncEndpoint {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.0.port)),
            password: self.0.password.text(),
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

    /// The display has no command that disconnects one client, so that viewers are disconnected as well.
    fn disconnect_direct(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            if direct(self.0.port).is_ok_and(|clients| clients == 0) {
                return Vec::new();
            }
            let Reach { display, authority, path } = &self.0.reach;
            let left = |cause: &str| vec![format!("VNC clients stay connected: {cause}")];
            let Some(vncconfig) = find(Path::new("vncconfig"), path) else {
                return left("`vncconfig` is missing");
            };
            let arguments = ["-display", &format!(":{display}"), "-disconnect"].map(str::to_owned);
            let environment = [("XAUTHORITY", authority.as_os_str())];
            match output_with(&vncconfig, &arguments, &environment, path, PATIENCE).await {
                Ok(_) => Vec::new(),
                Err(cause) => left(&cause),
            }
        })
    }

    fn kill_if_stopped(&self) {}

    fn numbers(&self) -> Vec<i32> {
        Vec::new()
    }

    fn detach(&self) {}

    fn kill_now(&self) {}

    fn close(&self) -> BoxFuture<'_, Vec<String>> {
        drop(self.0.reservation.lock().take());
        let listens = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.0.port)).is_ok();
        let left = listens.then(|| format!("a process still listens on port {}", self.0.port));
        Box::pin(std::future::ready(left.into_iter().collect()))
    }
}
