//! The two handshakes: with the VNC server, as its client, and with a viewer, as its server.
//!
//! Both support version 3.8 only. Each takes bytes in pieces of any length and returns the bytes to
//! send. Bytes after the handshake are left in the input.

use des::Des;
use des::cipher::{BlockEncrypt as _, KeyInit as _};

use super::fill;

/// The version that both sides use (RFC 6143, section 7.1.1).
pub const VERSION: [u8; 12] = *b"RFB 003.008\n";

const NONE: u8 = 1;
const VNC_AUTHENTICATION: u8 = 2;
/// The longest reason for a refusal and the longest name of a desktop, in bytes.
const MOST_TEXT: u32 = 64 * 1024;

/// The result of one step of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// The handshake needs more bytes.
    More,
    /// The caller must send these bytes and then call again.
    Send(Vec<u8>),
    /// The handshake is complete.
    Done(T),
}

/// The reason why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side does not speak RFB, or speaks another version than 3.8.
    #[error("the peer does not speak RFB 3.8")]
    Version,
    /// The server requires another security type than None or VNC Authentication, or the viewer
    /// chose a type that was not offered.
    #[error("no security type in common")]
    Security,
    /// The server refuses connections, or this password.
    #[error("the VNC server rejected the connection: {reason}")]
    Refused {
        /// The reason, as the server gave it.
        reason: String,
    },
    /// The server announced a text longer than any valid reason or name.
    #[error("the VNC server announced a text of {0} bytes, which is too long")]
    LongText(u32),
}

/// The display's parameters from a VNC server (RFC 6143, section 7.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInit {
    /// The width in pixels.
    pub width: u16,
    /// The height in pixels.
    pub height: u16,
    /// The server's own pixel format, as received.
    pub format: [u8; 16],
    pub name: Vec<u8>,
}

impl ServerInit {
    /// Appends the message in its wire format.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.name.len()).unwrap_or(u32::MAX);
        out.extend(self.width.to_be_bytes());
        out.extend(self.height.to_be_bytes());
        out.extend(self.format);
        out.extend(length.to_be_bytes());
        out.extend(&self.name);
    }
}

/// Returns the response to the challenge of VNC Authentication (RFC 6143, section 7.2.2). It is
/// encrypted by DES; the key is the first eight bytes of the password, with the bits of each byte
/// reversed.
pub fn vnc_authentication(challenge: [u8; 16], password: &[u8]) -> [u8; 16] {
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().zip(password) {
        *to = from.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut response = challenge;
    let (blocks, _) = response.as_chunks_mut::<8>();
    for block in blocks {
        let mut work = (*block).into();
        cipher.encrypt_block(&mut work);
        *block = work.into();
    }
    response
}

/// The handshake with a VNC server, as its client. The caller must send [`VERSION`] first, without
/// waiting: x11vnc pauses for 100 ms before it greets a silent client.
pub struct Connecting {
    password: Vec<u8>,
    stage: Greeted,
    held: Vec<u8>,
}

enum Greeted {
    No,
    Version,
    /// The list of security types follows, with this length.
    Types(u8),
    Challenge,
    Result,
    /// The server has refused; the reason follows, with this length in bytes.
    Reason(Option<u32>),
    Init(Option<u32>),
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connecting { .. }")
    }
}

impl Connecting {
    /// Creates a handshake that presents `password` if the server requires authentication.
    pub fn new(password: &[u8]) -> Self {
        Self { password: password.to_vec(), stage: Greeted::No, held: Vec::new() }
    }

