//! Tests of sockets: services by path, by abstract name, by port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use super::{Targets, Try};

const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(targets: &Targets) -> Vec<Try> {
    let connected = |_: UnixStream| "connected".to_owned();
    let mut tries = Vec::new();
    for path in &targets.sockets {
        let outcome = UnixStream::connect(path).map(connected);
        tries.push(Try::new(format!("socket {}", path.display()), outcome));
    }
    for name in &targets.abstracts {
        let address = SocketAddr::from_abstract_name(name);
        let outcome = address.and_then(|address| UnixStream::connect_addr(&address));
        tries.push(Try::new(format!("abstract socket {name}"), outcome.map(connected)));
    }
    for address in &targets.tcp {
        let outcome = TcpStream::connect_timeout(address, TIMEOUT);
        tries.push(Try::new(format!("tcp {address}"), outcome.map(|_| "connected".to_owned())));
    }
    for address in &targets.udp {
        tries.push(Try::new(format!("udp {address}"), send(address)));
    }
    for address in &targets.listen {
        let outcome = TcpListener::bind(address).map(|_| "listens".to_owned());
        tries.push(Try::new(format!("listen {address}"), outcome));
    }
    tries
}

fn send(address: &std::net::SocketAddr) -> io::Result<String> {
    let any = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let sent = UdpSocket::bind((any, 0))?.send_to(b"probe", address)?;
    Ok(format!("{sent} bytes sent"))
}
