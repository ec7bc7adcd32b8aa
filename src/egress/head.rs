//! Heads of HTTP/1.1 messages. The order of headers and the case of their names are preserved,
//! because sites recognize browsers by both.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::framing::Framing;

/// The longest head in bytes: the cookies of a large site take tens of kilobytes.
const LONGEST: usize = 128 * 1024;
const MOST_HEADERS: usize = 200;

/// Headers that apply to one connection only (RFC 9110, section 7.6.1). `Transfer-Encoding` is not
/// among them, because bodies are forwarded unchanged.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "upgrade",
];

/// A header as the sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, in the case of the sender.
    pub name: String,
    /// The value, which need not be UTF-8.
    pub value: Vec<u8>,
}

/// The headers of a message, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

/// The request line and the headers.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method, in the case of the sender.
    pub method: String,
    /// The request target: an absolute URL, a path, or `host:port` for `CONNECT`.
    pub target: String,
    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor: u8,
    /// The headers, in order.
    pub headers: Headers,
}

/// The status line and the headers.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The status code, such as 200.
    pub status: u16,
    /// The text after the status code, which may be empty.
    pub reason: String,
    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor: u8,
    /// The headers, in order.
    pub headers: Headers,
}

/// The reasons for which no head was read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error("the connection was closed")]
    Closed,
    #[error("the head is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the message is not HTTP/1.1: {0}")]
    Invalid(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A head that can be parsed from bytes.
pub trait Head: Sized {
    /// Returns the head and its length in bytes; `None` if bytes are missing.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError>;
}

/// Reads a head. Bytes after it stay in the buffer.
///
/// # Errors
///
/// Fails when the stream ends first, the head is not HTTP/1.1, or longer than 128 KiB.
pub async fn read_head<H: Head, R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    buffer: &mut BytesMut,
) -> Result<H, HeadError> {
    let mut is_worth_parsing = buffer.contains(&b'\n');
    loop {
        if is_worth_parsing && let Some((head, length)) = H::parse(buffer)? {
            buffer.advance(length);
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
            return Ok(head);
        }
        if buffer.len() > LONGEST {
            return Err(HeadError::TooLong);
        }
        let before = buffer.len();
        buffer.reserve(2048);
        if reader.read_buf(buffer).await? == 0 {
            return Err(HeadError::Closed);
        }
        is_worth_parsing = buffer.get(before..).is_some_and(|new| new.contains(&b'\n'));
    }
}

fn invalid(error: httparse::Error) -> HeadError {
    HeadError::Invalid(error.to_string())
}

impl Headers {
    fn from_parsed(parsed: &[httparse::Header<'_>]) -> Self {
        let header = |header: &httparse::Header<'_>| Header {
            name: header.name.to_owned(),
            value: header.value.to_vec(),
        };
        Self(parsed.iter().map(header).collect())
    }

    /// The values of a header, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.as_slice())
    }

    /// The elements of a comma-separated header, in lower case.
    pub fn words(&self, name: &str) -> Vec<String> {
        let texts = self.all(name).map(String::from_utf8_lossy);
        texts
            .flat_map(|text| {
                text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect::<Vec<_>>()
            })
            .filter(|word| !word.is_empty())
            .collect()
    }

    /// True if this side asks to close the connection after the message.
    pub fn closes(&self) -> bool {
        self.words("connection")
            .iter()
            .chain(&self.words("proxy-connection"))
            .any(|it| it == "close")
    }

    /// True if the message asks for another protocol.
    pub fn upgrades(&self) -> bool {
        self.words("connection").iter().any(|word| word == "upgrade")
            && self.all("upgrade").next().is_some()
    }

    /// The value of `Content-Length`, if all its occurrences agree.
    fn length(&self) -> Result<Option<u64>, HeadError> {
        let mut length = None;
        for word in self.words("content-length") {
            let digits = word.bytes().all(|byte| byte.is_ascii_digit());
            let found = word.parse::<u64>().ok().filter(|_| digits);
            let found = found.ok_or_else(|| HeadError::Invalid("content-length".to_owned()))?;
            if length.is_some_and(|length| length != found) {
                return Err(HeadError::Invalid("content-length".to_owned()));
            }
            length = Some(found);
        }
        Ok(length)
    }

    /// Writes all headers except those of the connection and those in `except`.
    fn write(
        &self,
        out: &mut Vec<u8>,
        except: &[&str],
        mut replace: impl FnMut(&Header, &mut Vec<u8>) -> bool,
    ) {
        let named = self.words("connection");
        for header in &self.0 {
            if replace(header, out) {
                continue;
            }
            let name = header.name.to_ascii_lowercase();
            let is_framing =
                matches!(name.as_str(), "transfer-encoding" | "content-length" | "host");
            let is_named = named.contains(&name) && !is_framing;
            if is_named || HOP_BY_HOP.contains(&name.as_str()) || except.contains(&name.as_str()) {
                continue;
            }
            line(out, &header.name, &header.value);
        }
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

impl Head for RequestHead {
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(bytes).map_err(invalid)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HeadError::Invalid("request line".to_owned()));
        };
        let head = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            minor,
            headers: Headers::from_parsed(parsed.headers),
        };
        Ok(Some((head, length)))
    }
}

