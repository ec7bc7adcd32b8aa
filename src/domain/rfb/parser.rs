//! The parser for the messages of a viewer after its handshake.

use super::message::{Area, ClientMessage, pseudo_encoding};
use super::{Dialect, fill};

/// The most encodings in one message: noVNC announces about 30.
const MOST_ENCODINGS: u16 = 1024;
/// The longest payload of a fence, from the specification.
const MOST_FENCE_BYTES: u8 = 64;

/// The reason why a viewer's bytes are not valid RFB. Nothing after them can be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The message has an unknown type, and therefore an unknown length.
    #[error("unknown message type {0}")]
    UnknownType(u8),
    /// A message of QEMU's other than the extended key event.
    #[error("unknown QEMU message subtype {0}")]
    UnknownQemuType(u8),
    /// The negative length leaves no room for the flags at the start of an action.
    #[error("an extended clipboard message of {0} bytes is too short")]
    ShortClipboard(u32),
    /// The viewer announces more encodings than the parser accepts.
    #[error("{0} encodings are too many")]
    TooManyEncodings(u16),
    /// The fence exceeds the 64 bytes that it may have.
    #[error("a fence with {0} bytes is too long")]
    LongFence(u8),
}

/// Reads the messages of one viewer.
#[derive(Debug)]
pub struct Parser {
    dialect: Dialect,
    most_cut_text: u32,
    /// True if the viewer's latest announcement of encodings included nine mouse buttons.
    nine_buttons: bool,
    held: Vec<u8>,
    /// The number of bytes still to be skipped of a message whose content is not needed.
    skipping: u32,
    broken: Option<ParseError>,
}

/// The length of a message, as far as its first bytes determine it.
enum Shape {
    /// The length is not known before this many bytes have arrived.
    Unclear(usize),
    Whole(usize),
    /// The header is sufficient; the body of this many bytes is skipped.
    Skip {
        message: ClientMessage,
        body: u32,
    },
}

impl Parser {
    /// Creates the parser for a viewer of a server that supports `dialect`. A clipboard message of
    /// up to `most_cut_text` bytes is read; a longer one is skipped without being held.
    pub fn new(dialect: Dialect, most_cut_text: u32) -> Self {
        Self {
            dialect,
            most_cut_text,
            nine_buttons: false,
            held: Vec::new(),
            skipping: 0,
            broken: None,
        }
    }

    /// Returns the next message, taken from the front of `input`; `None` when `input` is used up.
    /// After an error, every call returns the same error.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<ClientMessage>, ParseError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let next = self.read(input);
        self.broken = next.as_ref().err().copied();
        next
    }

    /// Returns the memory held for incomplete messages, in bytes.
    pub fn held(&self) -> usize {
        self.held.capacity()
    }

    fn read(&mut self, input: &mut &[u8]) -> Result<Option<ClientMessage>, ParseError> {
        self.skip(input);
        let mut wanted = 1;
        loop {
            if !fill(&mut self.held, input, wanted) {
                return Ok(None);
            }
            match self.shape()? {
                Shape::Unclear(length) => wanted = length,
                Shape::Skip { message, body } => {
                    self.held.clear();
                    self.skipping = body;
                    self.skip(input);
                    return Ok(Some(message));
                }
                Shape::Whole(length) if self.held.len() < length => wanted = length,
                Shape::Whole(_) => {
                    let message = decode(&self.held);
                    self.held.clear();
                    // The memory of a large clipboard is not retained for key events.
                    self.held.shrink_to(4096);
                    if let Some(ClientMessage::SetEncodings(encodings)) = &message {
                        self.nine_buttons = self.dialect.extended_mouse_buttons
                            && encodings.contains(&pseudo_encoding::EXTENDED_MOUSE_BUTTONS);
                    }
                    return Ok(message);
                }
            }
        }
    }

    fn skip(&mut self, input: &mut &[u8]) {
        let there = u32::try_from(input.len()).unwrap_or(u32::MAX).min(self.skipping);
        let (_, rest) = input.split_at(usize::try_from(there).unwrap_or(input.len()));
        self.skipping -= there;
        *input = rest;
    }

    fn shape(&self) -> Result<Shape, ParseError> {
        use Shape::{Skip, Unclear, Whole};
        Ok(match *self.held.as_slice() {
            [] => Unclear(1),
            [0, ..] => Whole(20),
            [2, _, high, low, ..] => {
                let count = u16::from_be_bytes([high, low]);
                if count > MOST_ENCODINGS {
                    return Err(ParseError::TooManyEncodings(count));
                }
                Whole(4 + 4 * usize::from(count))
            }
            [2, ..] => Unclear(4),
            [3 | 150, ..] => Whole(10),
            [4, ..] => Whole(8),
            [5, buttons, ..] => Whole(if self.nine_buttons && buttons & 0x80 != 0 { 7 } else { 6 }),
            [5] => Unclear(2),
            [6, _, _, _, a, b, c, d, ..] => self.cut_text(i32::from_be_bytes([a, b, c, d]))?,
            [6, ..] => Unclear(8),
            [248, _, _, _, _, _, _, _, length, ..] => {
                if length > MOST_FENCE_BYTES {
                    return Err(ParseError::LongFence(length));
                }
                Whole(9 + usize::from(length))
            }
            [248, ..] => Unclear(9),
            [250, ..] => Whole(4),
            [251, _, _, _, _, _, screens, ..] => Whole(8 + 16 * usize::from(screens)),
            [251, ..] => Unclear(7),
            [253, subtype, a, b, ..] => {
                // The viewer chooses the byte order, and states it in the subtype.
                let big_endian = subtype & 0x80 != 0;
                let length = if big_endian {
                    u16::from_be_bytes([a, b])
                } else {
                    u16::from_le_bytes([a, b])
                };
                Skip { message: ClientMessage::Gii { length }, body: length.into() }
            }
            [253, ..] => Unclear(4),
            [255, 0, ..] => Whole(12),
            [255, subtype, ..] => return Err(ParseError::UnknownQemuType(subtype)),
            [255] => Unclear(2),
            [other, ..] => return Err(ParseError::UnknownType(other)),
        })
    }

    fn cut_text(&self, length: i32) -> Result<Shape, ParseError> {
        let extended = length < 0;
        let length = length.unsigned_abs();
        if extended && length < 4 {
            return Err(ParseError::ShortClipboard(length));
        }
        if length > self.most_cut_text {
            let message = ClientMessage::LongCutText { length };
            return Ok(Shape::Skip { message, body: length });
        }
        Ok(Shape::Whole(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8)))
    }
}

