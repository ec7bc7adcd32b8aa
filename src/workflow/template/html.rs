//! Filters that write or read HTML.

use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::value::{Rest, Value, ValueOrKwargs};
use minijinja::{Error, State};
use regex::Regex;

use super::filters::{Args, afford};
use super::objects::invalid;

static COMMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("(?s)<!--.*?-->").ok());
static ELEMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("(?s)<.*?>").ok());

pub(super) fn striptags(value: &Value) -> String {
    let mut text = value.to_string();
    for pattern in [&COMMENT, &ELEMENT].into_iter().filter_map(|pattern| pattern.as_ref()) {
        text = pattern.replace_all(&text, "").into_owned();
    }
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    unescaped(&plain)
}

/// Decodes all numeric entities, and the named entities that pages use most.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        result.push_str(before);
        let known = after.split_once(';').and_then(|(name, after)| {
            let number = name.strip_prefix('#').filter(|number| !number.contains('+'));
            let code = number.and_then(|number| match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => number.parse().ok(),
            });
            let letter = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => '\u{a0}',
                "copy" => '©',
                "reg" => '®',
                "euro" => '€',
                "pound" => '£',
                "mdash" => '—',
                "ndash" => '–',
                "hellip" => '…',
                "laquo" => '«',
                "raquo" => '»',
                "auml" => 'ä',
                "ouml" => 'ö',
                "uuml" => 'ü',
                "Auml" => 'Ä',
                "Ouml" => 'Ö',
                "Uuml" => 'Ü',
                "szlig" => 'ß',
                "eacute" => 'é',
                "egrave" => 'è',
                "agrave" => 'à',
                "ccedil" => 'ç',
                "deg" => '°',
                "middot" => '·',
                "bull" => '•',
                "rsquo" => '’',
                "lsquo" => '‘',
                "rdquo" => '”',
                "ldquo" => '“',
                "trade" => '™',
                "times" => '×',
                _ => char::from_u32(code?)?,
            };
            Some((letter, after))
        });
        match known {
            Some((letter, after)) => {
                result.push(letter);
                rest = after;
            }
            None => {
                result.push('&');
                rest = after;
            }
        }
    }
    result.push_str(rest);
    result
}

const LINK: &str = r"(?i)^(?:(?:https?://|www\.)(?:(?:[\w%-]+\.)+)?(?:[a-z]{2,63}|xn--[\w%]{2,59})|(?:[\w%-]{2,63}\.)+(?:com|net|int|edu|gov|org|info|mil)|https?://(?:\d{1,3}(?:\.\d{1,3}){3}|\[(?:[\da-f]{0,4}:){2}(?:[\da-f]{0,4}:?){1,6}\]))(?::\d{1,5})?(?:[/?#]\S*)?$";
static LINKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LINK).ok());
static ADDRESSES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\S+@\w[\w.-]*\.\w+$").ok());

pub(super) fn urlize(
    state: &mut State<'_, '_>,
    value: &Value,
    rest: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let args = Args::new(rest, &["trim_url_limit", "nofollow", "target", "rel"])?;
    let limit = args.size("trim_url_limit")?;
    let mut relations: Vec<String> =
        args.text("rel")?.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if args.flag("nofollow")?.unwrap_or(false) {
        relations.push("nofollow".to_owned());
    }
    relations.push("noopener".to_owned());
    relations.sort();
    relations.dedup();
    let mut attributes = format!(" rel=\"{}\"", escaped(&relations.join(" ")));
    if let Some(target) = args.text("target")? {
        let _infallible = write!(attributes, " target=\"{}\"", escaped(&target));
    }
    let text = escaped(&value.to_string());
    let words = text.split_whitespace().count();
    let links = words.saturating_mul(attributes.len());
    afford(state, text.len().saturating_mul(3).saturating_add(links))?;
    let mut result = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        result.push_str(&linked(word, limit, &attributes));
        result.push_str(piece.strip_prefix(word).unwrap_or_default());
    }
    Ok(result)
}

fn linked(word: &str, limit: Option<usize>, attributes: &str) -> String {
    let mut middle = word;
    while let Some(inner) =
        ["(", "<", "&lt;"].into_iter().find_map(|sign| middle.strip_prefix(sign))
    {
        middle = inner;
    }
    let head = word.strip_suffix(middle).unwrap_or_default();
    let whole = middle;
    while let Some(inner) =
        [")", ">", ".", ",", "&gt;"].into_iter().find_map(|sign| middle.strip_suffix(sign))
    {
        middle = inner;
    }
    // A closing bracket belongs to the URL if its opening bracket is within it.
    for (open, close) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
        while middle.matches(open).count() > middle.matches(close).count() {
            let tail = whole.strip_prefix(middle).unwrap_or_default();
            let Some(at) = tail.find(close) else { break };
            let end = middle.len() + at + close.len();
            middle = whole.get(..end).unwrap_or(middle);
        }
    }
    let tail = whole.strip_prefix(middle).unwrap_or_default();
    let is = |pattern: &Option<Regex>, text: &str| {
        pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
    };
    let shown = match limit {
        Some(limit) if middle.chars().count() > limit => {
            middle.chars().take(limit).collect::<String>() + "..."
        }
        Some(_) | None => middle.to_owned(),
    };
    let link = if is(&LINKS, middle) {
        let scheme = if middle.starts_with("http://") || middle.starts_with("https://") {
            ""
        } else {
            "https://"
        };
        format!("<a href=\"{scheme}{middle}\"{attributes}>{shown}</a>")
    } else if let Some(address) =
        middle.strip_prefix("mailto:").filter(|address| is(&ADDRESSES, address))
    {
        format!("<a href=\"{middle}\">{address}</a>")
    } else if !middle.starts_with("www.")
        && !middle.starts_with('@')
        && !middle.contains(':')
        && is(&ADDRESSES, middle)
    {
        format!("<a href=\"mailto:{middle}\">{middle}</a>")
    } else {
        middle.to_owned()
    };
    format!("{head}{link}{tail}")
}

pub(super) fn xmlattr(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let spaced = Args::new(rest, &["autospace"])?.flag("autospace")?.unwrap_or(true);
    let mut result = String::new();
    for key in value.try_iter()? {
        let inner = value.get_item(&key)?;
        if inner.is_none() || inner.is_undefined() {
            continue;
        }
        let key = key.to_string();
        if key.contains(|letter: char| letter.is_whitespace() || "/>=".contains(letter)) {
            return Err(invalid(format!("Invalid character in attribute name: '{key}'")));
        }
        if spaced || !result.is_empty() {
            result.push(' ');
        }
        let _infallible = write!(result, "{}=\"{}\"", escaped(&key), escape_value(&inner));
    }
    Ok(result)
}

fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&#34;"),
            '\'' => result.push_str("&#39;"),
            other => result.push(other),
        }
    }
    result
}

fn escape_value(value: &Value) -> String {
    if value.is_safe() { value.to_string() } else { escaped(&value.to_string()) }
}

pub(super) fn escape(value: &Value) -> Value {
    Value::from_safe_string(escape_value(value))
}

pub(super) fn force_escape(value: &Value) -> Value {
    Value::from_safe_string(escaped(&value.to_string()))
}
