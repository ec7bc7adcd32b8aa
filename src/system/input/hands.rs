//! The keys and buttons that viewers hold, and the steps that their actions require.

use super::action::Action;
use super::keymap::{Keymap, Stroke, With, keycode_of};
use crate::domain::rfb::Key;
use crate::domain::rfb::keysym::{canonical, character, place};

const SHIFT_LEFT: u8 = 50;
const SHIFTS: [u8; 2] = [SHIFT_LEFT, 62];
/// The keycodes of Control, Alt and Super, with which a key is a command.
const COMMANDS: [u8; 6] = [37, 105, 64, 108, 133, 134];
/// The keycodes of Caps Lock and Num Lock.
const LOCKS: [u8; 2] = [66, 77];
/// The buttons of RFB; bit 0 is the left one.
const BUTTONS: std::ops::Range<u8> = 0..9;

/// A single change of the display's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputStep {
    /// Presses or releases a key.
    Key(u8, bool),
    /// Presses or releases a button.
    Button(u8, bool),
    /// Moves the pointer to a position.
    Move(u16, u16),
    /// Switches NumLock on or off.
    NumLock(bool),
}

/// A key that a viewer holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    viewer: u64,
    key: Key,
    keycode: u8,
}

/// The held keys and buttons, by viewer.
#[derive(Debug)]
pub(super) struct Hands {
    keymap: Keymap,
    held: Vec<Held>,
    buttons: Vec<(u64, u16)>,
    num_lock: Option<bool>,
}

/// A prefix of actions that can be done with one assignment of the spare keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The number of actions in the prefix.
    pub count: usize,
    /// The spare keys that must be assigned signs first.
    pub assigned: Vec<(u8, u32)>,
}

impl Hands {
    pub fn new(keymap: Keymap) -> Self {
        Self { keymap, held: Vec::new(), buttons: Vec::new(), num_lock: None }
    }

    /// Forgets the state of NumLock, because other clients may have changed it.
    pub fn forget_locks(&mut self) {
        self.num_lock = None;
    }

    /// Assigns spare keys to the signs of as many of `actions` as possible, but at least one.
    pub fn plan(&mut self, actions: &[(u64, Action)]) -> Plan {
        let is_command = COMMANDS.iter().any(|it| self.is_down(*it));
        let mut kept: Vec<u8> = self.held.iter().map(|held| held.keycode).collect();
        let mut assigned = Vec::new();
        for (at, (_, action)) in actions.iter().enumerate() {
            let Action::Key { down, key } = action else { continue };
            if self.is_command_key(*key) {
                // From here on, letters may be commands.
                return Plan { count: at.max(1), assigned };
            }
            let keysym = canonical(key.keysym);
            if !*down || !is_sign(keysym) || self.keymap.is_standard(keysym) {
                continue;
            }
            if is_command && by_place(*key).is_some() {
                continue;
            }
            if let Some(stroke) = self.keymap.find(keysym) {
                kept.push(stroke.keycode);
                continue;
            }
            match self.keymap.assign(keysym, &kept) {
                Some(keycode) => {
                    kept.push(keycode);
                    assigned.push((keycode, keysym));
                }
                // Every spare key is held, or needed for an earlier action.
                None => return Plan { count: at.max(1), assigned },
            }
        }
        Plan { count: actions.len(), assigned }
    }

    /// Returns the steps that an action requires.
    pub fn act(&mut self, viewer: u64, action: Action) -> Vec<InputStep> {
        match action {
            Action::Key { down: true, key } => self.press(viewer, key),
            Action::Key { down: false, key } => self.release(viewer, key),
            Action::Pointer { buttons, x, y } => self.point(viewer, buttons, (x, y)),
            Action::Leave => self.leave(viewer),
            Action::Clipboard => Vec::new(),
        }
    }

    fn is_down(&self, keycode: u8) -> bool {
        self.held.iter().any(|held| held.keycode == keycode)
    }

    fn is_command_key(&mut self, key: Key) -> bool {
        self.stroke(key).is_some_and(|stroke| COMMANDS.contains(&stroke.keycode))
    }

    /// Returns the stroke that produces a key; none if no key does.
    fn stroke(&mut self, key: Key) -> Option<Stroke> {
        let keysym = canonical(key.keysym);
        if is_lock(keysym) {
            return None;
        }
        let is_command = COMMANDS.iter().any(|it| self.is_down(*it));
        if is_command && !self.keymap.is_standard(keysym)
            // A letter of another script triggers the command of the physical key that it is on.
            && let Some(keycode) = by_place(key)
        {
            return Some(Stroke::any(keycode));
        }
        let found = if is_sign(keysym) { self.keymap.find(keysym) } else { None };
        let by_scancode = || {
            let keycode = key.scancode.and_then(keycode_of)?;
            (!LOCKS.contains(&keycode)).then(|| Stroke::any(keycode))
        };
        let mut stroke = found.or_else(by_scancode)?;
        let is_letter = character(keysym).is_some_and(|char| char.is_ascii_alphabetic());
        if is_command && (is_letter || stroke.with == With::Shift(false)) {
            stroke.with = With::Any;
        }
        Some(stroke)
    }

