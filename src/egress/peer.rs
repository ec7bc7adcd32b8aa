//! The user at the other end of a connection, where no namespace separates the session.
//!
//! TCP has no peer credentials. The kernel's table lists each socket of this machine with the user
//! that created it. `sock_diag(7)` finds one socket directly; where that is missing, the table in
//! `/proc` is scanned.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Returns the user that created the socket `theirs`, which is connected to `ours`. None if that
/// socket no longer exists: an orphan has no user.
pub fn user_of(theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    match ask_kernel(theirs, ours) {
        Ok(user) => user,
        Err(_) => look_up(theirs, ours),
    }
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const ENOENT: i32 = -2;

/// Queries the kernel for one socket. It also finds an IPv6 socket that connects IPv4 addresses.
fn ask_kernel(theirs: SocketAddr, ours: SocketAddr) -> io::Result<Option<u32>> {
    let mut message = Vec::with_capacity(72);
    message.extend_from_slice(&72u32.to_ne_bytes()); // struct nlmsghdr
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    let family = if theirs.is_ipv4() { AF_INET } else { AF_INET6 };
    message.extend_from_slice(&[family, IPPROTO_TCP, 0, 0]); // struct inet_diag_req_v2
    message.extend_from_slice(&u32::MAX.to_ne_bytes()); // every state
    message.extend_from_slice(&theirs.port().to_be_bytes());
    message.extend_from_slice(&ours.port().to_be_bytes());
    message.extend_from_slice(&words(theirs.ip()));
    message.extend_from_slice(&words(ours.ip()));
    message.extend_from_slice(&[0; 4]); // any interface
    message.extend_from_slice(&[0xff; 8]); // no cookie

    let protocol = Some(rustix::net::netlink::SOCK_DIAG);
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 1024];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    let word = |at: usize| -> Option<[u8; 4]> { answer.get(at..at + 4)?.try_into().ok() };
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    if kind != Some(SOCK_DIAG_BY_FAMILY) {
        return match word(16).map(i32::from_ne_bytes) {
            Some(ENOENT) => Ok(None),
            Some(_) | None => Err(io::ErrorKind::Unsupported.into()),
        };
    }
    // struct inet_diag_msg: 16 + 4 + 48 + 3 * 4 bytes before the user, then the inode.
    let user = word(80).map(u32::from_ne_bytes);
    let inode = word(84).map(u32::from_ne_bytes);
    // Without a connection the kernel returns a listener of that port, which has no remote port.
    let is_connection = answer.get(22..24) == Some(ours.port().to_be_bytes().as_slice());
    Ok(user.filter(|_| is_connection && inode.is_some_and(|inode| inode != 0)))
}

fn words(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

/// Scans the tables of all TCP sockets.
fn look_up(theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().find_map(|table| {
        let (local, remote) = (written(theirs, table)?, written(ours, table)?);
        let lines = BufReader::new(File::open(table).ok()?).lines();
        lines.map_while(Result::ok).find_map(|line| user_in(&line, &local, &remote))
    })
}

fn user_in(line: &str, local: &str, remote: &str) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != local || fields.next()? != remote {
        return None;
    }
    let user = fields.nth(4)?.parse().ok()?;
    let inode = fields.nth(1)?;
    (inode != "0").then_some(user)
}

/// An address in the format of the table: hexadecimal words in the machine's byte order.
fn written(address: SocketAddr, table: &str) -> Option<String> {
    let is_v6 = table.ends_with('6');
    let octets: Vec<u8> = match (address.ip(), is_v6) {
        (IpAddr::V4(v4), false) => v4.octets().to_vec(),
        (IpAddr::V4(v4), true) => v4.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(v6), true) => v6.octets().to_vec(),
        (IpAddr::V6(_), false) => return None,
    };
    let words = octets.chunks_exact(4).filter_map(|word| word.try_into().ok());
    let words = words.map(|word| format!("{:08X}", u32::from_ne_bytes(word)));
    Some(format!("{}:{:04X}", words.collect::<String>(), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_user_of_a_connection_is_found_until_it_is_closed() {
        let me = rustix::process::getuid().as_raw();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        // As in a program that uses IPv6 sockets for everything.
        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", ours.port()).parse().unwrap();
        for address in [ours, mapped] {
            let client = TcpStream::connect(address).unwrap();
            let (server, theirs) = listener.accept().unwrap();
            assert_eq!(ask_kernel(theirs, ours).unwrap(), Some(me), "{address}");
            assert_eq!(look_up(theirs, ours), Some(me), "{address}");
            assert_eq!(user_of(ours, ours), None);
            drop(client);
            drop(server);
            assert_eq!(user_of(theirs, ours), None);
            assert_eq!(look_up(theirs, ours), None);
        }
    }

    #[test]
    fn a_line_is_read_by_its_fields() {
        let line = "  12: 0100007F:A3B4 0100007F:0C38 01 00000000:00000000 00:00000000 00000000 \
                     1000        0 98765 1 0000000000000000 20 4 30 10 -1";
        assert_eq!(user_in(line, "0100007F:A3B4", "0100007F:0C38"), Some(1000));
        assert_eq!(user_in(line, "0100007F:A3B4", "0100007F:0C39"), None);
        assert_eq!(user_in(&line.replace("98765", "0"), "0100007F:A3B4", "0100007F:0C38"), None);
    }
}
