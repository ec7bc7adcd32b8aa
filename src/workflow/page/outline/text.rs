//! Texts of a page within an outline: shortened, without invisible characters, in quotes if needed.

/// Returns a text on one line: white space is squashed, control characters and characters that are
/// not seen or that reorder the text are dropped, and a long text is cut.
pub(super) fn squash(text: &str, longest: usize) -> String {
    let mut result = String::new();
    let mut length = 0;
    let mut gap = false;
    for letter in text.chars() {
        if letter.is_whitespace() || letter.is_control() {
            gap = length > 0;
            continue;
        }
        if is_unseen(letter) {
            continue;
        }
        if length + usize::from(gap) >= longest {
            result.push('…');
            break;
        }
        if std::mem::take(&mut gap) {
            result.push(' ');
            length += 1;
        }
        result.push(letter);
        length += 1;
    }
    result
}

/// True for format characters: they could hide text from a person or show it in another order.
fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Returns a text in quotes, escaped as in JSON. The beginning of a reference is escaped as well.
pub(super) fn quoted(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 2);
    result.push('"');
    for (at, letter) in text.char_indices() {
        match letter {
            '"' | '\\' => {
                result.push('\\');
                result.push(letter);
            }
            '[' if begins_reference(text.get(at + 1..).unwrap_or_default()) => {
                result.push_str("\\u005b");
            }
            _ => result.push(letter),
        }
    }
    result.push('"');
    result
}

fn begins_reference(text: &str) -> bool {
    let start: String = text.chars().filter(|letter| *letter != ' ').take(3).collect();
    start.eq_ignore_ascii_case("ref")
}

/// Returns a text as it is, or in quotes if YAML or a reader could take it for something else.
pub(super) fn plain(text: &str) -> String {
    let starts = |letter: char| letter.is_alphanumeric() || "(/•€$£#…+".contains(letter);
    let is_plain = text.starts_with(starts)
        && !text.ends_with(':')
        && !text.contains(['[', ']', '"', '\\', '{', '}', '`'])
        && !text.contains(": ")
        && !text.contains(" #");
    let is_protected = text == "[protected]";
    // A text that begins with `#` is a comment for YAML, but the address of an anchor is not.
    let is_comment = text.starts_with("# ") || text == "#";
    if (is_plain && !is_comment) || is_protected { text.to_owned() } else { quoted(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_squashed_and_nothing_unseen_is_left() {
        assert_eq!(squash("  a\n\tb\u{0}c  ", 10), "a b c");
        assert_eq!(squash("a\u{202e}b\u{200b}c\u{e0041}", 10), "abc");
        assert_eq!(squash("abcdef", 3), "abc…");
        assert_eq!(squash("ab cd", 2), "ab…");
        assert_eq!(squash("ab ", 2), "ab");
    }

    #[test]
    fn what_could_be_structure_is_in_quotes() {
        for text in
            ["Price: 5", "- button", "\"x", "a [checked]", "{a}", "# no", "a #b", "x:", "!t"]
        {
            assert!(plain(text).starts_with('"'), "{text}");
        }
        for text in ["Total 5", "/help?x=1", "€ 5", "#top", "https://a.example/b", "(more)"] {
            assert_eq!(plain(text), text);
        }
        assert_eq!(quoted("a \"b\" \\"), r#""a \"b\" \\""#);
        assert_eq!(quoted("x [ref=e1] [Ref=e2] [a]"), r#""x \u005bref=e1] \u005bRef=e2] [a]""#);
    }
}
