//! Clients that are connected to a VNC server directly and are known only to the system.

use std::fs;
use std::io;

use crate::system::proc::{clients, established, socket_inode};

/// The number of established connections to this port of the loopback address.
pub fn connections(port: u16) -> io::Result<usize> {
    Ok(established(&fs::read_to_string("/proc/net/tcp")?, port))
}

/// The number of established connections to this port of the loopback address that other processes of this
/// machine have.
pub fn direct(port: u16) -> io::Result<usize> {
    let clients = clients(&fs::read_to_string("/proc/net/tcp")?, port);
    let own = |inode: &u64| {
        let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let mut sockets =
            open.filter_map(|entry| socket_inode(fs::read_link(entry.path()).ok()?.to_str()?));
        sockets.any(|socket| socket == *inode)
    };
    Ok(clients.iter().filter(|inode| !own(inode)).count())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_listens_and_who_has_left_is_not_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connections(port).unwrap(), 0);
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(connections(port).unwrap(), 1);
        assert_eq!(direct(port).unwrap(), 0, "it is this process's");
    }
}
