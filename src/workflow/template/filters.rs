//! Filters and functions of Jinja2 that the engine does not have, or has otherwise.

use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, Output, State, escape_formatter};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use regex::Regex;

use super::objects::{self, Namespace, frozen, invalid};
use super::{JSON_MARK, python, wrap};

/// Adds them all.
pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter(objects::BOUNDED, objects::bounded);
    environment.add_filter(objects::REMAINDER, remainder);
    environment.add_function(objects::SET_ATTRIBUTE, objects::set_attribute);
    // Shows every value that a run knows, and what the engine is at.
    environment.remove_global("debug");
    environment.add_function("namespace", objects::namespace);
    environment.add_function("cycler", objects::cycler);
    environment.add_function("joiner", objects::joiner);
    environment.add_function("lipsum", lipsum);
    environment.add_test("callable", callable);

    environment.add_filter("format", format_filter);
    environment.add_filter("json", json);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("center", center);
    environment.add_filter("striptags", striptags);
    environment.add_filter("filesizeformat", filesizeformat);
    environment.add_filter("urlize", urlize);
    environment.add_filter("xmlattr", xmlattr);
    environment.add_filter("random", random);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("forceescape", force_escape);
    environment.add_filter("domain", domain);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("attr", attr);
    environment.add_filter("tojson", tojson);
    environment.add_filter("pprint", pprint);
    environment.add_function("dict", dict);
    environment.set_formatter(write);
}

/// The arguments of a filter by position or by name.
struct Args {
    given: Vec<Value>,
    named: Kwargs,
    names: &'static [&'static str],
}

impl Args {
    fn new(rest: Rest<ValueOrKwargs>, names: &'static [&'static str]) -> Result<Self, Error> {
        let all = rest.into_values();
        let (given, named): (&[Value], Kwargs) = from_args(&all)?;
        if given.len() > names.len() {
            return Err(invalid(format!("expected at most {} arguments", names.len())));
        }
        let given = given.to_vec();
        Ok(Self { given, named, names })
    }

    fn value(&self, name: &str) -> Result<Option<Value>, Error> {
        let position = self.names.iter().position(|known| *known == name);
        let given = position.and_then(|at| self.given.get(at)).cloned();
        let named = if self.named.has(name) { Some(self.named.get::<Value>(name)?) } else { None };
        Ok(given.or(named).filter(|value| !value.is_none() && !value.is_undefined()))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.value(name)?.map(|value| value.to_string()))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        Ok(self.value(name)?.map(|value| value.is_true()))
    }

    fn size(&self, name: &str) -> Result<Option<usize>, Error> {
        let value = self.value(name)?;
        value
            .map(|value| {
                value.as_usize().ok_or_else(|| invalid(format!("`{name}` is not a whole number")))
            })
            .transpose()
    }
}

/// Refuses what the rest of the work of a template could not pay for.
pub(super) fn afford(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes / 64).unwrap_or(u64::MAX))?;
    if bytes > 16 << 20 {
        return Err(invalid("the text is too large"));
    }
    Ok(())
}

/// The value itself and not its text, where a text is nothing but this.
fn json(state: &mut State<'_, '_>, value: &Value) -> Result<String, Error> {
    let value = frozen(state, value, 0)?;
    let text = serde_json::to_string(&value)
        .map_err(|error| invalid(format!("the value is not JSON: {error}")))?;
    Ok(format!("{JSON_MARK}{text}{JSON_MARK}"))
}

/// `a % b`: of texts a format, of numbers the remainder.
fn remainder(state: &mut State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let args: Vec<Value> =
            if right.is_tuple() { right.try_iter()?.collect() } else { vec![right.clone()] };
        return printf(state, text, args);
    }
    let expression = state.env().compile_expression("a % b")?;
    expression.eval(Value::from_pairs([("a", left.clone()), ("b", right.clone())]))
}

