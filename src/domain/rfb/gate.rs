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
//! 1. In `Watch` no key, pointer, clipboard or size message passes.
//! 2. What this viewer has pressed at the server is among `keys` and `buttons`.
//! 3. A button that went down while watching does nothing until it has been let go.

use std::collections::VecDeque;

use super::Dialect;
use super::chords::{Chord, Key};
use super::message::{ClientMessage, pseudo_encoding};

/// More keys than hands can hold. Of more, the oldest is let go.
const MOST_KEYS: usize = 32;
/// The flags of the extended clipboard's actions.
const CAPS: u32 = 1 << 24;
const REQUEST: u32 = 1 << 25;
const PEEK: u32 = 1 << 26;
const NOTIFY: u32 = 1 << 27;
const PROVIDE: u32 = 1 << 28;
/// Flags and one size for each of 16 formats; more is not kept.
const MOST_CAPS: usize = 64;

/// The bit of the right mouse button (RFC 6143, section 7.5.5).
pub const RIGHT_BUTTON: u16 = 0b100;

/// What a viewer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// See, and nothing else.
    #[default]
    Watch,
    /// Use the keyboard, the pointer and the clipboard.
    Control,
}

/// Which way the clipboard goes for a viewer in control, and how much of it. A watcher has none.
///
/// What a VNC server sends as a plain cut text is not held back here, as what it sends is not parsed:
/// it is started so that it sends none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clipboard {
    /// The viewer's into the session.
    pub inward: bool,
    /// The session's to the viewer, where the viewer asks for it (extended clipboard).
    pub outward: bool,
    /// The longest text in either direction, in bytes on the wire.
    pub most_bytes: u32,
}

impl Clipboard {
    /// The most that any VNC server takes: libvncserver's limit.
    pub const MOST_BYTES: u32 = 1 << 20;

    /// The longest text, in bytes.
    pub fn longest(self) -> usize {
        usize::try_from(self.most_bytes).unwrap_or(usize::MAX)
    }
}

impl Default for Clipboard {
    /// Both ways, as long as may be.
    fn default() -> Self {
        Self { inward: true, outward: true, most_bytes: Self::MOST_BYTES }
    }
}

/// What is refused even to a viewer in control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which way the clipboard goes.
    pub clipboard: Clipboard,
    /// Chords that the server never sees completed.
    pub refused_chords: Vec<Chord>,
    /// Mouse buttons that are never pressed; bit 0 is the left one.
    pub refused_buttons: u16,
    /// Whether the viewer may change the size of the display.
    pub resize: bool,
}

impl Default for Policy {
    /// Both clipboards, a display of fixed size, and refused are the chords that reach beyond the pages
    /// and the right button.
    fn default() -> Self {
        Self {
            clipboard: Clipboard::default(),
            refused_chords: Chord::refused_by_default(),
            refused_buttons: RIGHT_BUTTON,
            resize: false,
        }
    }
}

/// Why a message went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The viewer only watches.
    Watching,
    /// The policy refuses the clipboard in this direction.
    Clipboard,
    /// A clipboard over the limit.
    TooLong,
    /// It would complete a refused chord.
    Chord,
    /// The policy keeps the size of the display.
    Resize,
    /// It has no keysym, and the server reads nothing else.
    NoKeysym,
    /// No viewer may send it: the power switch, and input of devices that are not judged.
    Never,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Pass,
    /// It goes no further.
    Drop(Dropped),
    /// These go on in its place, in order.
    Replace(Vec<ClientMessage>),
}

/// Judges the messages of one viewer.
#[derive(Debug)]
pub struct Gate {
    role: Role,
    policy: Policy,
    dialect: Dialect,
    /// Down at the server, the oldest first.
    keys: VecDeque<Key>,
    buttons: u16,
    /// Down at the viewer since before it had control.
    stale_buttons: u16,
    at: (u16, u16),
    /// What the viewer said of its clipboard while it watched.
    caps: Option<ClientMessage>,
}

impl Gate {
    /// A gate for a viewer that watches, until [`set_role`](Self::set_role).
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

    /// What the viewer may do now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Changes the role, and says what the server must be sent for it: whoever loses control
    /// leaves nothing pressed.
    #[must_use]
    pub fn set_role(&mut self, role: Role) -> Vec<ClientMessage> {
        let before = std::mem::replace(&mut self.role, role);
        match (before, role) {
            (Role::Watch, Role::Control) => self.caps.take().into_iter().collect(),
            (Role::Control, Role::Watch) => self.let_go(),
            (Role::Watch, Role::Watch) | (Role::Control, Role::Control) => Vec::new(),
        }
    }

    fn let_go(&mut self) -> Vec<ClientMessage> {
        // The newest first, so that modifiers are let go last.
        let mut releases: Vec<_> = self.keys.drain(..).rev().map(release).collect();
        if self.buttons != 0 {
            let (x, y) = self.at;
            self.stale_buttons |= self.buttons;
            self.buttons = 0;
            releases.push(ClientMessage::Pointer { buttons: 0, x, y, extended: false });
        }
        releases
    }

    /// Judges one message. Messages are to be judged in the order in which they came.
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

    /// Takes out what would make the server read pointer events otherwise than the parser does.
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
            // Also of one that is not known to be down: some viewers let `A` go as `a`.
            self.keys.retain(|held| !held.same(key));
            return Verdict::Pass;
        }
        if self.keys.contains(&key) {
            return Verdict::Pass; // It repeats.
        }
        // One that gives another sign than before is another one, in its place.
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
            // A viewer says this once, at the beginning; it is told to the server with the first
            // control, or the clipboard would stay dead.
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
