//! Key chords that are refused, and the comparison of keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::keysym::{canonical, character, is_shifted, place, position, unshifted};

/// A modifier, on either side of the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Modifier {
    Control,
    Shift,
    Alt,
    /// The keys Meta, Super and Hyper.
    Meta,
}

impl Modifier {
    /// Returns the name used in the notation of chords.
    const fn name(self) -> &'static str {
        match self {
            Self::Control => "ctrl",
            Self::Shift => "shift",
            Self::Alt => "alt",
            Self::Meta => "meta",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "ctrl" | "control" => Some(Self::Control),
            "shift" => Some(Self::Shift),
            "alt" => Some(Self::Alt),
            "meta" | "super" => Some(Self::Meta),
            _ => None,
        }
    }

    fn is(self, key: Key) -> bool {
        let (keysyms, scancodes): (&[u32], &[u32]) = match self {
            Self::Control => (&[0xffe3, 0xffe4], &[0x1d, 0x9d]),
            Self::Shift => (&[0xffe1, 0xffe2], &[0x2a, 0x36]),
            // Meta shares the Alt keys of a PC (xkb's `altwin`), and counts as both.
            Self::Alt => (&[0xffe9, 0xffea, 0xffe7, 0xffe8], &[0x38, 0xb8]),
            Self::Meta => (&[0xffe7, 0xffe8, 0xffeb, 0xffec, 0xffed, 0xffee], &[0xdb, 0xdc]),
        };
        keysyms.contains(&key.keysym) || key.scancode.is_some_and(|it| scancodes.contains(&it))
    }
}

/// A key with modifiers, written as `ctrl+o`, `ctrl+shift+t` or `f12`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Chord {
    modifiers: Vec<Modifier>,
    key: Cap,
}

/// The label of a key: one character, or a name of [`NAMED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cap {
    Char(char),
    Named(&'static str),
}

/// A text that is not a chord.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a chord; expected a chord such as ctrl+o, ctrl+shift+t, alt+left or f12")]
pub struct NoChord(String);

/// A key as a viewer names it: by keysym, by XT scancode, or by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The keysym that the key produces; 0 if it is not known.
    pub keysym: u32,
    /// The position of the key, as an XT scancode.
    pub scancode: Option<u32>,
}

