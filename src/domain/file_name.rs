//! File names suggested by sites, workflows and drivers.

/// The folder, within a session's downloads, for files that blocks download themselves.
pub const BLOCK_FOLDER: &str = "block-downloads";

/// The longest name in bytes. A file system permits 255, and an artifact's id and the suffix of a
/// temporary file are added to the name.
const LONGEST: usize = 180;

/// The longest extension that a shortened name keeps, in bytes.
const LONGEST_EXTENSION: usize = 20;

/// Returns a safe form of a suggested name: one path component, without control characters, within
/// the limits of file systems. A long name keeps its extension.
pub fn file_name(suggested: &str) -> String {
    let last = suggested.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().filter(|letter| is_plain(*letter)).collect();
    let plain = plain.trim_matches(|letter: char| letter == '.' || letter.is_whitespace());
    let name = if plain.is_empty() { "file".to_owned() } else { shortened(plain) };
    if is_reserved(&name) { shortened(&format!("_{name}")) } else { name }
}

/// True for the names of devices that Windows does not accept as files, with any extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = ["COM", "LPT"].into_iter().find_map(|device| stem.strip_prefix(device));
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || numbered.is_some_and(|rest| matches!(rest.as_bytes(), [b'0'..=b'9']))
}

/// Returns the safe name with `extension` appended, unless the name already has it.
pub fn file_name_with(suggested: &str, extension: &str) -> String {
    let name = file_name(suggested);
    if name.to_lowercase().ends_with(&format!(".{}", extension.to_lowercase())) {
        return name;
    }
    shortened(&format!("{name}.{extension}"))
}

/// Returns the safe name with `suffix` before the extension.
pub fn file_name_and(suggested: &str, suffix: &str) -> String {
    let name = file_name(suggested);
    let (stem, extension) = split(&name);
    file_name(&format!("{stem}{suffix}{extension}"))
}

/// Returns the safe name with a number before the extension, such as `a (1).txt`; unchanged for 0.
/// Different numbers give different names.
pub fn numbered(suggested: &str, number: u32) -> String {
    let name = file_name(suggested);
    if number == 0 {
        return name;
    }
    let (stem, extension) = split(&name);
    let number = format!(" ({number})");
    let room = LONGEST.saturating_sub(number.len() + extension.len());
    format!("{}{number}{extension}", cut(stem, room))
}

fn is_plain(letter: char) -> bool {
    // Marks of text direction can make `fdp.exe` look like `exe.pdf`.
    let is_direction = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !is_direction && !"<>:\"|?*".contains(letter)
}

/// Splits a name into its stem and its extension with the dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= LONGEST_EXTENSION => name.split_at(dot),
        Some(_) | None => (name, ""),
    }
}

fn shortened(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let room = LONGEST.saturating_sub(extension.len());
    format!("{}{extension}", cut(stem, room))
}

/// The beginning of a text, of at most `room` bytes.
fn cut(text: &str, room: usize) -> &str {
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or(text).trim_end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_become_names_within_their_folder() {
        for (suggested, expected) in [
            ("bericht 3.csv", "bericht 3.csv"),
            ("Übersicht.pdf", "Übersicht.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\system.ini", "system.ini"),
            ("..", "file"),
            (".bashrc", "bashrc"),
            ("a\u{0}b:c\r\n.txt", "abc.txt"),
            ("fdp\u{202e}.exe", "fdp.exe"),
            ("", "file"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("com7 .log", "_com7 .log"),
            ("console.log", "console.log"),
        ] {
            assert_eq!(file_name(suggested), expected, "{suggested:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = file_name(&format!("{}.xlsx", "é".repeat(300)));
        assert!(name.len() <= LONGEST && name.ends_with("é.xlsx"), "{name}");
        let name = file_name_with(&"x".repeat(400), "pdf");
        assert_eq!((name.len(), name.ends_with("x.pdf")), (LONGEST, true));
    }

    #[test]
    fn a_number_stands_before_the_extension_of_a_long_name_too() {
        assert_eq!(numbered("a.tar", 0), "a.tar");
        assert_eq!(numbered("a.tar", 12), "a (12).tar");
        let name = numbered(&format!("{}.xlsx", "é".repeat(300)), 3);
        assert!(name.len() <= LONGEST && name.ends_with("é (3).xlsx"), "{name}");
    }

    #[test]
    fn an_extension_is_added_once_and_a_suffix_stands_before_it() {
        assert_eq!(file_name_with("report", "pdf"), "report.pdf");
        assert_eq!(file_name_with("report.PDF", "pdf"), "report.PDF");
        assert_eq!(file_name_and("report.csv", "_may"), "report_may.csv");
        assert_eq!(file_name_and("report", "_may"), "report_may");
    }

    proptest! {
        #[test]
        fn any_name_is_one_component_that_file_systems_take(suggested in ".{0,400}") {
            let name = file_name(&suggested);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST);
            prop_assert!(!name.contains('/') && !name.starts_with('.'));
            prop_assert_eq!(file_name(&name), name.clone());
        }
    }
}
