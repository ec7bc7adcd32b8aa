//! Who is connected to a VNC server without us: clients of their own, which only the system knows of.

use std::fs;
use std::io;

/// The state of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// How many connections to this port of the loopback address are established.
pub fn connections(port: u16) -> io::Result<usize> {
    Ok(count(&fs::read_to_string("/proc/net/tcp")?, port))
}

fn count(table: &str, port: u16) -> usize {
    let local = format!("0100007F:{port:04X}");
    let is_one = |line: &&str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        words.next() == Some(&local) && words.nth(1) == Some(ESTABLISHED)
    };
    table.lines().filter(is_one).count()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_listens_and_who_has_left_is_not_counted() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                       0: 0100007F:170C 00000000:0000 0A 00000000\n\
                       1: 0100007F:170C 0100007F:D2F0 01 00000000\n\
                       2: 0100007F:170C 0100007F:D2F2 08 00000000\n\
                       3: 0100007F:D2F0 0100007F:170C 01 00000000\n";
        assert_eq!(count(table, 5900), 1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connections(port).unwrap(), 0);
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(connections(port).unwrap(), 1);
    }
}
