//! Clients that are connected to a VNC server directly and are known only to the system.

use std::collections::HashSet;
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
    foreign(|| Ok(clients(&fs::read_to_string("/proc/net/tcp")?, port)), own_sockets)
}

/// The number of connected sockets that are not this process's. The two tables are read one after the other:
/// a bridge that ends between them is in the first and not in the second. So only a socket that is still
/// connected afterwards counts.
fn foreign(
    connected: impl Fn() -> io::Result<Vec<u64>>,
    own: impl FnOnce() -> HashSet<u64>,
) -> io::Result<usize> {
    let before = connected()?;
    if before.is_empty() {
        return Ok(0);
    }
    let own = own();
    let after = connected()?;
    Ok(before.iter().filter(|socket| !own.contains(socket) && after.contains(socket)).count())
}

/// The inodes of the sockets that this process has open.
fn own_sockets() -> HashSet<u64> {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    open.filter_map(|entry| socket_inode(fs::read_link(entry.path()).ok()?.to_str()?)).collect()
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
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(connections(port).unwrap(), 1);
        assert_eq!(direct(port).unwrap(), 0, "it is this process's");
        let table = || fs::read_to_string("/proc/net/tcp");
        let connected = || table().map(|table| clients(&table, port));
        assert_eq!(foreign(connected, HashSet::new).unwrap(), 1, "it is another's");
        let leaves = move || {
            drop(client);
            own_sockets()
        };
        assert_eq!(foreign(connected, leaves).unwrap(), 0, "it was closed between the two tables");
    }
}