/// The filter `format`.
fn format_filter(
    state: &mut State<'_, '_>,
    value: &Value,
    rest: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let all = rest.into_values();
    let (given, named): (&[Value], Kwargs) = from_args(&all)?;
    let mut pairs = Vec::new();
    for name in named.args() {
        pairs.push((name.to_owned(), named.get::<Value>(name)?));
    }
    let text = value.to_string();
    match (given, pairs.is_empty()) {
        (given, true) => printf(state, &text, given.to_vec()),
        ([], false) => printf(state, &text, vec![Value::from_pairs(pairs)]),
        (_, false) => Err(invalid("format takes values by place or by name, not both")),
    }
}

/// Formats as Python's `%` does.
fn printf(state: &State<'_, '_>, text: &str, args: Vec<Value>) -> Result<Value, Error> {
    let (text, args) = ascii_keys(text, args)?;
    afford_format(state, &text, &args)?;
    format(FormatStyle::Printf, &text, &args).map(Value::from)
}

/// The same format with other names for its keys: the engine reads keys of ASCII only.
fn ascii_keys(text: &str, args: Vec<Value>) -> Result<(String, Vec<Value>), Error> {
    if text.is_ascii() || !text.contains("%(") {
        return Ok((text.to_owned(), args));
    }
    let mapping = match args.as_slice() {
        [mapping] if mapping.kind() == ValueKind::Map => Some(mapping),
        _ => None,
    };
    let mut pairs: Vec<(String, Value)> = Vec::new();
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        result.push('%');
        rest = after;
        if let Some(literal) = rest.strip_prefix('%') {
            result.push('%');
            rest = literal;
        } else if let Some(named) = rest.strip_prefix('(') {
            let (key, after) =
                named.split_once(')').ok_or_else(|| invalid("incomplete format key"))?;
            let mapping = mapping.ok_or_else(|| invalid("format requires a mapping"))?;
            let known = mapping.try_iter()?.any(|it| it.as_str() == Some(key));
            if !known {
                return Err(invalid(format!("there is no value for the key `{key}`")));
            }
            let _infallible = write!(result, "(k{})", pairs.len());
            pairs.push((format!("k{}", pairs.len()), mapping.get_attr(key)?));
            rest = after;
        }
    }
    result.push_str(rest);
    let args = if mapping.is_some() { vec![Value::from_pairs(pairs)] } else { args };
    Ok((result, args))
}

/// Refuses a format that would be too long: by its widths, and by how often it writes a value.
pub(super) fn afford_format(
    state: &State<'_, '_>,
    text: &str,
    args: &[Value],
) -> Result<(), Error> {
    let length = |value: &Value| value.as_str().map_or_else(|| value.to_string().len(), str::len);
    let longest = args.iter().map(length).max().unwrap_or_default();
    let fields = text.matches(['%', '{']).count();
    let written = fields.saturating_mul(longest);
    afford(state, text.len().saturating_add(widths(text)).saturating_add(written))
}

/// The sum of all numbers in a format, which bounds what it adds by widths.
fn widths(text: &str) -> usize {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .fold(0, usize::saturating_add)
}

fn callable(value: &Value) -> bool {
    let of_engine = value.as_object().is_some_and(|object| {
        let name = object.type_name();
        name.contains("Function") || name.contains("::Macro") || name.contains("Joiner")
    });
    of_engine && value.kind() != ValueKind::Undefined
}

fn quoted(text: &str, query: bool) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                result.push(char::from(byte));
            }
            b'/' if !query => result.push('/'),
            b' ' if query => result.push('+'),
            other => {
                let _infallible = write!(result, "%{other:02X}");
            }
        }
    }
    result
}