/// Decodes the message in `held`, whose length has been checked.
fn decode(held: &[u8]) -> Option<ClientMessage> {
    let (&kind, rest) = held.split_first()?;
    let mut fields = Fields(rest);
    Some(match kind {
        0 => {
            fields.skip(3)?;
            ClientMessage::SetPixelFormat(fields.array()?)
        }
        2 => {
            fields.skip(3)?;
            let (encodings, _) = fields.0.as_chunks::<4>();
            ClientMessage::SetEncodings(
                encodings.iter().map(|it| i32::from_be_bytes(*it)).collect(),
            )
        }
        3 => ClientMessage::UpdateRequest { incremental: fields.u8()? != 0, area: fields.area()? },
        4 => {
            let down = fields.u8()? != 0;
            fields.skip(2)?;
            ClientMessage::Key { down, keysym: fields.u32()? }
        }
        5 => {
            let low = u16::from(fields.u8()?);
            let (x, y) = (fields.u16()?, fields.u16()?);
            match fields.u8() {
                Some(high) => {
                    let buttons = (low & 0x7f) | (u16::from(high) << 7);
                    ClientMessage::Pointer { buttons, x, y, extended: true }
                }
                None => ClientMessage::Pointer { buttons: low, x, y, extended: false },
            }
        }
        6 => {
            fields.skip(3)?;
            let extended = i32::from_be_bytes(fields.array()?) < 0;
            if extended {
                let flags = fields.u32()?;
                ClientMessage::ExtendedClipboard { flags, payload: fields.0.to_vec() }
            } else {
                ClientMessage::CutText(fields.0.to_vec())
            }
        }
        150 => ClientMessage::ContinuousUpdates { enable: fields.u8()? != 0, area: fields.area()? },
        248 => {
            fields.skip(3)?;
            let flags = fields.u32()?;
            fields.skip(1)?;
            ClientMessage::Fence { flags, payload: fields.0.to_vec() }
        }
        250 => {
            fields.skip(1)?;
            ClientMessage::Xvp { version: fields.u8()?, code: fields.u8()? }
        }
        251 => {
            fields.skip(1)?;
            let (width, height) = (fields.u16()?, fields.u16()?);
            fields.skip(2)?;
            let (screens, _) = fields.0.as_chunks::<16>();
            ClientMessage::SetDesktopSize { width, height, screens: screens.to_vec() }
        }
        255 => {
            fields.skip(1)?;
            ClientMessage::QemuKey {
                down: fields.u16()? != 0,
                keysym: fields.u32()?,
                keycode: fields.u32()?,
            }
        }
        _ => return None,
    })
}

/// Reads numbers from the front of a message.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn area(&mut self) -> Option<Area> {
        Some(Area { x: self.u16()?, y: self.u16()?, width: self.u16()?, height: self.u16()? })
    }
}
