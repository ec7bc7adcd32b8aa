//! The WebSocket handshake with a browser (RFC 6455, section 4.1).

use std::io;
use std::time::Duration;

use actix_web::web::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::domain::session::DesktopIdentity;
use crate::system::cdp::Devtools;

/// The time that the browser has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum length of the head of an answer, in bytes.
const LONGEST: usize = 16 << 10;

/// The maximum number of headers of an answer.
const MOST_HEADERS: usize = 64;

/// A browser that has accepted the WebSocket handshake.
#[derive(Debug)]
pub(super) struct Upstream {
    pub socket: TcpStream,
    /// The `Sec-WebSocket-Accept` of the browser's answer.
    pub accept: String,
    /// The bytes that the browser sent together with its answer.
    pub early: Bytes,
}

/// Connects to a browser with the client's own key, so that the browser's answer also answers the
/// client. No extension is offered, because compressed messages could not be judged.
///
/// # Errors
///
/// Fails if the browser cannot be reached, refuses, or does not answer in time.
pub(super) async fn reach(desktop: &DesktopIdentity, key: &str) -> io::Result<Upstream> {
    let shaking = timeout(PATIENCE, shake_hands(desktop, key)).await;
    shaking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn shake_hands(desktop: &DesktopIdentity, key: &str) -> io::Result<Upstream> {
    let devtools = Devtools::of(desktop);
    let mut socket = devtools.connect().await?;
    let (address, path) = (devtools.address, devtools.path);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    loop {
        if (&mut socket).take(4096).read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((accept, length)) = accepted(&head)? {
            let early = Bytes::from(head.split_off(length));
            return Ok(Upstream { socket, accept, early });
        }
        if head.len() > LONGEST {
            return Err(io::Error::other("its answer is too long"));
        }
    }
}

/// Returns the `Sec-WebSocket-Accept` of an answer and the length of its head, once the head is
/// complete.
fn accepted(head: &[u8]) -> io::Result<Option<(String, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(head).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let code = answer.code.unwrap_or_default();
    let mut headers = answer.headers.iter();
    let accept = headers.find(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
    let accept = accept.and_then(|header| std::str::from_utf8(header.value).ok());
    match accept {
        Some(accept) if code == 101 => Ok(Some((accept.to_owned(), length))),
        _ => {
            let reason = answer.reason.unwrap_or_default();
            Err(io::Error::other(format!("it answered {code} {reason}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_it_is_complete_and_a_refusal_is_named() {
        let head =
            "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nSEC-WebSocket-Accept:  abc \r\n\r\n";
        let length = head.len();
        let more = format!("{head}\u{1}early");
        assert_eq!(accepted(more.as_bytes()).unwrap(), Some(("abc".to_owned(), length)));
        for cut in 0..length {
            assert_eq!(accepted(&head.as_bytes()[..cut]).unwrap(), None, "{cut}");
        }
        let refused = |head: &str| accepted(head.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused("HTTP/1.1 403 Forbidden\r\n\r\n"), "it answered 403 Forbidden");
        assert_eq!(refused("HTTP/1.1 101 Switching\r\n\r\n"), "it answered 101 Switching");
        assert!(accepted(b"SSH-2.0\r\n\r\n").is_err());
        let many = format!("HTTP/1.1 101 S\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert!(accepted(many.as_bytes()).is_err());
    }
}
