//! The keyboard of a display: the sign of each key, and spare keys whose signs are assigned on demand.
//!
//! An X keyboard has at most 248 keys. The keys of a PC have fixed signs (`standard`). Keys that
//! only multimedia keyboards have (`SPARE_KEYCODES`) are assigned typed signs that no other key has. The
//! least recently used one is reassigned next. Keys without a sign in the X server's own map are
//! reserved for VNC servers, which assign them for viewers that connect to them directly.

use std::collections::HashMap;

use crate::domain::rfb::keysym::{canonical, character};

/// X keycodes of keys that have no `KeyboardEvent.code` and are not modifiers. Pages and the
/// browser react to nothing but their sign.
const SPARE_KEYCODES: [u8; 48] = [
    138, 147, 153, 155, 156, 157, 158, 159, 160, 161, 162, 165, 170, 177, 182, 185, 186, 189, 190,
    208, 210, 211, 213, 214, 218, 220, 221, 223, 224, 226, 227, 228, 229, 231, 234, 236, 237, 238,
    242, 243, 244, 245, 246, 247, 251, 252, 253, 254,
];

/// True for X keycodes of a PC keyboard with the American layout, except the key beside the left
/// Shift, whose signs other keys have too.
fn is_standard(keycode: u8) -> bool {
    matches!(keycode, 9..=91 | 95 | 96 | 104..=119 | 121..=123 | 125 | 127 | 133..=135)
}

/// A key, and the modifiers with which it produces a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stroke {
    pub keycode: u8,
    pub with: With,
}

/// The modifiers that select one of a key's signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    /// None: the key has one sign only.
    Any,
    /// Shift must be down if true, and up if false.
    Shift(bool),
    /// The keypad's second signs, digits, are wanted if true: NumLock and Shift select them.
    Digits(bool),
}

impl Stroke {
    /// Presses the key without a required modifier.
    pub fn any(keycode: u8) -> Self {
        Self { keycode, with: With::Any }
    }
}

#[derive(Debug)]
struct Spare {
    keycode: u8,
    keysym: u32,
    /// The time of its last use, as a count of uses.
    used: u64,
}

/// The sign of each key.
#[derive(Debug)]
pub(super) struct Keymap {
    standard: HashMap<u32, Stroke>,
    spare: Vec<Spare>,
    uses: u64,
}

impl Keymap {
    /// Parses the answer of `GetKeyboardMapping`: `per_key` keysyms for each key from keycode `first` on.
    pub fn read(first: u8, per_key: u8, keysyms: &[u32]) -> Self {
        let mut standard = HashMap::new();
        let mut spare = Vec::new();
        let keys = keysyms.chunks(usize::from(per_key).max(1));
        for (keycode, keysyms) in (first..=u8::MAX).zip(keys) {
            let levels = keysyms.iter().copied().take(2).map(canonical);
            if SPARE_KEYCODES.contains(&keycode) {
                let keysym = keysyms.first().copied().map_or(0, canonical);
                spare.push(Spare { keycode, keysym, used: 0 });
            } else if is_standard(keycode) {
                let levels: Vec<u32> = levels.collect();
                let has_two = matches!(*levels, [one, two] if two != 0 && one != two);
                for (keysym, second) in levels.into_iter().zip([false, true]) {
                    if keysym == 0 || (second && !has_two) {
                        continue;
                    }
                    let is_keypad = (0xff80..=0xffbd).contains(&keysym);
                    let is_printed = character(keysym).is_some() || keysym == LEFT_TAB;
                    let with = match (is_keypad, has_two && is_printed) {
                        (true, _) if has_two => With::Digits(second),
                        (false, true) => With::Shift(second),
                        (true | false, _) => With::Any,
                    };
                    standard.entry(keysym).or_insert(Stroke { keycode, with });
                }
            }
        }
        Self { standard, spare, uses: 0 }
    }

    /// True if a key of a PC has the sign.
    pub fn is_standard(&self, keysym: u32) -> bool {
        self.standard.contains_key(&keysym)
    }

    /// Returns the stroke that produces a sign, if a key has it.
    pub fn find(&mut self, keysym: u32) -> Option<Stroke> {
        if let Some(stroke) = self.standard.get(&keysym) {
            return Some(*stroke);
        }
        let spare = self.spare.iter_mut().find(|spare| spare.keysym == keysym)?;
        self.uses += 1;
        spare.used = self.uses;
        Some(Stroke::any(spare.keycode))
    }

