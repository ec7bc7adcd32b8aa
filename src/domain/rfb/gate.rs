//! Decides which of a viewer's messages reach the VNC server.
//!
//! ```text
//!          set_role(Control): the announcement of its clipboard, if it was held back
//!        +--------------------------------------------------------------+
//!        |                                                              v
//!      Watch                                                         Control
//!        ^                                                              |
//!        +--------------------------------------------------------------+
//!          set_role(Watch): releases of the keys and buttons still down
//! ```
//!
//! # Invariants
//!
//! 1. In `Watch`, no key, pointer, clipboard or size message passes.
//! 2. The keys and buttons that this viewer has pressed at the server are in `keys` and
//!    `buttons`.
//! 3. A button that was pressed while watching has no effect until it is released.

use std::collections::VecDeque;

use super::Dialect;
use super::chords::{Chord, Key};
use super::message::{ClientMessage, pseudo_encoding};

/// The most keys that are tracked as down, more than a person can hold. Beyond it, the oldest key
/// is released.
const MOST_KEYS: usize = 32;
/// The flag of the action `caps`. Those of the other actions of the extended clipboard follow.
const CAPS: u32 = 1 << 24;
const REQUEST: u32 = 1 << 25;
const PEEK: u32 = 1 << 26;
const NOTIFY: u32 = 1 << 27;
const PROVIDE: u32 = 1 << 28;
/// The size of the flags and one size for each of 16 formats. A longer announcement is not kept.
const MOST_CAPS: usize = 64;

/// The bit of the right mouse button (RFC 6143, section 7.5.5).
pub const RIGHT_BUTTON: u16 = 0b100;

/// The role of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// See the display, and nothing else.
    #[default]
    Watch,
    /// Use the keyboard, the pointer and the clipboard.
    Control,
}

impl Role {
    /// Returns the name of the role in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Control => "control",
        }
    }
}

/// The directions and the size limit of the clipboard for a viewer in control. A watcher has no
/// clipboard.
///
/// The gate does not hold back a plain cut text from the VNC server, whose messages are not parsed.
/// The server is started so that it sends none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clipboard {
    /// True if the viewer's clipboard may enter the session.
    pub inward: bool,
    /// True if the session's clipboard may reach the viewer that asks for it (extended clipboard).
    pub outward: bool,
    /// The longest text in either direction, in bytes on the wire.
    pub most_bytes: u32,
}

impl Clipboard {
    /// The most bytes that any VNC server accepts: libvncserver's limit.
    pub const MOST_BYTES: u32 = 1 << 20;

    /// Returns the longest text, in bytes.
    pub fn longest(self) -> usize {
        usize::try_from(self.most_bytes).unwrap_or(usize::MAX)
    }
}

impl Default for Clipboard {
    /// Permits both directions, up to the largest size.
    fn default() -> Self {
        Self { inward: true, outward: true, most_bytes: Self::MOST_BYTES }
    }
}

/// The actions that are refused even to a viewer in control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The directions and the size limit of the clipboard.
    pub clipboard: Clipboard,
    /// Chords of which the server never receives the last key.
    pub refused_chords: Vec<Chord>,
    /// Mouse buttons that are never pressed; bit 0 is the left button.
    pub refused_buttons: u16,
    /// True if the viewer may change the size of the display.
    pub resize: bool,
}

impl Default for Policy {
    /// Permits both directions of the clipboard and keeps the display's size. Refuses the chords
    /// that reach beyond the pages, and the right button.
    fn default() -> Self {
        Self {
            clipboard: Clipboard::default(),
            refused_chords: Chord::refused_by_default(),
            refused_buttons: RIGHT_BUTTON,
            resize: false,
        }
    }
}

/// The reason why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The viewer may only watch.
    Watching,
    /// The policy refuses the clipboard in this direction.
    Clipboard,
    /// The clipboard's text exceeds the limit.
    TooLong,
    /// The key would complete a refused chord.
    Chord,
    /// The policy does not permit a change of the display's size.
    Resize,
    /// The key has no keysym, and the server reads nothing else.
    NoKeysym,
    /// No viewer may send this message: power control, or input of devices that the gate does not
    /// inspect.
    Never,
}

