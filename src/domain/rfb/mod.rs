//! RFB, the protocol of VNC (RFC 6143 and the community's extensions), as far as a bridge needs it.
//!
//! ```text
//!  viewer bytes --> Viewing --> Parser --> Gate --> encode --> VNC server
//!                  (handshake)                                    |
//!  viewer bytes <----------- unparsed, after the handshake <-- Connecting
//! ```
//!
//! Everything that a viewer sends is parsed and encoded anew. The VNC server never receives a byte
//! outside a message judged by the [`Gate`]. The server's messages are not parsed after its
//! handshake, because they can only display, not act.
//!
//! # Invariants
//!
//! 1. The same bytes yield the same messages, in pieces of any length.
//! 2. The memory held for a viewer is bounded by the largest accepted message, whatever lengths
//!    the viewer announces.
//! 3. The parser and the VNC server agree on the end of each message. If the length of a message
//!    depends on the server's features, [`Dialect`] declares them, and the pseudo-encoding that
//!    would change the length is removed from the viewer's announcement.
//!
//! Pure and synchronous: the input is bytes, the output is messages and bytes.

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

/// The extensions of RFC 6143 that a VNC server reads, as far as they change what a viewer may
/// send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialect {
    /// True if the server reads a seventh byte in pointer events once a viewer has announced
    /// [`EXTENDED_MOUSE_BUTTONS`](pseudo_encoding::EXTENDED_MOUSE_BUTTONS). If not, the
    /// announcement is not forwarded, and pointer events have six bytes.
    pub extended_mouse_buttons: bool,
    /// True if the server reads QEMU's extended key events. If not, they are sent as plain key
    /// events.
    pub qemu_keys: bool,
}

impl Dialect {
    /// The extensions that x11vnc reads.
    pub const X11VNC: Self = Self { extended_mouse_buttons: false, qemu_keys: false };
    /// The extensions that TigerVNC's servers read.
    pub const TIGERVNC: Self = Self { extended_mouse_buttons: true, qemu_keys: true };
}

/// Moves bytes from the front of `input` to `held` until there are `wanted`; returns true if there
/// are.
fn fill(held: &mut Vec<u8>, input: &mut &[u8], wanted: usize) -> bool {
    let missing = wanted.saturating_sub(held.len());
    let (taken, rest) = input.split_at(missing.min(input.len()));
    held.extend_from_slice(taken);
    *input = rest;
    held.len() >= wanted
}