impl Key {
    /// True if both are the same key of the server's keyboard. The scancode decides if both have
    /// one, as it does in the servers that read it.
    pub fn same(self, other: Self) -> bool {
        match (self.scancode, other.scancode) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.keysym == other.keysym,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// True if the server's keyboard has a key with this scancode. For any other scancode the
    /// server uses the keysym, and so must the gate.
    pub(super) const fn is_on_keyboard(scancode: u32) -> bool {
        matches!(
            scancode,
            0x01..=0x53
                | 0x56..=0x58
                | 0x9c
                | 0x9d
                | 0xb5
                | 0xb7
                | 0xb8
                | 0xc7..=0xc9
                | 0xcb
                | 0xcd
                | 0xcf..=0xd3
                | 0xdb..=0xdd
        )
    }

    /// True if the server presses Shift for this key by itself, because the keysym is one that a
    /// key produces with Shift. If the chord has another modifier, a letter does not imply Shift.
    fn implies_shift(self, chord: &Chord) -> bool {
        let alone = chord.modifiers.iter().all(|modifier| *modifier == Modifier::Shift);
        let implies = |char: char| is_shifted(char) && (alone || !char.is_ascii_alphabetic());
        character(self.keysym).is_some_and(implies)
    }

    fn has(self, cap: Cap) -> bool {
        let scancode_is = |code| self.scancode == Some(code);
        match cap {
            Cap::Char(char) => {
                let keypad =
                    KEYPAD.iter().any(|(keysym, it)| *keysym == self.keysym && *it == char);
                let given = character(self.keysym).map(unshifted);
                let there = position(char);
                let by_place = there.is_some_and(scancode_is)
                    || (there.is_some() && place(self.keysym) == there);
                given == Some(char) || keypad || by_place
            }
            Cap::Named(name) => NAMED.iter().any(|(it, keysyms, scancodes)| {
                *it == name
                    && (keysyms.contains(&canonical(self.keysym))
                        || scancodes.iter().any(|code| scancode_is(*code)))
            }),
        }
    }
}

/// The keysyms of the keypad, and the characters that they produce.
const KEYPAD: [(u32, char); 14] = [
    (0xffb0, '0'),
    (0xffb1, '1'),
    (0xffb2, '2'),
    (0xffb3, '3'),
    (0xffb4, '4'),
    (0xffb5, '5'),
    (0xffb6, '6'),
    (0xffb7, '7'),
    (0xffb8, '8'),
    (0xffb9, '9'),
    (0xffab, '='), // A plus.
    (0xffad, '-'),
    (0xffae, '.'),
    (0xffaf, '/'),
];

/// The named keys: their keysyms (from X11's `keysymdef.h`, including those of the keypad) and
/// their XT scancodes. A scancode with the prefix e0 has its highest bit set instead of the prefix.
const NAMED: [(&str, &[u32], &[u32]); 27] = [
    ("escape", &[0xff1b], &[0x01]),
    ("backspace", &[0xff08], &[0x0e]),
    ("tab", &[0xff09, 0xfe20, 0xff89], &[0x0f]),
    ("enter", &[0xff0d, 0xff8d, 0xff0a, 0xfe34], &[0x1c, 0x9c]),
    ("space", &[0x20, 0xff80], &[0x39]),
    ("insert", &[0xff63, 0xff9e], &[0x52, 0xd2]),
    ("delete", &[0xffff, 0xff9f], &[0x53, 0xd3]),
    ("home", &[0xff50, 0xff95], &[0x47, 0xc7]),
    ("end", &[0xff57, 0xff9c], &[0x4f, 0xcf]),
    ("pageup", &[0xff55, 0xff9a], &[0x49, 0xc9]),
    ("pagedown", &[0xff56, 0xff9b], &[0x51, 0xd1]),
    ("left", &[0xff51, 0xff96], &[0x4b, 0xcb]),
    ("up", &[0xff52, 0xff97], &[0x48, 0xc8]),
    ("right", &[0xff53, 0xff98], &[0x4d, 0xcd]),
    ("down", &[0xff54, 0xff99], &[0x50, 0xd0]),
    ("f1", &[0xffbe, 0xff91], &[0x3b]),
    ("f2", &[0xffbf, 0xff92], &[0x3c]),
    ("f3", &[0xffc0, 0xff93], &[0x3d]),
    ("f4", &[0xffc1, 0xff94], &[0x3e]),
    ("f5", &[0xffc2], &[0x3f]),
    ("f6", &[0xffc3], &[0x40]),
    ("f7", &[0xffc4], &[0x41]),
    ("f8", &[0xffc5], &[0x42]),
    ("f9", &[0xffc6], &[0x43]),
    ("f10", &[0xffc7], &[0x44]),
    ("f11", &[0xffc8], &[0x57]),
    ("f12", &[0xffc9], &[0x58]),
];

impl Chord {
    /// Returns the chords that are refused by default, because they reach beyond the pages: dialogs
    /// for files of the machine (Ctrl+O, Ctrl+S), the print preview (Ctrl+P), the developer tools
    /// (F12, Ctrl+Shift+I, J and C) and a page's source (Ctrl+U).
    pub fn refused_by_default() -> Vec<Self> {
        let of = |modifiers: &[Modifier], key| Self { modifiers: modifiers.to_vec(), key };
        let plain = ['o', 's', 'p', 'u'].map(|key| of(&[Modifier::Control], Cap::Char(key)));
        let shifted =
            ['i', 'j', 'c'].map(|key| of(&[Modifier::Control, Modifier::Shift], Cap::Char(key)));
        plain.into_iter().chain(shifted).chain([of(&[], Cap::Named("f12"))]).collect()
    }

    /// True if the chord is complete when `keys` are down. The order in which they went down does
    /// not matter: a viewer repeats a held key, also after a modifier that was pressed later.
    pub(super) fn is_complete(&self, keys: impl Iterator<Item = Key> + Clone) -> bool {
        let held = |modifier: Modifier, completing: Key| {
            (modifier == Modifier::Shift && completing.implies_shift(self))
                || keys.clone().any(|key| modifier.is(key))
        };
        keys.clone()
            .filter(|key| key.has(self.key))
            .any(|key| self.modifiers.iter().all(|modifier| held(*modifier, key)))
    }

