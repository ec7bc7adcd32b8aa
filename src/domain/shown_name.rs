//! Names of files on a disk as texts that can be shown, and sent back to name the same file.
//!
//! A program may give a file almost any bytes as its name: control characters, marks of text
//! direction, or bytes that are no UTF-8.

/// Returns a name as a text without characters that mislead a reader. Each of their bytes becomes
/// `%XX`. So does a `%` before two hexadecimal digits: no two names have the same text.
pub fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let after = rest.get(letter.len_utf8()..).unwrap_or_default();
            let is_escape = letter == '%' && digit(after.first()) && digit(after.get(1));
            if is_escape || misleads(letter) {
                let mut bytes = [0; 4];
                letter.encode_utf8(&mut bytes).bytes().for_each(|byte| escape(&mut text, byte));
            } else {
                text.push(letter);
            }
            rest = after;
        }
        for byte in chunk.invalid() {
            escape(&mut text, *byte);
        }
        rest = rest.get(chunk.invalid().len()..).unwrap_or_default();
    }
    text
}

/// Returns the name of which [`shown`] makes this text.
pub fn named(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

fn digit(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_hexdigit)
}

fn escape(text: &mut String, byte: u8) {
    text.push('%');
    for half in [byte >> 4, byte & 0xf] {
        text.extend(char::from_digit(half.into(), 16).map(|digit| digit.to_ascii_uppercase()));
    }
}

/// True for control characters, and for invisible ones, such as those that change the direction of
/// text.
fn misleads(letter: char) -> bool {
    let is_invisible = matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    letter.is_control() || is_invisible
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_misleads_is_escaped_and_the_rest_stays() {
        for (name, expected) in [
            (&b"bericht 3.csv"[..], "bericht 3.csv"),
            ("Übersicht.pdf".as_bytes(), "Übersicht.pdf"),
            (b"100%.pdf", "100%.pdf"),
            (b"100%41.pdf", "100%2541.pdf"),
            (b"a\nb\x7f", "a%0Ab%7F"),
            ("fdp\u{202e}.exe".as_bytes(), "fdp%E2%80%AE.exe"),
            (b"\xff\xfe.bin", "%FF%FE.bin"),
            (b"%\n", "%%0A"),
            (b".bashrc", ".bashrc"),
        ] {
            assert_eq!(shown(name), expected, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_found_again_by_its_text(name in prop::collection::vec(any::<u8>(), 0..60)) {
            let text = shown(&name);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(named(&text), name);
        }

        #[test]
        fn also_with_many_escapes(name in "[%0-9A-Fa-f\n é]{0,40}") {
            prop_assert_eq!(named(&shown(name.as_bytes())), name.into_bytes());
        }
    }
}