fn urlencode(value: &Value) -> Result<String, Error> {
    let pair = |key: &Value, value: &Value| {
        format!("{}={}", quoted(&key.to_string(), true), quoted(&value.to_string(), true))
    };
    let mut pairs = Vec::new();
    let kind = value.kind();
    if kind == ValueKind::Map {
        for key in value.try_iter()? {
            pairs.push(pair(&key, &value.get_item(&key)?));
        }
    } else if matches!(kind, ValueKind::Seq | ValueKind::Iterable) {
        for item in value.try_iter()? {
            pairs.push(pair(&item.get_item_by_index(0)?, &item.get_item_by_index(1)?));
        }
    } else {
        return Ok(quoted(&value.to_string(), false));
    }
    Ok(pairs.join("&"))
}

fn truncate(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = Args::new(rest, &["length", "killwords", "end", "leeway"])?;
    let length = args.size("length")?.unwrap_or(255);
    let end = args.text("end")?.unwrap_or_else(|| "...".to_owned());
    let leeway = args.size("leeway")?.unwrap_or(5);
    let text = value.to_string();
    let room = length.checked_sub(end.chars().count()).ok_or_else(|| {
        invalid(format!("expected length >= {}, got {length}", end.chars().count()))
    })?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut: String = text.chars().take(room).collect();
    if args.flag("killwords")?.unwrap_or(false) {
        return Ok(cut + &end);
    }
    Ok(cut.rsplit_once(' ').map_or(cut.as_str(), |(before, _word)| before).to_owned() + &end)
}

fn wordcount(value: &Value) -> usize {
    let word = |letter: char| letter == '_' || letter.is_alphanumeric();
    value.to_string().split(|letter| !word(letter)).filter(|word| !word.is_empty()).count()
}

fn wordwrap(
    state: &mut State<'_, '_>,
    value: &Value,
    rest: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let args = Args::new(rest, &["width", "break_long_words", "wrapstring", "break_on_hyphens"])?;
    let width = args.size("width")?.unwrap_or(79);
    if width == 0 {
        return Err(invalid("invalid width 0 (must be > 0)"));
    }
    let break_words = args.flag("break_long_words")?.unwrap_or(true);
    let break_hyphens = args.flag("break_on_hyphens")?.unwrap_or(true);
    let separator = args.text("wrapstring")?.unwrap_or_else(|| "\n".to_owned());
    let text = value.to_string();
    let breaks = text.lines().count().saturating_add(text.chars().count() / width);
    afford(state, text.len().saturating_add(breaks.saturating_mul(separator.len() + 1)))?;
    let lines = text
        .lines()
        .map(|line| wrap::lines(line, width, break_words, break_hyphens).join(separator.as_str()));
    Ok(lines.collect::<Vec<_>>().join(separator.as_str()))
}

fn center(
    state: &mut State<'_, '_>,
    value: &Value,
    rest: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let width = Args::new(rest, &["width"])?.size("width")?.unwrap_or(80);
    afford(state, width)?;
    Ok(centered(&value.to_string(), width, ' '))
}

/// As Python centers: the odd one goes to the left only if the width is odd, too.
pub(super) fn centered(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    let fill = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
    format!("{}{text}{}", fill(left), fill(missing - left))
}

static COMMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("(?s)<!--.*?-->").ok());
static ELEMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("(?s)<.*?>").ok());

fn striptags(value: &Value) -> String {
    let mut text = value.to_string();
    for pattern in [&COMMENT, &ELEMENT].into_iter().filter_map(|pattern| pattern.as_ref()) {
        text = pattern.replace_all(&text, "").into_owned();
    }
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    unescaped(&plain)
}

