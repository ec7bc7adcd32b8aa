//! The WebSocket handshake with a browser (RFC 6455, section 4.1), and the one answer of its HTTP
//! server that is passed on.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::endpoint::Endpoint;
use crate::domain::session::DesktopIdentity;
use crate::system::cdp::Devtools;

/// The time that the browser has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum length of the head of an answer, in bytes.
const LONGEST: usize = 16 << 10;

/// The maximum number of headers of an answer.
const MOST_HEADERS: usize = 64;

/// The maximum length of the description of the protocol, in bytes. Chromium's has 2 MB.
const LONGEST_BODY: u64 = 16 << 20;

/// The time that the description of the protocol may take on its way.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// The bytes of a body that are read at once.
const CHUNK: usize = 64 << 10;

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
pub(super) async fn reach(
    desktop: &DesktopIdentity,
    endpoint: &Endpoint,
    key: &str,
) -> io::Result<Upstream> {
    let shaking = timeout(PATIENCE, shake_hands(desktop, endpoint, key)).await;
    shaking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn shake_hands(
    desktop: &DesktopIdentity,
    endpoint: &Endpoint,
    key: &str,
) -> io::Result<Upstream> {
    let devtools = Devtools::of(desktop);
    let mut socket = devtools.connect().await?;
    let (address, browser) = (devtools.address, devtools.path);
    let path = match endpoint {
        Endpoint::Browser => browser,
        Endpoint::Page(id) => format!("/devtools/page/{id}"),
    };
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

/// The browser's description of its protocol.
pub struct Protocol {
    /// The length of the body in bytes.
    pub length: u64,
    /// The body, which fails if the browser does not go on.
    pub body: Pin<Box<dyn Stream<Item = io::Result<Bytes>>>>,
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protocol").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Requests `/json/protocol` of a browser. The body is read as fast as it is taken,
/// and for `BODY_PATIENCE` at most.
///
/// # Errors
///
/// Fails if the browser cannot be reached, refuses, or does not answer in time.
pub async fn protocol(desktop: &DesktopIdentity) -> io::Result<Protocol> {
    let asking = timeout(PATIENCE, ask_for_protocol(desktop)).await;
    asking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn ask_for_protocol(desktop: &DesktopIdentity) -> io::Result<Protocol> {
    let devtools = Devtools::of(desktop);
    let mut socket = devtools.connect().await?;
    let request = format!(
        "GET /json/protocol HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        devtools.address
    );
    socket.write_all(request.as_bytes()).await?;
    let mut head = BytesMut::new();
    let (length, body) = loop {
        if (&mut socket).take(4096).read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(found) = sized(&head)? {
            break found;
        }
        if head.len() > LONGEST {
            return Err(io::Error::other("its answer is too long"));
        }
    };
    let early = head.split_off(body).freeze();
    let until = Instant::now() + BODY_PATIENCE;
    let rest =
        stream::unfold((socket, early, length), move |(mut socket, early, left)| async move {
            if left == 0 {
                return None;
            }
            let chunk =
                if early.is_empty() { read_by(until, &mut socket).await } else { Ok(early) };
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(cause) => return Some((Err(cause), (socket, Bytes::new(), 0))),
            };
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            Some((Ok(chunk), (socket, Bytes::new(), left)))
        });
    Ok(Protocol { length, body: Box::pin(rest) })
}

/// Reads the next bytes; an end is an error, because more was announced.
async fn read_by(until: Instant, socket: &mut TcpStream) -> io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    match timeout_at(until, socket.read_buf(&mut chunk)).await {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(chunk.freeze()),
        Ok(Err(cause)) => Err(cause),
        Err(_late) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Returns the length of the body of an answer and that of its head, once the head is complete.
fn sized(head: &[u8]) -> io::Result<Option<(u64, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let end = match answer.parse(head).map_err(io::Error::other)? {
        httparse::Status::Complete(end) => end,
        httparse::Status::Partial => return Ok(None),
    };
    let code = answer.code.unwrap_or_default();
    let mut headers = answer.headers.iter();
    let length = headers.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok());
    let length = length.and_then(|text| text.trim().parse::<u64>().ok());
    match length {
        Some(length) if code == 200 && length <= LONGEST_BODY => Ok(Some((length, end))),
        _ => Err(io::Error::other(format!("it answered {code} with an unexpected length"))),
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

    #[test]
    fn a_body_counts_when_its_length_is_known_and_bearable() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length:12\r\n\r\n";
        assert_eq!(sized(format!("{head}{{}}").as_bytes()).unwrap(), Some((12, head.len())));
        assert_eq!(sized(&head.as_bytes()[..20]).unwrap(), None);
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert!(sized(head.as_bytes()).is_err(), "{head}");
        }
    }
}
