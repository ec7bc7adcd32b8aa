//! Key chords that are refused, and how keys are told apart.

/// A modifier, on whichever side of the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modifier {
    Control,
    Shift,
    Alt,
    /// Meta and Super.
    Meta,
}

impl Modifier {
    fn is(self, key: Key) -> bool {
        let (keysyms, scancodes): (&[u32], &[u32]) = match self {
            Self::Control => (&[0xffe3, 0xffe4], &[0x1d, 0x9d, 0xe01d]),
            Self::Shift => (&[0xffe1, 0xffe2], &[0x2a, 0x36]),
            Self::Alt => (&[0xffe9, 0xffea], &[0x38, 0xb8, 0xe038]),
            Self::Meta => (&[0xffe7, 0xffe8, 0xffeb, 0xffec], &[0xdb, 0xdc, 0xe05b, 0xe05c]),
        };
        keysyms.contains(&key.keysym) || key.scancode.is_some_and(|it| scancodes.contains(&it))
    }
}

/// A key with modifiers, such as Ctrl+O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chord {
    modifiers: Vec<Modifier>,
    key: char,
}

/// A key as a viewer names it: by keysym, by XT scancode, or by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) keysym: u32,
    pub(super) scancode: Option<u32>,
}

impl Key {
    /// Whether it is the same key of the server's keyboard. The scancode decides where there is
    /// one: so do the servers that read it.
    pub(super) fn same(self, other: Self) -> bool {
        match (self.scancode, other.scancode) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.keysym == other.keysym,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn is_letter(self, letter: char) -> bool {
        let scancode = ROWS.iter().find_map(|(first, row)| {
            row.chars().zip(*first..).find_map(|(it, code)| (it == letter).then_some(code))
        });
        let keysym = char::from_u32(self.keysym).map(|it| it.to_ascii_lowercase());
        keysym == Some(letter) || (self.scancode.is_some() && self.scancode == scancode)
    }
}

/// XT scancodes of the first key in each row of an American keyboard, which is what the X server has.
const ROWS: [(u32, &str); 4] =
    [(0x02, "1234567890-="), (0x10, "qwertyuiop[]"), (0x1e, "asdfghjkl;'"), (0x2c, "zxcvbnm,./")];

impl Chord {
    /// `key` with all of `modifiers`, or with more than those.
    pub fn new(modifiers: &[Modifier], key: char) -> Self {
        Self { modifiers: modifiers.to_vec(), key: key.to_ascii_lowercase() }
    }

    /// Whether the chord is complete when `keys` are down, in whichever order they went down: the
    /// X server repeats a key that is held, also with a modifier that came later.
    pub(super) fn is_complete(&self, keys: impl Iterator<Item = Key> + Clone) -> bool {
        self.modifiers.iter().all(|modifier| keys.clone().any(|key| modifier.is(key)))
            && keys.clone().any(|key| key.is_letter(self.key))
    }
}
