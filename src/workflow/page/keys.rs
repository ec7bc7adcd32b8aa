//! Keys by their DOM names, for a keyboard of the layout `us`.

/// A key with the modifiers held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stroke {
    /// The bits of the modifiers in CDP: Alt 1, Control 2, Meta 4, Shift 8.
    pub modifiers: u8,
    /// The value of `KeyboardEvent.key` in the DOM.
    pub key: String,
    /// The value of `KeyboardEvent.code` in the DOM.
    pub code: String,
    /// The value of `KeyboardEvent.keyCode` in the DOM.
    pub key_code: u16,
    /// The text that the key types with these modifiers.
    pub text: Option<String>,
}

const NAMED: &[(&str, &str, u16, Option<&str>)] = &[
    ("Enter", "Enter", 13, Some("\r")),
    ("Tab", "Tab", 9, None),
    ("Escape", "Escape", 27, None),
    ("Backspace", "Backspace", 8, None),
    ("Delete", "Delete", 46, None),
    ("Insert", "Insert", 45, None),
    ("Home", "Home", 36, None),
    ("End", "End", 35, None),
    ("PageUp", "PageUp", 33, None),
    ("PageDown", "PageDown", 34, None),
    ("ArrowLeft", "ArrowLeft", 37, None),
    ("ArrowUp", "ArrowUp", 38, None),
    ("ArrowRight", "ArrowRight", 39, None),
    ("ArrowDown", "ArrowDown", 40, None),
    (" ", "Space", 32, Some(" ")),
];

const SIGNS: &[(char, char, &str, u16)] = &[
    ('`', '~', "Backquote", 192),
    ('-', '_', "Minus", 189),
    ('=', '+', "Equal", 187),
    ('[', '{', "BracketLeft", 219),
    (']', '}', "BracketRight", 221),
    ('\\', '|', "Backslash", 220),
    (';', ':', "Semicolon", 186),
    ('\'', '"', "Quote", 222),
    (',', '<', "Comma", 188),
    ('.', '>', "Period", 190),
    ('/', '?', "Slash", 191),
];

const SHIFTED_DIGITS: &str = ")!@#$%^&*(";

/// Returns the CDP bit of a modifier's name.
pub fn modifier(name: &str) -> Option<u8> {
    Some(match name {
        "Alt" => 1,
        "Control" | "Ctrl" | "ControlOrMeta" => 2,
        "Meta" => 4,
        "Shift" => 8,
        _ => return None,
    })
}

/// Parses a key such as `Enter`, `a` or `Control+Shift+T`.
pub fn parse(text: &str) -> Option<Stroke> {
    let mut modifiers = 0;
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('+').filter(|(_name, after)| !after.is_empty())
    {
        let Some(bit) = modifier(name) else { break };
        modifiers |= bit;
        rest = after;
    }
    let rest = match rest {
        "Space" => " ",
        "Return" => "Enter",
        "Esc" => "Escape",
        other => other,
    };
    let mut stroke = named(rest).or_else(|| lettered(rest))?;
    stroke.modifiers |= modifiers;
    if stroke.modifiers & 0b0111 != 0 {
        stroke.text = None; // A shortcut types nothing.
    } else if stroke.modifiers & 8 != 0 && stroke.key.len() == 1 {
        stroke.key = stroke.key.to_uppercase();
        stroke.text = Some(stroke.key.clone());
    }
    Some(stroke)
}

fn named(name: &str) -> Option<Stroke> {
    let found = NAMED.iter().find(|(key, ..)| *key == name);
    if let Some((key, code, key_code, text)) = found {
        return Some(Stroke {
            modifiers: 0,
            key: (*key).to_owned(),
            code: (*code).to_owned(),
            key_code: *key_code,
            text: text.map(str::to_owned),
        });
    }
    let number = name.strip_prefix('F')?.parse::<u16>().ok().filter(|n| (1..=12).contains(n))?;
    Some(Stroke {
        modifiers: 0,
        key: name.to_owned(),
        code: name.to_owned(),
        key_code: 111 + number,
        text: None,
    })
}

fn lettered(text: &str) -> Option<Stroke> {
    let mut letters = text.chars();
    let letter = letters.next().filter(|letter| !letter.is_control())?;
    if letters.next().is_some() {
        return None;
    }
    let upper = letter.to_ascii_uppercase();
    let (code, key_code, shift) = if letter.is_ascii_alphabetic() {
        let code = u32::from(upper).try_into().unwrap_or(0);
        (format!("Key{upper}"), code, letter.is_ascii_uppercase())
    } else if letter.is_ascii_digit() {
        let code = u32::from(letter).try_into().unwrap_or(0);
        (format!("Digit{letter}"), code, false)
    } else if let Some(digit) = SHIFTED_DIGITS.find(letter) {
        (format!("Digit{digit}"), 48 + u16::try_from(digit).unwrap_or(0), true)
    } else if let Some((plain, _, code, key_code)) =
        SIGNS.iter().find(|(plain, shifted, ..)| *plain == letter || *shifted == letter)
    {
        ((*code).to_owned(), *key_code, *plain != letter)
    } else {
        (String::new(), 0, false) // Not on this keyboard; the text is inserted instead.
    };
    let modifiers = if shift { 8 } else { 0 };
    let key = letter.to_string();
    Some(Stroke { modifiers, text: Some(key.clone()), key, code, key_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(u8, &str, &str, u16, Option<&str>)>) {
        let found = parse(text);
        let found = found.as_ref().map(|stroke| {
            let typed = stroke.text.as_deref();
            (stroke.modifiers, stroke.key.as_str(), stroke.code.as_str(), stroke.key_code, typed)
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn keys_are_found_by_name_and_by_what_they_type() {
        check("Enter", Some((0, "Enter", "Enter", 13, Some("\r"))));
        check("a", Some((0, "a", "KeyA", 65, Some("a"))));
        check("A", Some((8, "A", "KeyA", 65, Some("A"))));
        check("Shift+a", Some((8, "A", "KeyA", 65, Some("A"))));
        check("Control+A", Some((10, "A", "KeyA", 65, None)));
        check("Control+a", Some((2, "a", "KeyA", 65, None)));
        check("+", Some((8, "+", "Equal", 187, Some("+"))));
        check("Control++", Some((10, "+", "Equal", 187, None)));
        check("@", Some((8, "@", "Digit2", 50, Some("@"))));
        check("Space", Some((0, " ", "Space", 32, Some(" "))));
        check("F5", Some((0, "F5", "F5", 116, None)));
        check("ü", Some((0, "ü", "", 0, Some("ü"))));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "Hello", "F13", "Hyper+a", "Control+"] {
            check(text, None);
        }
    }
}