    /// True if a key completes the chord while the modifiers `held` are down. The key is named as
    /// in DevTools: by `KeyboardEvent.key`, `KeyboardEvent.code` and `keyCode` (W3C UI Events), any
    /// of which a page may read.
    pub fn is_pressed(&self, key: &str, code: &str, key_code: u32, held: &[Modifier]) -> bool {
        let is_key = match self.key {
            Cap::Char(char) => {
                let mut given = key.chars();
                let same = given.next().map(unshifted) == Some(char) && given.next().is_none();
                let there = ["Key", "Digit", "Numpad"].iter().any(|kind| {
                    let name = code.strip_prefix(kind);
                    name.is_some_and(|name| name.chars().eq([char.to_ascii_uppercase()]))
                });
                let mark = MARKS.iter().any(|(it, name, number)| {
                    *it == char && (*name == code || *number == key_code)
                });
                let number = char.is_ascii_alphanumeric()
                    && key_code == u32::from(char.to_ascii_uppercase());
                same || there || mark || number
            }
            Cap::Named(name) => {
                let is_named = [key, code].into_iter().any(|given| {
                    let given = ["Arrow", "Numpad"]
                        .iter()
                        .find_map(|kind| given.strip_prefix(kind))
                        .unwrap_or(given);
                    given.eq_ignore_ascii_case(name) || (given == " " && name == "space")
                });
                is_named || KEY_CODES.iter().any(|(it, number)| *it == name && *number == key_code)
            }
        };
        let alone = self.modifiers.iter().all(|modifier| *modifier == Modifier::Shift);
        let shifted = key
            .chars()
            .next()
            .is_some_and(|char| is_shifted(char) && (alone || !char.is_ascii_alphabetic()));
        let held = |modifier: &Modifier| {
            held.contains(modifier) || (*modifier == Modifier::Shift && shifted)
        };
        is_key && self.modifiers.iter().all(held)
    }
}

/// The keys of a US keyboard that are neither letters nor digits: their characters, their
/// `KeyboardEvent.code` and their `keyCode`.
const MARKS: [(char, &str, u32); 11] = [
    ('-', "Minus", 189),
    ('=', "Equal", 187),
    ('[', "BracketLeft", 219),
    (']', "BracketRight", 221),
    (';', "Semicolon", 186),
    ('\'', "Quote", 222),
    ('`', "Backquote", 192),
    ('\\', "Backslash", 220),
    (',', "Comma", 188),
    ('.', "Period", 190),
    ('/', "Slash", 191),
];

/// The `keyCode` of the keys of [`NAMED`].
const KEY_CODES: [(&str, u32); 27] = [
    ("backspace", 8),
    ("tab", 9),
    ("enter", 13),
    ("escape", 27),
    ("space", 32),
    ("pageup", 33),
    ("pagedown", 34),
    ("end", 35),
    ("home", 36),
    ("left", 37),
    ("up", 38),
    ("right", 39),
    ("down", 40),
    ("insert", 45),
    ("delete", 46),
    ("f1", 112),
    ("f2", 113),
    ("f3", 114),
    ("f4", 115),
    ("f5", 116),
    ("f6", 117),
    ("f7", 118),
    ("f8", 119),
    ("f9", 120),
    ("f10", 121),
    ("f11", 122),
    ("f12", 123),
];

impl FromStr for Chord {
    type Err = NoChord;

