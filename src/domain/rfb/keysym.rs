//! Keysyms: the number of each character, and the key of a US keyboard that produces it.

use xkeysym::{Keysym, key};

/// The flag of a keysym that is a Unicode code point.
const UNICODE: u32 = 0x0100_0000;

/// The XT scancode of the first key in each row of a US keyboard, with the characters that its keys
/// produce without Shift and with it. The X server has this keyboard.
const ROWS: [(u32, &str, &str); 4] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
];

/// The positions of letters of other scripts: keys of the US keyboard, and the characters that they
/// produce in the usual layout of a language.
const LAYOUTS: [(&str, &str); 9] = [
    // Russian, Belarusian and Ukrainian.
    ("`qwertyuiop[]asdfghjkl;'zxcvbnm,.", "ёйцукенгшщзхъфывапролджэячсмитьбю"),
    ("]s'\\o", "їієґў"),
    // Serbian and Macedonian, where they differ.
    ("qw]j'x", "љњђјћџ"),
    // Greek.
    ("wertyuiopasdfghjklzxcvbnm", "ςερτυθιοπασδφγηξκλζχψωβνμ"),
    // Hebrew.
    ("ertyuiopasdfghjkl;zxcvbnm,.", "קראטוןםפשדגכעיחלךףזסבהנמצתץ"),
    // Arabic and Persian.
    ("qwertyuiop[]asdfghjkl;'zxcvnm,./`", "ضصثقفغعهخحجدشسيبلاتنمكطئءؤرىةوزظذ"),
    ("d;'m]", "یکگپچ"),
    // Thai (Kedmanee).
    ("4567890-=qwertyuiop[]asdfghjkl;'zxcvbnm,./\\", "ภถุึคตจขชๆไำพะัีรนยบลฟหกดเ้่าสวงผปแอิืทมใฝฃ"),
    // Korean (two sets).
    ("qwertyuiopasdfghjklzxcvbnm", "ㅂㅈㄷㄱㅅㅛㅕㅑㅐㅔㅁㄴㅇㄹㅎㅗㅓㅏㅣㅋㅌㅊㅍㅠㅜㅡ"),
];

/// Returns the canonical keysym for the meaning of `keysym`: many characters have two keysyms, a
/// legacy one and a Unicode one. A keysym without a character, such as an arrow or a key of the
/// keypad, is unchanged.
pub fn canonical(keysym: u32) -> u32 {
    if (0xff00..=0xffff).contains(&keysym) {
        return keysym;
    }
    let Some(char) = Keysym::new(keysym).key_char() else { return keysym };
    match u32::from(char) {
        0x08 => key::BackSpace,
        0x09 => key::Tab,
        0x0a | 0x0d => key::Return,
        0x1b => key::Escape,
        0x7f => key::Delete,
        point @ (0x20..=0x7e | 0xa0..=0xff) => point,
        point => UNICODE | point,
    }
}

/// Returns the character of a keysym, unless it is a key of the keypad or a named key.
pub fn character(keysym: u32) -> Option<char> {
    let point = match canonical(keysym) {
        point @ (0x20..=0x7e | 0xa0..=0xff) => point,
        keysym @ 0x0100_0000..=0x0110_ffff => keysym - UNICODE,
        _named => return None,
    };
    char::from_u32(point).filter(|char| !char.is_control())
}

/// Returns the XT scancode of the key that produces `keysym` on a US keyboard, or on the keyboard
/// of a language with its script.
pub fn place(keysym: u32) -> Option<u32> {
    let char = character(keysym)?;
    let lower = char.to_lowercase().next().unwrap_or(char);
    position(unshifted(char)).or_else(|| {
        LAYOUTS.iter().find_map(|(keys, letters)| {
            let mut pairs = keys.chars().zip(letters.chars());
            pairs.find_map(|(key, letter)| (letter == lower).then(|| position(key)).flatten())
        })
    })
}

/// Returns the XT scancode of the key that produces this character without Shift.
pub(super) fn position(char: char) -> Option<u32> {
    ROWS.iter().find_map(|(first, row, _)| {
        row.chars().zip(*first..).find_map(|(it, code)| (it == char).then_some(code))
    })
}

/// Returns the character that the same key produces without Shift.
pub(super) fn unshifted(char: char) -> char {
    let other = ROWS.iter().find_map(|(_, row, shifted)| {
        row.chars().zip(shifted.chars()).find_map(|(it, up)| (up == char).then_some(it))
    });
    other.unwrap_or_else(|| char.to_ascii_lowercase())
}

/// True for a character that a US keyboard produces only with Shift.
pub(super) fn is_shifted(char: char) -> bool {
    ROWS.iter().any(|(_, _, shifted)| shifted.contains(char))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_has_one_keysym_and_keys_without_one_keep_theirs() {
        for (keysym, expected) in [
            (0x61, 0x61),
            (0x0100_0061, 0x61),
            (0x0100_00e9, 0xe9),
            (0x6ca, 0x0100_0439),       // Cyrillic_shorti
            (0x4b1, 0x0100_30a2),       // kana_A
            (0x7e1, 0x0100_03b1),       // Greek_alpha
            (0xce0, 0x0100_05d0),       // hebrew_aleph
            (0x5c7, 0x0100_0627),       // Arabic_alef
            (0xda1, 0x0100_0e01),       // Thai_kokai
            (0xea1, 0x0100_3131),       // Hangul_Kiyeog
            (0x20ac, 0x0100_20ac),      // EuroSign
            (0x0101_f600, 0x0101_f600), // An emoji.
            (0x0100_000d, 0xff0d),
            (0xffb7, 0xffb7),
            (0xff0d, 0xff0d),
            (0xffffffff, 0xffffffff),
        ] {
            assert_eq!(canonical(keysym), expected, "{keysym:x}");
        }
        assert_eq!(character(0x6ea), Some('Й'));
        assert_eq!(character(0xffb7), None);
        assert_eq!(character(0x0100_0001), None, "a control character");
        assert_eq!(character(0x0100_d83d), None, "half of a character");
    }

    #[test]
    fn a_letter_stands_where_its_language_has_it() {
        let place_of = |char: char| place(UNICODE | u32::from(char));
        for (char, key) in [
            ('c', 'c'),
            ('C', 'c'),
            ('+', '='),
            ('с', 'c'), // Cyrillic from here.
            ('Щ', 'o'),
            ('і', 's'),
            ('ψ', 'c'),
            ('ב', 'c'),
            ('ؤ', 'c'),
            ('แ', 'c'),
            ('ㅊ', 'c'),
        ] {
            assert_eq!(place_of(char), position(key), "{char}");
        }
        assert_eq!(place_of('漢'), None);
        for (keys, letters) in LAYOUTS {
            assert_eq!(keys.chars().count(), letters.chars().count(), "{letters}");
        }
    }
}