/// The named entities that pages use most, and all numbered ones.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        result.push_str(before);
        let known = after.split_once(';').and_then(|(name, after)| {
            let code =
                name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
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

fn filesizeformat(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let binary = Args::new(rest, &["binary"])?.flag("binary")?.unwrap_or(false);
    let bytes: f64 = match f64::try_from(value.clone()) {
        Ok(bytes) => bytes,
        Err(_not_a_number) => value
            .to_string()
            .trim()
            .parse()
            .map_err(|error| invalid(format!("`{value}` is not a number: {error}")))?,
    };
    let (base, letters) = if binary { (1024.0, "KMGTPEZY") } else { (1000.0, "kMGTPEZY") };
    let unit = if binary { "iB" } else { "B" };
    if bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()));
    }
    let mut size = bytes / base;
    for letter in letters.chars() {
        if size < base || letter == 'Y' {
            return Ok(format!("{size:.1} {letter}{unit}"));
        }
        size /= base;
    }
    Ok(format!("{size:.1} Y{unit}"))
}

const LINK: &str = r"(?i)^(?:(?:https?://|www\.)(?:(?:[\w%-]+\.)+)?(?:[a-z]{2,63}|xn--[\w%]{2,59})|(?:[\w%-]{2,63}\.)+(?:com|net|int|edu|gov|org|info|mil)|https?://(?:\d{1,3}(?:\.\d{1,3}){3}|\[(?:[\da-f]{0,4}:){2}(?:[\da-f]{0,4}:?){1,6}\]))(?::\d{1,5})?(?:[/?#]\S*)?$";
static LINKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LINK).ok());
static ADDRESSES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\S+@\w[\w.-]*\.\w+$").ok());