/// The verdict on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Forward the message unchanged.
    Pass,
    /// Drop the message, for this reason.
    Drop(Dropped),
    /// Forward these messages instead, in order.
    Replace(Vec<ClientMessage>),
}

/// Judges the messages of one viewer.
#[derive(Debug)]
pub struct Gate {
    role: Role,
    policy: Policy,
    dialect: Dialect,
    /// The keys that are down at the server, the oldest first.
    keys: VecDeque<Key>,
    buttons: u16,
    /// The buttons that are down at the viewer since before it had control.
    stale_buttons: u16,
    at: (u16, u16),
    /// The viewer's announcement of its clipboard, received while it watched.
    caps: Option<ClientMessage>,
}

impl Gate {
    /// Creates the gate of a viewer that watches until [`set_role`](Self::set_role).
    pub fn new(policy: Policy, dialect: Dialect) -> Self {
        Self {
            role: Role::Watch,
            policy,
            dialect,
            keys: VecDeque::new(),
            buttons: 0,
            stale_buttons: 0,
            at: (0, 0),
            caps: None,
        }
    }

    /// Returns the viewer's present role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Changes the role, and returns the messages that the server must be sent for it. A viewer
    /// that loses control leaves no key or button pressed.
    #[must_use]
    pub fn set_role(&mut self, role: Role) -> Vec<ClientMessage> {
        let before = std::mem::replace(&mut self.role, role);
        match (before, role) {
            (Role::Watch, Role::Control) => self.caps.take().into_iter().collect(),
            (Role::Control, Role::Watch) => self.release_all(),
            (Role::Watch, Role::Watch) | (Role::Control, Role::Control) => Vec::new(),
        }
    }

    fn release_all(&mut self) -> Vec<ClientMessage> {
        // The newest first, so that modifiers are released last.
        let mut releases: Vec<_> = self.keys.drain(..).rev().map(release).collect();
        if self.buttons != 0 {
            let (x, y) = self.at;
            self.stale_buttons |= self.buttons;
            self.buttons = 0;
            releases.push(ClientMessage::Pointer { buttons: 0, x, y, extended: false });
        }
        releases
    }

    /// Judges one message. The caller must pass messages in the order in which they arrived.
    pub fn judge(&mut self, message: &ClientMessage) -> Verdict {
        match message {
            ClientMessage::SetPixelFormat(_)
            | ClientMessage::UpdateRequest { .. }
            | ClientMessage::ContinuousUpdates { .. }
            | ClientMessage::Fence { .. } => Verdict::Pass,
            ClientMessage::SetEncodings(encodings) => self.encodings(encodings),
            ClientMessage::Key { down, keysym } => {
                self.key(*down, Key { keysym: *keysym, scancode: None }, message)
            }
            ClientMessage::QemuKey { down, keysym, keycode }
                if self.dialect.qemu_keys && Key::is_on_keyboard(*keycode) =>
            {
                self.key(*down, Key { keysym: *keysym, scancode: Some(*keycode) }, message)
            }
            ClientMessage::QemuKey { keysym: 0, .. } => Verdict::Drop(Dropped::NoKeysym),
            ClientMessage::QemuKey { down, keysym, .. } => {
                let plain = ClientMessage::Key { down: *down, keysym: *keysym };
                match self.key(*down, Key { keysym: *keysym, scancode: None }, &plain) {
                    Verdict::Pass => Verdict::Replace(vec![plain]),
                    other @ (Verdict::Drop(_) | Verdict::Replace(_)) => other,
                }
            }
            ClientMessage::Pointer { buttons, x, y, extended } => {
                self.pointer(*buttons, (*x, *y), *extended)
            }
            ClientMessage::CutText(_) => self.cut_text(self.policy.clipboard.inward),
            ClientMessage::LongCutText { .. } => Verdict::Drop(Dropped::TooLong),
            ClientMessage::ExtendedClipboard { flags, payload } => {
                self.extended_clipboard(*flags, payload, message)
            }
            ClientMessage::SetDesktopSize { .. } => match self.role {
                Role::Watch => Verdict::Drop(Dropped::Watching),
                Role::Control if self.policy.resize => Verdict::Pass,
                Role::Control => Verdict::Drop(Dropped::Resize),
            },
            ClientMessage::Xvp { .. } | ClientMessage::Gii { .. } => Verdict::Drop(Dropped::Never),
        }
    }