    fn press(&mut self, viewer: u64, key: Key) -> Vec<InputStep> {
        let Some(Stroke { keycode, with }) = self.stroke(key) else { return Vec::new() };
        let mut steps = Vec::new();
        // A held key that now gives another sign is released and replaced.
        let is_other =
            |held: &Held| held.viewer == viewer && held.key.same(key) && held.keycode != keycode;
        if let Some(at) = self.held.iter().position(is_other) {
            let Held { keycode, .. } = self.held.remove(at);
            steps.extend(self.up(keycode));
        }
        let shifts: Vec<u8> = SHIFTS.into_iter().filter(|it| self.is_down(*it)).collect();
        let was_down = self.is_down(keycode);
        let is_held = |held: &Held| held.viewer == viewer && held.key.same(key);
        if !self.held.iter().any(is_held) {
            self.held.push(Held { viewer, key, keycode });
        }
        if was_down {
            if SHIFTS.contains(&keycode) || COMMANDS.contains(&keycode) {
                return steps;
            }
            // The key repeats. An X server ignores a press of a key that is down.
            steps.push(InputStep::Key(keycode, false));
        }
        let down = InputStep::Key(keycode, true);
        match with {
            With::Shift(true) if shifts.is_empty() => {
                steps.extend([
                    InputStep::Key(SHIFT_LEFT, true),
                    down,
                    InputStep::Key(SHIFT_LEFT, false),
                ]);
            }
            With::Shift(false) if !shifts.is_empty() => {
                steps.extend(shifts.iter().map(|it| InputStep::Key(*it, false)));
                steps.push(down);
                steps.extend(shifts.iter().map(|it| InputStep::Key(*it, true)));
            }
            With::Digits(digits) => {
                // Shift inverts NumLock.
                let num_lock = digits == shifts.is_empty();
                if self.num_lock.replace(num_lock) != Some(num_lock) {
                    steps.push(InputStep::NumLock(num_lock));
                }
                steps.push(down);
            }
            With::Shift(_) | With::Any => steps.push(down),
        }
        steps
    }

    fn release(&mut self, viewer: u64, key: Key) -> Vec<InputStep> {
        let is_of = |held: &Held| held.viewer == viewer;
        let is_same = |held: &Held| is_of(held) && held.key.same(key);
        // Some viewers press `A` and release `a`.
        let lower = |key: Key| character(key.keysym).map(|char| char.to_lowercase().to_string());
        let is_other_case = |held: &Held| {
            is_of(held) && lower(key).is_some_and(|char| lower(held.key) == Some(char))
        };
        let at = self.held.iter().position(is_same);
        let Some(at) = at.or_else(|| self.held.iter().position(is_other_case)) else {
            return Vec::new();
        };
        let Held { keycode, .. } = self.held.remove(at);
        self.up(keycode).into_iter().collect()
    }

    /// Releases a key if no viewer holds it any more.
    fn up(&self, keycode: u8) -> Option<InputStep> {
        (!self.is_down(keycode)).then_some(InputStep::Key(keycode, false))
    }

    fn point(&mut self, viewer: u64, buttons: u16, (x, y): (u16, u16)) -> Vec<InputStep> {
        let mut steps = vec![InputStep::Move(x, y)];
        steps.extend(self.click(viewer, buttons));
        steps
    }

    fn click(&mut self, viewer: u64, buttons: u16) -> Vec<InputStep> {
        let all = |all: &[(u64, u16)]| all.iter().fold(0, |sum, (_, buttons)| sum | buttons);
        let before = all(&self.buttons);
        self.buttons.retain(|(it, _)| *it != viewer);
        if buttons != 0 {
            self.buttons.push((viewer, buttons));
        }
        let after = all(&self.buttons);
        let changed = BUTTONS.filter(|bit| (before ^ after) & (1 << bit) != 0);
        changed.map(|bit| InputStep::Button(bit + 1, after & (1 << bit) != 0)).collect()
    }

    /// Releases everything that a viewer holds, the newest first, so that modifiers are released last.
    fn leave(&mut self, viewer: u64) -> Vec<InputStep> {
        let mut steps = Vec::new();
        while let Some(at) = self.held.iter().rposition(|held| held.viewer == viewer) {
            let Held { keycode, .. } = self.held.remove(at);
            steps.extend(self.up(keycode));
        }
        steps.extend(self.click(viewer, 0));
        steps
    }
}

/// Returns the keycode of the key for a letter of another script: the key that the viewer reports,
/// or the key that keyboards of its language have.
fn by_place(key: Key) -> Option<u8> {
    character(key.keysym)?;
    key.scancode.or_else(|| place(key.keysym)).and_then(keycode_of)
}

/// True for keysyms that may be assigned to a key: characters, dead keys, named keys and those of
/// multimedia keyboards. Others trigger actions of the X server, such as its termination.
fn is_sign(keysym: u32) -> bool {
    character(keysym).is_some()
        || matches!(
            keysym,
            0xfe20 | 0xfe50..=0xfe6f | 0xff00..=0xffff | 0x1008_ff00..=0x1008_ffff
        )
}

/// True for keys that only change what other keys produce: Caps Lock, Num Lock and AltGr. They are
/// ignored, because a viewer sends the resulting signs.
fn is_lock(keysym: u32) -> bool {
    matches!(keysym, 0xffe5 | 0xffe6 | 0xff7e | 0xff7f | 0xfe01..=0xfe13)
}