fn urlize(
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
    // Brackets that were opened within belong to it.
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

fn xmlattr(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
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

fn random(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let letters: Vec<char> = text.chars().collect();
        return Ok(letters.choose(&mut rand::rng()).map_or(Value::UNDEFINED, |it| (*it).into()));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    Ok(items.choose(&mut rand::rng()).cloned().unwrap_or(Value::UNDEFINED))
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

fn escape(value: &Value) -> Value {
    Value::from_safe_string(escape_value(value))
}

fn force_escape(value: &Value) -> Value {
    Value::from_safe_string(escaped(&value.to_string()))
}

/// The host and port of a URL.
fn domain(value: &Value) -> String {
    let text = value.to_string();
    let rest = text.split_once("//").map_or("", |(_scheme, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() { text } else { host.to_owned() }
}

/// A whole number, or the default.
fn int(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(rest, &["default", "base"])?;
    let default = args.value("default")?.unwrap_or_else(|| Value::from(0));
    let base = u32::try_from(args.size("base")?.unwrap_or(10)).unwrap_or(0);
    if !(2..=36).contains(&base) {
        return Err(invalid("`base` is between 2 and 36"));
    }
    let Some(text) = value.as_str() else {
        if value.kind() == ValueKind::Bool {
            return Ok(Value::from(i64::from(value.is_true())));
        }
        if value.is_integer() {
            return Ok(value.clone());
        }
        let number = f64::try_from(value.clone()).ok().filter(|number| number.is_finite());
        return Ok(number.and_then(whole).unwrap_or(default));
    };
    let text = text.trim().replace('_', "");
    let digits = text.trim_start_matches(['-', '+']);
    let prefix = match base {
        2 => ["0b", "0B"],
        8 => ["0o", "0O"],
        16 => ["0x", "0X"],
        _ => ["", ""],
    };
    let plain = prefix.iter().find_map(|it| digits.strip_prefix(it)).unwrap_or(digits);
    let sign = if text.starts_with('-') { "-" } else { "" };
    if let Ok(number) = i128::from_str_radix(&format!("{sign}{plain}"), base) {
        return Ok(Value::from(number));
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    Ok(number.and_then(whole).unwrap_or(default))
}

/// The whole part of a number.
fn whole(number: f64) -> Option<Value> {
    format!("{:.0}", number.trunc()).parse::<i128>().ok().map(Value::from)
}

/// A number, or the default.
fn float(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let default = Args::new(rest, &["default"])?.value("default")?;
    let number = match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0.0)))
}

/// An attribute, which the fields of an object are not.
fn attr(value: &Value, name: &str) -> Result<Value, Error> {
    let object = value.kind() == ValueKind::Map
        && value.downcast_object_ref::<Namespace>().is_none()
        && !objects::is_of_the_engine(value);
    if object { Ok(Value::UNDEFINED) } else { value.get_attr(name) }
}

/// JSON that is safe in HTML, its keys in order, as Jinja2 writes it.
fn tojson(
    state: &mut State<'_, '_>,
    value: &Value,
    rest: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let indent = Args::new(rest, &["indent"])?.size("indent")?;
    let value = frozen(state, value, 0)?;
    let value = serde_json::to_value(&value)
        .map_err(|error| invalid(format!("the value is not JSON: {error}")))?;
    let mut text = String::new();
    python::json(&value, indent.map(|indent| indent.min(32)), 0, &mut text);
    Ok(Value::from_safe_string(text))
}

fn pprint(state: &mut State<'_, '_>, value: &Value) -> Result<String, Error> {
    let value = frozen(state, value, 0)?;
    Ok(python::pretty(&value, 0, 0))
}

/// `dict(…)` of an object or of pairs, and of named values.
fn dict(state: &mut State<'_, '_>, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let all = rest.into_values();
    let (given, named): (Option<&Value>, Kwargs) = from_args(&all)?;
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(given) = given {
        let object = given.kind() == ValueKind::Map;
        for item in given.try_iter()? {
            state.consume_fuel(1)?;
            pairs.push(if object {
                let value = given.get_item(&item)?;
                (item, value)
            } else {
                (item.get_item_by_index(0)?, item.get_item_by_index(1)?)
            });
        }
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// Writes a value as Python does.
fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_number()
        && !value.is_integer()
        && let Ok(number) = f64::try_from(value.clone())
        && let Some(text) = python::exponent(number)
    {
        return out.write_str(&text).map_err(Error::from);
    }
    escape_formatter(out, state, value)
}

const WORDS: &[&str] = &[
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetuer",
    "adipiscing",
    "elit",
    "sed",
    "diam",
    "nonummy",
    "nibh",
    "euismod",
    "tincidunt",
    "ut",
    "laoreet",
    "dolore",
    "magna",
    "aliquam",
    "erat",
    "volutpat",
    "wisi",
    "enim",
    "ad",
    "minim",
    "veniam",
    "quis",
    "nostrud",
    "exerci",
    "tation",
    "ullamcorper",
    "suscipit",
    "lobortis",
    "nisl",
    "aliquip",
    "ex",
    "ea",
    "commodo",
    "consequat",
    "duis",
    "autem",
    "vel",
    "eum",
    "iriure",
    "in",
    "hendrerit",
    "vulputate",
    "velit",
];

/// `lipsum(n, html, min, max)`.
fn lipsum(state: &mut State<'_, '_>, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(rest, &["n", "html", "min", "max"])?;
    let count = args.size("n")?.unwrap_or(5);
    let html = args.flag("html")?.unwrap_or(true);
    let (least, most) = (args.size("min")?.unwrap_or(20), args.size("max")?.unwrap_or(100));
    if least >= most {
        return Err(invalid("lipsum needs a `min` below its `max`"));
    }
    afford(state, count.saturating_mul(most).saturating_mul(16))?;
    let mut random = rand::rng();
    let paragraphs: Vec<String> = (0..count)
        .map(|_paragraph| {
            let words: Vec<&str> = (0..random.random_range(least..most))
                .filter_map(|_word| WORDS.choose(&mut random).copied())
                .collect();
            let mut letters = words.join(" ").chars().collect::<Vec<_>>().into_iter();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!("{first}{}.", letters.collect::<String>())
        })
        .collect();
    if html {
        let marked = paragraphs.iter().map(|text| format!("<p>{text}</p>")).collect::<Vec<_>>();
        return Ok(Value::from_safe_string(marked.join("\n")));
    }
    Ok(Value::from(paragraphs.join("\n\n")))
}
