//! The two handshakes: with the VNC server as a client of it, and with a viewer as its server.
//!
//! Both speak version 3.8 only. Each takes bytes in any pieces and says what to send. Bytes that
//! come after the handshake are left in the input.

use des::Des;
use des::cipher::{BlockEncrypt as _, KeyInit as _};

use super::fill;

/// The version that both sides speak (RFC 6143, section 7.1.1).
pub const VERSION: [u8; 12] = *b"RFB 003.008\n";

const NONE: u8 = 1;
const VNC_AUTHENTICATION: u8 = 2;
/// What a server may say of a refusal, and how long a desktop's name may be.
const MOST_TEXT: u32 = 64 * 1024;

/// What a handshake has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// It waits for more bytes.
    More,
    /// These are to be sent; then it goes on.
    Send(Vec<u8>),
    /// It is done.
    Done(T),
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not RFB at all, or another version than 3.8.
    #[error("the other side does not speak RFB 3.8")]
    Version,
    /// The server asks for something else than None or VNC Authentication, or the viewer for
    /// something that was not offered.
    #[error("no security type in common")]
    Security,
    /// The server wants no connection, or not with this password.
    #[error("the VNC server refused: {reason}")]
    Refused {
        /// In the server's own words.
        reason: String,
    },
    /// The server announced a text that is longer than any reason or name.
    #[error("the VNC server announced a text of {0} bytes")]
    LongText(u32),
}

/// What a VNC server tells of its display (RFC 6143, section 7.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInit {
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// The server's own pixel format, as it came.
    pub format: [u8; 16],
    /// The desktop's name.
    pub name: Vec<u8>,
}

impl ServerInit {
    /// Appends the message as it goes over the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.name.len()).unwrap_or(u32::MAX);
        out.extend(self.width.to_be_bytes());
        out.extend(self.height.to_be_bytes());
        out.extend(self.format);
        out.extend(length.to_be_bytes());
        out.extend(&self.name);
    }
}

/// The response to the challenge of VNC Authentication (RFC 6143, section 7.2.2): DES with the
/// first eight bytes of the password as the key, in which the bits of each byte are reversed.
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

/// The handshake with a VNC server, as its client. [`VERSION`] is to be sent first, without
/// waiting: x11vnc pauses for 100 ms before it greets a client that is silent.
pub struct Connecting {
    password: Vec<u8>,
    stage: Greeted,
    held: Vec<u8>,
}

enum Greeted {
    No,
    Version,
    /// This many security types follow.
    Types(u8),
    Challenge,
    Result,
    /// It has refused; this many bytes say why.
    Reason(Option<u32>),
    Init(Option<u32>),
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connecting { .. }")
    }
}

impl Connecting {
    /// A handshake that proves itself with `password`, should the server ask.
    pub fn new(password: &[u8]) -> Self {
        Self { password: password.to_vec(), stage: Greeted::No, held: Vec::new() }
    }

    /// The next step, with bytes from the front of `input`. The place at the server is always
    /// asked for as a shared one: nobody puts out the other viewers.
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

/// Whether the greeting promises 3.8 or something later, which answers 3.8 with 3.8.
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

/// The handshake with a viewer, as its server. [`VERSION`] is to be sent first.
///
/// Security type None is all that is offered: the viewer has proven itself before it got here.
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
    /// The next step, with bytes from the front of `input`. It is done when the viewer waits for
    /// the [`ServerInit`]; whether it asked for a place of its own does not matter.
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