    /// Returns the next step, taking bytes from the front of `input`. The handshake always requests
    /// a shared connection, so that it never disconnects other viewers.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Step<ServerInit>, HandshakeError> {
        loop {
            let wanted = match self.stage {
                Greeted::No => 12,
                Greeted::Version => 1,
                Greeted::Types(count) => usize::from(count),
                Greeted::Challenge => 16,
                Greeted::Result | Greeted::Reason(None) => 4,
                Greeted::Reason(Some(length)) => usize::try_from(length).unwrap_or(usize::MAX),
                Greeted::Init(None) => 24,
                Greeted::Init(Some(length)) => usize::try_from(length).unwrap_or(usize::MAX) + 24,
            };
            if !fill(&mut self.held, input, wanted) {
                return Ok(Step::More);
            }
            let held = std::mem::take(&mut self.held);
            if let Some(step) = self.advance(held)? {
                return Ok(step);
            }
        }
    }

    fn advance(&mut self, held: Vec<u8>) -> Result<Option<Step<ServerInit>>, HandshakeError> {
        match self.stage {
            Greeted::No => {
                if !speaks_3_8(&held) {
                    return Err(HandshakeError::Version);
                }
                self.stage = Greeted::Version;
            }
            Greeted::Version => match held.as_slice() {
                [0] => self.stage = Greeted::Reason(None),
                [count] => self.stage = Greeted::Types(*count),
                _ => return Err(HandshakeError::Security),
            },
            Greeted::Types(_) => {
                return if held.contains(&VNC_AUTHENTICATION) {
                    self.stage = Greeted::Challenge;
                    Ok(Some(Step::Send(vec![VNC_AUTHENTICATION])))
                } else if held.contains(&NONE) {
                    self.stage = Greeted::Result;
                    Ok(Some(Step::Send(vec![NONE])))
                } else {
                    Err(HandshakeError::Security)
                };
            }
            Greeted::Challenge => {
                let challenge =
                    held.try_into().map_err(|_length: Vec<u8>| HandshakeError::Security)?;
                let response = vnc_authentication(challenge, &self.password);
                self.stage = Greeted::Result;
                return Ok(Some(Step::Send(response.to_vec())));
            }
            Greeted::Result if held == [0, 0, 0, 0] => {
                self.stage = Greeted::Init(None);
                return Ok(Some(Step::Send(vec![1])));
            }
            Greeted::Result => self.stage = Greeted::Reason(None),
            Greeted::Reason(None) => self.stage = Greeted::Reason(Some(text_length(&held)?)),
            Greeted::Reason(Some(_)) => {
                let reason = String::from_utf8_lossy(&held).into_owned();
                return Err(HandshakeError::Refused { reason });
            }
            Greeted::Init(None) => {
                let length = text_length(held.get(20..).unwrap_or_default())?;
                self.stage = Greeted::Init(Some(length));
                self.held = held;
            }
            Greeted::Init(Some(_)) => {
                return match held.as_slice() {
                    [a, b, c, d, rest @ ..] => {
                        let (format, rest) =
                            rest.split_first_chunk::<16>().ok_or(HandshakeError::Version)?;
                        Ok(Some(Step::Done(ServerInit {
                            width: u16::from_be_bytes([*a, *b]),
                            height: u16::from_be_bytes([*c, *d]),
                            format: *format,
                            name: rest.get(4..).unwrap_or_default().to_vec(),
                        })))
                    }
                    _ => Err(HandshakeError::Version),
                };
            }
        }
        Ok(None)
    }
}

/// True if the greeting announces version 3.8 or a later one, which accepts 3.8.
fn speaks_3_8(greeting: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    match greeting {
        [b'R', b'F', b'B', b' ', version @ .., b'\n'] => match version {
            [major @ .., b'.', a, b, c] if digits(major) && digits(&[*a, *b, *c]) => {
                (major, [*a, *b, *c]) >= (b"003".as_slice(), *b"008")
            }
            _ => false,
        },
        _ => false,
    }
}

fn text_length(held: &[u8]) -> Result<u32, HandshakeError> {
    let length = held.try_into().map_or(u32::MAX, u32::from_be_bytes);
    if length > MOST_TEXT { Err(HandshakeError::LongText(length)) } else { Ok(length) }
}

/// The handshake with a viewer, as its server. The caller must send [`VERSION`] first.
///
/// Security type None is the only one offered: the viewer is authenticated before the handshake
/// starts.
#[derive(Debug, Default)]
pub struct Viewing {
    stage: Asked,
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Asked {
    #[default]
    Version,
    Security,
    Init,
}

impl Viewing {
    /// Returns the next step, taking bytes from the front of `input`. The handshake is complete
    /// when the viewer waits for the [`ServerInit`]. A request for an exclusive connection is
    /// ignored.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Step<()>, HandshakeError> {
        let wanted = match self.stage {
            Asked::Version => VERSION.len(),
            Asked::Security | Asked::Init => 1,
        };
        if !fill(&mut self.held, input, wanted) {
            return Ok(Step::More);
        }
        let held = std::mem::take(&mut self.held);
        match self.stage {
            Asked::Version if held == VERSION => {
                self.stage = Asked::Security;
                Ok(Step::Send(vec![1, NONE]))
            }
            Asked::Version => Err(HandshakeError::Version),
            Asked::Security if held == [NONE] => {
                self.stage = Asked::Init;
                Ok(Step::Send(vec![0, 0, 0, 0]))
            }
            Asked::Security => Err(HandshakeError::Security),
            Asked::Init => Ok(Step::Done(())),
        }
    }
}