impl RequestHead {
    /// The framing of the body. A message with two framings is rejected, never repaired.
    ///
    /// # Errors
    ///
    /// Fails when the length of the body is ambiguous.
    pub fn framing(&self) -> Result<Framing, HeadError> {
        let codings = self.headers.words("transfer-encoding");
        let length = self.headers.length()?;
        match codings.as_slice() {
            [] => Ok(length.map_or(Framing::NONE, Framing::Length)),
            [only] if only == "chunked" && length.is_none() && self.minor == 1 => {
                Ok(Framing::CHUNKED)
            }
            [_, ..] => Err(HeadError::Invalid("transfer-encoding".to_owned())),
        }
    }

    /// The head as it is sent to a server: with this target and host, without the headers of the
    /// client's connection. No `Via` is added: pages must not detect a proxy.
    pub fn forward(&self, target: &str, host: &str, extra: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(
            format!("{} {target} HTTP/1.{}\r\n", self.method, self.minor).as_bytes(),
        );
        let is_upgrade = self.headers.upgrades();
        let connection: &[u8] = match (is_upgrade, self.minor) {
            (true, _) => b"Upgrade",
            (false, 0) => b"close",
            (false, _) => b"keep-alive",
        };
        let mut has_host = self.headers.all("host").next().is_some();
        if !has_host {
            line(&mut out, "Host", host.as_bytes());
        }
        let mut has_connection = false;
        self.headers.write(&mut out, &[], |header, out| {
            let name = header.name.as_str();
            if name.eq_ignore_ascii_case("host") {
                if has_host {
                    line(out, name, host.as_bytes());
                    has_host = false;
                }
                return true;
            }
            if name.eq_ignore_ascii_case("connection")
                || name.eq_ignore_ascii_case("proxy-connection")
            {
                if !has_connection {
                    line(out, "Connection", connection);
                    has_connection = true;
                }
                return true;
            }
            if is_upgrade && name.eq_ignore_ascii_case("upgrade") {
                line(out, name, &header.value);
                return true;
            }
            false
        });
        for (name, value) in extra {
            line(&mut out, name, value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

impl Head for ResponseHead {
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let mut config = httparse::ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(true);
        config.allow_obsolete_multiline_headers_in_responses(true);
        config.ignore_invalid_headers_in_responses(true);
        let length = match config.parse_response(&mut parsed, bytes).map_err(invalid)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(HeadError::Invalid("status line".to_owned()));
        };
        let head = Self {
            status,
            reason: parsed.reason.unwrap_or_default().to_owned(),
            minor,
            headers: Headers::from_parsed(parsed.headers),
        };
        Ok(Some((head, length)))
    }
}

impl ResponseHead {
    /// True for an interim response (1xx other than 101), which another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The framing of the body, which depends on the request's method.
    ///
    /// # Errors
    ///
    /// Fails when the length of the body is ambiguous.
    pub fn framing(&self, method: &str) -> Result<Framing, HeadError> {
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::NONE);
        }
        let codings = self.headers.words("transfer-encoding");
        match codings.last() {
            Some(last) if last == "chunked" => Ok(Framing::CHUNKED),
            Some(_) => Ok(Framing::UntilClose),
            None => Ok(self.headers.length()?.map_or(Framing::UntilClose, Framing::Length)),
        }
    }

    /// The head as it is sent to the client.
    pub fn forward(&self, closes: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let status = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason);
        out.extend_from_slice(status.as_bytes());
        let is_chunked = self.headers.all("transfer-encoding").next().is_some();
        let except: &[&str] = if is_chunked { &["content-length"] } else { &[] };
        let is_upgrade = self.status == 101;
        self.headers.write(&mut out, except, |header, out| {
            let keeps = is_upgrade && header.name.eq_ignore_ascii_case("upgrade");
            if keeps {
                line(out, &header.name, &header.value);
            }
            keeps
        });
        if is_upgrade {
            line(&mut out, "Connection", b"Upgrade");
        } else if closes {
            line(&mut out, "Connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
