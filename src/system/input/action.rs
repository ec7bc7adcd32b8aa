//! The input actions of viewers.

use crate::domain::rfb::Key;

/// An input action of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A key goes down or up. A repeated down is a key repeat.
    Key { down: bool, key: Key },
    /// The pointer moves to a position, with these buttons down; bit 0 is the left one.
    Pointer { buttons: u16, x: u16, y: u16 },
    /// A VNC server is receiving a clipboard: the next key waits until the clipboard is on the
    /// display. Otherwise a paste would insert the previous one.
    Clipboard,
    /// The viewer has left or lost control: everything it holds is released.
    Leave,
}
