//! Tests of displays: the X11 handshake done manually, with and without a stolen cookie.

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use super::{Display, Targets, Try};

const TIMEOUT: Duration = Duration::from_secs(3);

const COOKIE_NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// A display number that does not exist.
const FREE: u16 = 64_321;

pub(super) fn run(targets: &Targets) -> Vec<Try> {
    let mut tries = Vec::new();
    for Display { number, cookie } in &targets.displays {
        let stolen = cookie.as_deref().and_then(bytes);
        for (how, cookie) in [("without a cookie", None), ("with its cookie", stolen)] {
            if how == "with its cookie" && cookie.is_none() {
                continue;
            }
            for (kind, stream) in [("path", by_path(*number)), ("abstract", by_name(*number))] {
                let outcome = stream.and_then(|stream| shake(stream, cookie.as_deref()));
                tries.push(Try::new(format!("display :{number} by {kind} {how}"), outcome));
            }
        }
    }
    if !targets.displays.is_empty() {
        let squatted = address(FREE).and_then(|address| UnixListener::bind_addr(&address));
        tries.push(Try::new(
            "squat a display's abstract socket",
            squatted.map(|_| "listens in this network namespace".to_owned()),
        ));
    }
    tries
}

fn address(number: u16) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("/tmp/.X11-unix/X{number}"))
}

fn by_name(number: u16) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&address(number)?)
}

fn by_path(number: u16) -> io::Result<UnixStream> {
    UnixStream::connect(format!("/tmp/.X11-unix/X{number}"))
}

/// Does the first exchange of the X11 protocol. A server that accepts the client answers with 1.
fn shake(mut stream: UnixStream, cookie: Option<&[u8]>) -> io::Result<String> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let (name, data) = cookie.map_or((&[][..], &[][..]), |cookie| (COOKIE_NAME, cookie));
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let request = [
        b"l\0".as_slice(),
        &11_u16.to_le_bytes(),
        &0_u16.to_le_bytes(),
        &length(name),
        &length(data),
        &[0, 0],
        &padded(name),
        &padded(data),
    ]
    .concat();
    stream.write_all(&request)?;
    let mut answer = [0_u8; 1];
    stream.read_exact(&mut answer)?;
    match answer {
        [1] => Ok("the display takes the client".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the display refuses the client")),
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        hexadecimal.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pair = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cookie_is_read() {
        assert_eq!(super::bytes("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(super::bytes("0"), None);
        assert_eq!(super::bytes("zz"), None);
    }
}
