//! Which port belongs to which VNC server.
//!
//! A port is held by a socket that is bound to it and does not listen: nobody else is given the
//! port, and the VNC server, which asks for the reuse of addresses as we do, can still take it.

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
    /// How many reservations there are of each: more than one only while a desktop changes hands.
    taken: Mutex<BTreeMap<u16, usize>>,
}

/// A port that is nobody else's; the drop gives it back.
#[derive(Debug)]
pub struct Reservation {
    port: u16,
    ports: Arc<Ports>,
    /// None while somebody listens there already.
    socket: Option<TcpSocket>,
}

impl Ports {
    /// All of `range`.
    pub fn new(range: RangeInclusive<u16>) -> Arc<Self> {
        Arc::new(Self { range, taken: Mutex::default() })
    }

    /// The first and the last of them.
    pub fn range(&self) -> &RangeInclusive<u16> {
        &self.range
    }

    /// Those that are kept for somebody.
    pub fn taken(&self) -> Vec<u16> {
        self.taken.lock().keys().copied().collect()
    }

    /// Takes the first port behind `after` that is free; none when none is.
    pub fn reserve(self: &Arc<Self>, after: Option<u16>) -> Option<Reservation> {
        let mut taken = self.taken.lock();
        let free: Vec<u16> = self
            .range
            .clone()
            .filter(|port| after.is_none_or(|after| *port > after) && !taken.contains_key(port))
            .collect();
        // First as a stranger, whom the reservation of another server keeps out; then one for
        // which only connections that have ended stand in the way.
        let found = [false, true]
            .into_iter()
            .find_map(|reuse| free.iter().find_map(|port| Some((*port, bind(*port, reuse).ok()?))));
        let (port, socket) = found?;
        taken.insert(port, 1);
        Some(Reservation { port, ports: Arc::clone(self), socket: Some(socket) })
    }

    /// Takes `port` for a VNC server that had it under a former server, and may listen there now.
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
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the port is kept by a socket of ours; otherwise somebody listens there.
    pub fn is_held(&self) -> bool {
        self.socket.is_some()
    }

    /// Keeps others away when nobody listens any more. May be repeated.
    pub fn hold(&mut self) {
        if self.socket.is_none() {
            self.socket = bind(self.port, true).ok();
        }
    }

    /// The ports of which it is one.
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
        // Its owner listens; the standard library asks for reuse as x11vnc does.
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop((listener, reservation));
        assert!(ports.reserve(Some(port)).is_none(), "nothing comes behind the last one");
        assert!(ports.reserve(None).is_some());
    }
}
