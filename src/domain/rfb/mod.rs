//! RFB, the protocol of VNC (RFC 6143 and the community's extensions), as far as a bridge needs it.
//!
//! ```text
//!  viewer bytes --> Viewing --> Parser --> Gate --> encode --> VNC server
//!                  (handshake)                                    |
//!  viewer bytes <----------- unparsed, after the handshake <-- Connecting
//! ```
//!
//! Everything a viewer sends is parsed and written anew: the VNC server never receives a byte that
//! is not part of a message that the [`Gate`] has judged. What the server sends is not parsed
//! after its handshake; it can only show, not do.
//!
//! # Invariants
//!
//! 1. The same bytes give the same messages, however they are cut.
//! 2. The memory held for a viewer is bounded by the largest message that is accepted, whatever
//!    lengths it announces.
//! 3. The parser and the VNC server agree on where each message ends. Where the length of a message
//!    rests on what the server supports, [`Dialect`] says so, and the pseudo-encoding that
//!    would change it is taken out of what the viewer announces.
//!
//! Pure and synchronous: bytes come in, messages and bytes go out.

mod chords;
mod gate;
mod handshake;
pub mod keysym;
mod message;
mod parser;
#[cfg(test)]
mod tests;

pub use chords::{Chord, Key, Modifier, NoChord};
pub use gate::{Clipboard, Dropped, Gate, Policy, RIGHT_BUTTON, Role, Verdict};
pub use handshake::{
    Connecting, HandshakeError, ServerInit, Step, VERSION, Viewing, vnc_authentication,
};
pub use message::{Area, ClientMessage, pseudo_encoding};
pub use parser::{ParseError, Parser};

/// What a VNC server understands beyond RFC 6143, as far as it changes what a viewer may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialect {
    /// Whether it reads a seventh byte in pointer events once a viewer has announced
    /// [`EXTENDED_MOUSE_BUTTONS`](pseudo_encoding::EXTENDED_MOUSE_BUTTONS). If not, the
    /// announcement is not passed on, and pointer events have six bytes.
    pub extended_mouse_buttons: bool,
    /// Whether it reads QEMU's extended key events. If not, they reach it as plain key events.
    pub qemu_keys: bool,
}

impl Dialect {
    /// What x11vnc understands.
    pub const X11VNC: Self = Self { extended_mouse_buttons: false, qemu_keys: false };
    /// What TigerVNC's servers understand.
    pub const TIGERVNC: Self = Self { extended_mouse_buttons: true, qemu_keys: true };
}

/// Moves bytes from the front of `input` to `held` until there are `wanted`; says whether there are.
fn fill(held: &mut Vec<u8>, input: &mut &[u8], wanted: usize) -> bool {
    let missing = wanted.saturating_sub(held.len());
    let (taken, rest) = input.split_at(missing.min(input.len()));
    held.extend_from_slice(taken);
    *input = rest;
    held.len() >= wanted
}