    /// Assigns a sign to a spare key outside of `kept` and returns its keycode; none if all are kept.
    pub fn assign(&mut self, keysym: u32, kept: &[u8]) -> Option<u8> {
        self.uses += 1;
        let free = self.spare.iter_mut().filter(|spare| !kept.contains(&spare.keycode));
        let spare = free.min_by_key(|spare| spare.used)?;
        (spare.keysym, spare.used) = (keysym, self.uses);
        Some(spare.keycode)
    }
}

/// The keysym that Tab produces with Shift.
const LEFT_TAB: u32 = 0xfe20;

/// Returns the keycode of the key with this XT scancode, in the form of QEMU's extended key event.
pub(super) fn keycode_of(scancode: u32) -> Option<u8> {
    /// Keys with the prefix e0, which is encoded as the highest bit.
    const PREFIXED: [(u8, u8); 18] = [
        (0x9c, 104),
        (0x9d, 105),
        (0xb5, 106),
        (0xb7, 107),
        (0xb8, 108),
        (0xc7, 110),
        (0xc8, 111),
        (0xc9, 112),
        (0xcb, 113),
        (0xcd, 114),
        (0xcf, 115),
        (0xd0, 116),
        (0xd1, 117),
        (0xd2, 118),
        (0xd3, 119),
        (0xdb, 133),
        (0xdc, 134),
        (0xdd, 135),
    ];
    let scancode = u8::try_from(scancode).ok()?;
    match scancode {
        0x01..=0x53 | 0x56..=0x58 => Some(scancode + 8),
        _prefixed => PREFIXED.iter().find_map(|(it, key)| (*it == scancode).then_some(*key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyboard with a few keys: `a A`, the `7` of the keypad, Tab, and two spare keys.
    fn keymap() -> Keymap {
        let mut keysyms = vec![0; 248 * 2];
        let mut put = |keycode: usize, pair: [u32; 2]| {
            keysyms[(keycode - 8) * 2..][..2].copy_from_slice(&pair);
        };
        put(38, [0x61, 0x41]);
        put(79, [0xff95, 0xffb7]);
        put(23, [0xff09, 0xfe20]);
        put(37, [0xffe3, 0]);
        put(64, [0xffe9, 0xffe7]);
        put(94, [0x3c, 0x3e]);
        put(138, [0x1008ff11, 0x1008ff11]);
        Keymap::read(8, 2, &keysyms)
    }

    #[test]
    fn a_sign_is_pressed_on_the_key_that_has_it() {
        let mut keymap = keymap();
        let stroke = |keycode, with| Some(Stroke { keycode, with });
        assert_eq!(keymap.find(0x61), stroke(38, With::Shift(false)));
        assert_eq!(keymap.find(0x41), stroke(38, With::Shift(true)));
        assert_eq!(keymap.find(0xffb7), stroke(79, With::Digits(true)));
        assert_eq!(keymap.find(0xff95), stroke(79, With::Digits(false)));
        assert_eq!(keymap.find(0xff09), stroke(23, With::Any));
        assert_eq!(keymap.find(0xfe20), stroke(23, With::Shift(true)));
        assert_eq!(keymap.find(0xffe3), stroke(37, With::Any));
        assert_eq!(keymap.find(0xffe7), stroke(64, With::Any), "Meta, with Alt");
        assert_eq!(keymap.find(0x3c), None, "beside the left Shift");
        assert_eq!(keymap.find(0x1008ff11), stroke(138, With::Any), "a spare one has it already");
    }

    #[test]
    fn the_spare_key_that_was_unused_for_longest_is_given_the_next_sign() {
        let mut keymap = keymap();
        let signs = 0x0100_4e00..;
        let given: Vec<u8> = signs
            .clone()
            .take(SPARE_KEYCODES.len())
            .filter_map(|it| keymap.assign(it, &[]))
            .collect();
        assert_eq!(given, SPARE_KEYCODES);
        assert_eq!(keymap.find(0x0100_4e00), Some(Stroke::any(SPARE_KEYCODES[0])));
        // The first was used again, and the second is kept.
        assert_eq!(keymap.assign(0x0100_6000, &[SPARE_KEYCODES[1]]), Some(SPARE_KEYCODES[2]));
        assert_eq!(keymap.find(0x0100_4e02), None);
        assert_eq!(keymap.assign(0x0100_6001, &SPARE_KEYCODES), None);
    }

    #[test]
    fn scancodes_are_those_of_the_keys_of_a_pc() {
        for (scancode, keycode) in
            [(0x01, Some(9)), (0x10, Some(24)), (0x58, Some(96)), (0xcb, Some(113)), (0x54, None)]
        {
            assert_eq!(keycode_of(scancode), keycode, "{scancode:x}");
        }
        assert_eq!(keycode_of(0x100 + 0x10), None);
    }
}