    /// Removes encodings that would make the server read pointer events differently from the
    /// parser.
    fn encodings(&self, encodings: &[i32]) -> Verdict {
        let hidden = pseudo_encoding::EXTENDED_MOUSE_BUTTONS;
        if self.dialect.extended_mouse_buttons || !encodings.contains(&hidden) {
            return Verdict::Pass;
        }
        let known = encodings.iter().copied().filter(|it| *it != hidden).collect();
        Verdict::Replace(vec![ClientMessage::SetEncodings(known)])
    }

    fn key(&mut self, down: bool, key: Key, message: &ClientMessage) -> Verdict {
        if self.role == Role::Watch {
            return Verdict::Drop(Dropped::Watching);
        }
        if !down {
            // Also for a key that is not known to be down: some viewers release `A` as `a`.
            self.keys.retain(|held| !held.same(key));
            return Verdict::Pass;
        }
        if self.keys.contains(&key) {
            return Verdict::Pass; // The key repeats.
        }
        // A key that produces another keysym than before replaces its earlier state.
        let others = self.keys.iter().copied().filter(|held| !held.same(key));
        let after = others.chain([key]);
        if self.policy.refused_chords.iter().any(|chord| chord.is_complete(after.clone())) {
            return Verdict::Drop(Dropped::Chord);
        }
        self.keys.retain(|held| !held.same(key));
        self.keys.push_back(key);
        if self.keys.len() <= MOST_KEYS {
            return Verdict::Pass;
        }
        let oldest = self.keys.pop_front().map(release);
        Verdict::Replace(oldest.into_iter().chain([message.clone()]).collect())
    }

    fn pointer(&mut self, buttons: u16, at: (u16, u16), extended: bool) -> Verdict {
        if self.role == Role::Watch {
            self.stale_buttons = buttons;
            return Verdict::Drop(Dropped::Watching);
        }
        self.stale_buttons &= buttons;
        let allowed = buttons & !self.stale_buttons & !self.policy.refused_buttons;
        (self.buttons, self.at) = (allowed, at);
        if allowed == buttons {
            return Verdict::Pass;
        }
        let (x, y) = at;
        Verdict::Replace(vec![ClientMessage::Pointer { buttons: allowed, x, y, extended }])
    }

    fn cut_text(&self, allowed: bool) -> Verdict {
        match self.role {
            Role::Watch => Verdict::Drop(Dropped::Watching),
            Role::Control if allowed => Verdict::Pass,
            Role::Control => Verdict::Drop(Dropped::Clipboard),
        }
    }

    fn extended_clipboard(
        &mut self,
        flags: u32,
        payload: &[u8],
        message: &ClientMessage,
    ) -> Verdict {
        let Clipboard { inward, outward, .. } = self.policy.clipboard;
        let caps = flags & CAPS != 0;
        if caps && self.role == Role::Watch && payload.len() <= MOST_CAPS {
            // A viewer announces this once, at the beginning. The announcement is sent to the
            // server with the first control; otherwise the clipboard would not work.
            self.caps = Some(message.clone());
        }
        let gives = flags & (NOTIFY | PROVIDE) != 0;
        let asks = flags & (REQUEST | PEEK) != 0;
        self.cut_text(if caps {
            inward || outward
        } else {
            (!gives || inward) && (!asks || outward)
        })
    }
}

fn release(key: Key) -> ClientMessage {
    let Key { keysym, scancode } = key;
    match scancode {
        Some(keycode) => ClientMessage::QemuKey { down: false, keysym, keycode },
        None => ClientMessage::Key { down: false, keysym },
    }
}
