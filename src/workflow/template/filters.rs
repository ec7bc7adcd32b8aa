//! Filters and functions of Jinja2 that the engine lacks or implements differently.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, Output, State, escape_formatter};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::objects::{self, Namespace, frozen, invalid};
use super::{JSON_MARK, format, html, python, wrap};

/// Adds all filters, functions and tests to the environment.
pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter(objects::BOUNDED, objects::bounded);
    environment.add_filter(objects::REMAINDER, format::remainder);
    environment.add_function(objects::SET_ATTRIBUTE, objects::set_attribute);
    // Removed, as it reveals every value of the run and the internal state of the engine.
    environment.remove_global("debug");
    environment.add_function("namespace", objects::namespace);
    environment.add_function("cycler", objects::cycler);
    environment.add_function("joiner", objects::joiner);
    environment.add_function("lipsum", lipsum);
    environment.add_test("callable", callable);

    environment.add_filter("format", format::format_filter);
    environment.add_filter("json", json);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("center", center);
    environment.add_filter("striptags", html::striptags);
    environment.add_filter("filesizeformat", filesizeformat);
    environment.add_filter("urlize", html::urlize);
    environment.add_filter("xmlattr", html::xmlattr);
    environment.add_filter("random", random);
    environment.add_filter("escape", html::escape);
    environment.add_filter("e", html::escape);
    environment.add_filter("forceescape", html::force_escape);
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
pub(super) struct Args {
    given: Vec<Value>,
    named: Kwargs,
    names: &'static [&'static str],
}

impl Args {
    pub(super) fn new(
        rest: Rest<ValueOrKwargs>,
        names: &'static [&'static str],
    ) -> Result<Self, Error> {
        let all = rest.into_values();
        let (given, named): (&[Value], Kwargs) = from_args(&all)?;
        if given.len() > names.len() {
            return Err(invalid(format!("expected at most {} arguments", names.len())));
        }
        let given = given.to_vec();
        Ok(Self { given, named, names })
    }

    pub(super) fn value(&self, name: &str) -> Result<Option<Value>, Error> {
        let position = self.names.iter().position(|known| *known == name);
        let given = position.and_then(|at| self.given.get(at)).cloned();
        let named = if self.named.has(name) { Some(self.named.get::<Value>(name)?) } else { None };
        Ok(given.or(named).filter(|value| !value.is_none() && !value.is_undefined()))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.value(name)?.map(|value| value.to_string()))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        Ok(self.value(name)?.map(|value| value.is_true()))
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<usize>, Error> {
        let value = self.value(name)?;
        value
            .map(|value| {
                value.as_usize().ok_or_else(|| invalid(format!("`{name}` is not a whole number")))
            })
            .transpose()
    }
}

/// Consumes fuel for `bytes` of output. An error if too little fuel is left, or the output is too
/// large.
pub(super) fn afford(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes / 64).unwrap_or(u64::MAX))?;
    if bytes > 16 << 20 {
        return Err(invalid("the text is too large"));
    }
    Ok(())
}

/// Returns the value wrapped in marks. A text that consists only of it becomes the value itself, not
/// its text.
fn json(state: &mut State<'_, '_>, value: &Value) -> Result<String, Error> {
    let value = frozen(state, value, 0)?;
    let text = serde_json::to_string(&value)
        .map_err(|error| invalid(format!("the value is not JSON: {error}")))?;
    Ok(format!("{JSON_MARK}{text}{JSON_MARK}"))
}

fn callable(value: &Value) -> bool {
    let of_engine = value.as_object().is_some_and(|object| {
        let name = object.type_name();
        name.contains("Function") || name.contains("::Macro") || name.contains("Joiner")
    });
    of_engine && value.kind() != ValueKind::Undefined
}

/// The bytes that Jinja2 escapes in a query: all but ASCII letters, digits and four marks.
const IN_QUERY: AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');
/// The bytes that Jinja2 escapes in a path.
const IN_PATH: AsciiSet = IN_QUERY.remove(b'/');

fn quoted(text: &str, query: bool) -> String {
    if query {
        return utf8_percent_encode(text, &IN_QUERY).to_string().replace("%20", "+");
    }
    utf8_percent_encode(text, &IN_PATH).to_string()
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

/// Centers a text as Python does: an odd space goes to the left only if the width is odd too.
pub(super) fn centered(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    let fill = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
    format!("{}{text}{}", fill(left), fill(missing - left))
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

fn random(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let letters: Vec<char> = text.chars().collect();
        return Ok(letters.choose(&mut rand::rng()).map_or(Value::UNDEFINED, |it| (*it).into()));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    Ok(items.choose(&mut rand::rng()).cloned().unwrap_or(Value::UNDEFINED))
}

/// Returns the host and port of a URL.
fn domain(value: &Value) -> String {
    let text = value.to_string();
    let rest = text.split_once("//").map_or("", |(_scheme, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() { text } else { host.to_owned() }
}

/// Converts to a whole number, or returns the default.
fn int(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Args::new(rest, &["default", "base"])?;
    let default = args.value("default")?.unwrap_or_else(|| Value::from(0));
    let base = u32::try_from(args.size("base")?.unwrap_or(10)).unwrap_or(0);
    if !(2..=36).contains(&base) {
        return Err(invalid("`base` must be between 2 and 36"));
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
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let prefix = match base {
        2 => ["0b", "0B"],
        8 => ["0o", "0O"],
        16 => ["0x", "0X"],
        _ => ["", ""],
    };
    let plain = prefix.iter().find_map(|it| digits.strip_prefix(it)).unwrap_or(digits);
    let sign = if text.starts_with('-') { "-" } else { "" };
    let number = i128::from_str_radix(&format!("{sign}{plain}"), base).ok();
    if let Some(number) = number.filter(|_number| !plain.starts_with(['-', '+'])) {
        return Ok(Value::from(number));
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    Ok(number.and_then(whole).unwrap_or(default))
}

/// Returns the whole part of a number.
fn whole(number: f64) -> Option<Value> {
    format!("{:.0}", number.trunc()).parse::<i128>().ok().map(Value::from)
}

/// Converts to a number, or returns the default.
fn float(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let default = Args::new(rest, &["default"])?.value("default")?;
    let number = match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0.0)))
}

/// Returns an attribute; the fields of an object are not attributes.
fn attr(value: &Value, name: &str) -> Result<Value, Error> {
    let object = value.kind() == ValueKind::Map
        && value.downcast_object_ref::<Namespace>().is_none()
        && !objects::is_of_the_engine(value);
    if object { Ok(Value::UNDEFINED) } else { value.get_attr(name) }
}

/// Writes JSON as Jinja2 does: safe in HTML, with sorted keys.
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

/// Implements `dict(…)` for an object or a list of pairs, and named values.
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

/// Formats a value as Python does.
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

/// Implements `lipsum(n, html, min, max)`.
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