    fn from_str(text: &str) -> Result<Self, NoChord> {
        let wrong = || NoChord(text.to_owned());
        let lower = text.to_ascii_lowercase();
        // The last `+` may be the key itself.
        let (before, last) = match lower.strip_suffix("++") {
            Some(before) => (before, "="),
            None => lower.rsplit_once('+').unwrap_or(("", &lower)),
        };
        let mut modifiers = before
            .split('+')
            .filter(|_| !before.is_empty())
            .map(|name| Modifier::named(name.trim()).ok_or_else(wrong))
            .collect::<Result<Vec<_>, _>>()?;
        modifiers.sort_unstable();
        modifiers.dedup();
        let last = last.trim();
        let mut chars = last.chars();
        let key = match (chars.next(), chars.next()) {
            (Some(char), None) if char.is_ascii_graphic() => Cap::Char(unshifted(char)),
            _ => {
                let known = NAMED.iter().find(|(name, ..)| *name == last);
                Cap::Named(known.ok_or_else(wrong)?.0)
            }
        };
        Ok(Self { modifiers, key })
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for modifier in &self.modifiers {
            write!(f, "{}+", modifier.name())?;
        }
        match self.key {
            Cap::Char(char) => write!(f, "{char}"),
            Cap::Named(name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for Chord {
    type Error = NoChord;

    fn try_from(text: String) -> Result<Self, NoChord> {
        text.parse()
    }
}

impl From<Chord> for String {
    fn from(chord: Chord) -> Self {
        chord.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chord(text: &str) -> Chord {
        text.parse().unwrap()
    }

    #[test]
    fn a_chord_is_read_as_people_write_it_and_shown_in_one_way() {
        for (written, shown) in [
            ("ctrl+o", "ctrl+o"),
            ("Shift+Control+T", "ctrl+shift+t"),
            ("super+ctrl+ctrl+Left", "ctrl+meta+left"),
            ("F12", "f12"),
            ("ctrl++", "ctrl+="),
            ("ctrl+!", "ctrl+1"),
        ] {
            assert_eq!(chord(written).to_string(), shown, "{written}");
        }
        for wrong in ["", "ctrl+", "hyper+o", "ctrl+oo", "o+ctrl", "+", "ctrl+é"] {
            let error = wrong.parse::<Chord>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{wrong}` is not a chord")), "{error}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_pages_is_refused_by_default() {
        let refused = Chord::refused_by_default();
        let shown: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown.join(" "),
            "ctrl+o ctrl+s ctrl+p ctrl+u ctrl+shift+i ctrl+shift+j ctrl+shift+c f12"
        );
        for chord in refused {
            assert_eq!(chord.to_string().parse(), Ok(chord), "as it is read");
        }
    }

    #[test]
    fn a_key_is_known_by_its_keysym_by_its_place_and_by_its_name() {
        let by = |keysym, scancode| Key { keysym, scancode };
        let control = by(0xffe3, None);
        let complete = |text, key| chord(text).is_complete([control, key].into_iter());
        assert!(complete("ctrl+1", by(0x21, None)), "an exclamation mark is a shifted 1");
        assert!(complete("ctrl+left", by(0xff51, None)));
        assert!(complete("ctrl+left", by(0, Some(0xcb))));
        assert!(!complete("ctrl+left", by(0xff53, None)));
        assert!(complete("f12", by(0xffc9, None)));
        assert!(!complete("ctrl+alt+delete", by(0xffff, None)));

        assert!(!complete("ctrl+shift+i", by(0x49, None)), "Caps Lock");
        assert!(complete("ctrl+i", by(0x49, None)), "Caps Lock");
        assert!(complete("ctrl+shift+1", by(0x21, None)), "Shift is pressed for it");
        assert!(!complete("ctrl+shift+i", by(0x69, None)));
        let shift = by(0xffe1, None);
        for key in [by(0x49, None), by(0x69, None), by(0, Some(0x17)), by(0x6fb, None)] {
            let keys = [control, shift, key];
            assert!(chord("ctrl+shift+i").is_complete(keys.into_iter()), "{key:?}");
        }
        for (keysym, sign) in [
            (0x6dd, "Cyrillic_shcha, where O is"),
            (0x0100_0449, "the same, by its code point"),
            (0x0100_006f, "o, by its code point"),
            (0x0100_004f, "O, by its code point"),
            (0x7ef, "Greek_omicron"),
            (0x0100_3150, "a letter of Hangul"),
        ] {
            assert!(complete("ctrl+o", by(keysym, None)), "{sign}");
        }
        assert!(!complete("ctrl+o", by(0x6cf, None)), "Cyrillic_o, where J is");
        assert!(complete("ctrl+enter", by(0x0100_000d, None)));
        assert!(complete("ctrl+\\", by(0, Some(0x2b))));
        assert!(complete("ctrl+0", by(0xffb0, None)), "of the keypad");
        assert!(complete("f2", by(0xff92, None)), "of the keypad");
        let meta = by(0xffe7, None);
        assert!(chord("alt+left").is_complete([meta, by(0xff51, None)].into_iter()));

        let control = [Modifier::Control];
        let pressed = |text, key, code, number| chord(text).is_pressed(key, code, number, &control);
        assert!(pressed("ctrl+o", "o", "KeyO", 79));
        assert!(pressed("ctrl+o", "щ", "KeyO", 0), "by its place");
        assert!(pressed("ctrl+o", "", "", 79), "by its number");
        assert!(!chord("ctrl+o").is_pressed("o", "KeyO", 79, &[]));
        assert!(pressed("ctrl+-", "ß", "Minus", 0));
        assert!(pressed("ctrl+space", " ", "", 0));
        assert!(pressed("ctrl+left", "", "", 37));
        assert!(pressed("f12", "F12", "F12", 123));
        assert!(!pressed("f1", "F12", "F12", 123));
        assert!(!pressed("ctrl+shift+i", "I", "KeyI", 73), "Caps Lock");
        let both = [Modifier::Control, Modifier::Shift];
        assert!(chord("ctrl+shift+i").is_pressed("I", "KeyI", 73, &both));
        assert!(pressed("ctrl+shift+1", "!", "Digit1", 49));
        assert!(chord("alt+left").is_pressed("ArrowLeft", "ArrowLeft", 37, &[Modifier::Alt]));
    }
}
