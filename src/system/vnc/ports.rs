//! Allocation of ports to VNC servers.
//!
//! A bound socket that does not listen reserves a port: no other program is given the port. The VNC
//! server can still bind it, because both set the reuse of addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpSocket;

/// The ports that VNC servers may have.
#[derive(Debug)]
pub struct Ports {
    range: RangeInclusive<u16>,
    /// The number of reservations of each port: more than one only while a desktop changes its owner.
    taken: Mutex<BTreeMap<u16, usize>>,
}

/// A reserved port, which is released on drop.
#[derive(Debug)]
pub struct Reservation {
    port: u16,
    ports: Arc<Ports>,
    /// The bound socket; none while another process listens on the port.
    socket: Option<TcpSocket>,
}

impl Ports {
    /// All ports of `range`, none of them reserved.
    pub fn new(range: RangeInclusive<u16>) -> Arc<Self> {
        Arc::new(Self { range, taken: Mutex::default() })
    }

    /// The first and the last port.
    pub fn range(&self) -> &RangeInclusive<u16> {
        &self.range
    }

    /// The ports that are reserved.
    pub fn taken(&self) -> Vec<u16> {
        self.taken.lock().keys().copied().collect()
    }

    /// Reserves the first free port after `after`; none if there is none.
    pub fn reserve(self: &Arc<Self>, after: Option<u16>) -> Option<Reservation> {
        let mut taken = self.taken.lock();
        let free: Vec<u16> = self
            .range
            .clone()
            .filter(|port| after.is_none_or(|after| *port > after) && !taken.contains_key(port))
            .collect();
        // First without reuse, which the reservations of other servers block. Then with reuse, for
        // ports that are blocked only by ended connections.
        let found = [false, true]
            .into_iter()
            .find_map(|reuse| free.iter().find_map(|port| Some((*port, bind(*port, reuse).ok()?))));
        let (port, socket) = found?;
        taken.insert(port, 1);
        Some(Reservation { port, ports: Arc::clone(self), socket: Some(socket) })
    }

    /// Reserves `port` for a VNC server of a previous server, which may be listening there.
    pub fn claim(self: &Arc<Self>, port: u16) -> Reservation {
        *self.taken.lock().entry(port).or_default() += 1;
        Reservation { port, ports: Arc::clone(self), socket: bind(port, true).ok() }
    }
}

fn bind(port: u16, reuse: bool) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(reuse)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

impl Reservation {
    /// The number of the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True if a socket of this server holds the port; otherwise another process listens there.
    pub fn is_held(&self) -> bool {
        self.socket.is_some()
    }

    /// Binds the port if no process listens there any more. Idempotent.
    pub fn hold(&mut self) {
        if self.socket.is_none() {
            self.socket = bind(self.port, true).ok();
        }
    }

    /// The ports to which the reserved one belongs.
    pub fn ports(&self) -> Arc<Ports> {
        Arc::clone(&self.ports)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut taken = self.ports.taken.lock();
        if let Some(count) = taken.get_mut(&self.port) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_is_reserved_once_and_can_be_listened_on() {
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = busy.local_addr().unwrap().port();
        let ports = Ports::new(port..=port);
        assert!(ports.reserve(None).is_none(), "somebody listens");
        drop(busy);

        let reservation = ports.reserve(None).unwrap();
        assert_eq!(reservation.port(), port);
        assert!(ports.reserve(None).is_none());
        // Its owner listens; the standard library sets reuse as x11vnc does.
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop((listener, reservation));
        assert!(ports.reserve(Some(port)).is_none(), "nothing comes behind the last one");
        assert!(ports.reserve(None).is_some());
    }
}
