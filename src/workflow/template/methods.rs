//! Methods of Python's texts, lists and mappings that the engine's own set lacks.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::filters::{afford, centered};
use super::format::afford_format;
use super::objects::{Encoded, invalid};

/// The maximum width to which a method pads a text.
const WIDEST: usize = 1 << 20;

/// Calls a method that the type of the value does not have in the engine.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let kind = value.kind();
    let own = if let Some(text) = value.as_str() {
        if method == "join" {
            return joined(state, text, args);
        }
        afford_method(state, text, method, args)?;
        of_text(text, method, args)?
    } else if kind == ValueKind::Seq {
        of_list(value, method, args)?
    } else if kind == ValueKind::Map {
        of_mapping(value, method, args)?
    } else if kind == ValueKind::Number {
        of_number(value, method, args)?
    } else {
        None
    };
    match own {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// Rejects a method call whose result would be too long.
fn afford_method(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<(), Error> {
    let argument = |at: usize| args.get(at).and_then(Value::as_str).unwrap_or_default();
    match method {
        "format" => afford_format(state, text, args),
        "replace" => {
            let count = match argument(0) {
                "" => text.chars().count().saturating_add(1),
                old => text.matches(old).count(),
            };
            let more = count.saturating_mul(argument(1).len());
            afford(state, text.len().saturating_add(more))
        }
        "expandtabs" => {
            let tabs = text.matches('\t').count();
            afford(state, text.len().saturating_add(tabs.saturating_mul(256)))
        }
        _ => Ok(()),
    }
}

/// Implements the method `', '.join(values)`.
fn joined(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (values,): (&Value,) = from_args(args)?;
    let mut result = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        if index > 0 {
            result.push_str(text);
        }
        let item = value.to_string();
        result.push_str(&item);
        afford(state, text.len().saturating_add(item.len()).saturating_add(64))?;
        if result.len() > LONGEST {
            return Err(invalid("the text is too large"));
        }
    }
    Ok(Value::from(result))
}

/// The maximum size of a text that a method returns, in bytes.
const LONGEST: usize = 16 << 20;

/// Converts a byte offset to an index in characters.
fn place(text: &str, bytes: usize) -> i64 {
    let before = text.get(..bytes).unwrap_or_default();
    i64::try_from(before.chars().count()).unwrap_or(i64::MAX)
}

/// Returns a slice of a text by character indices, as Python slices, with its byte offset.
fn between(text: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let absolute = |at: i64| if at < 0 { at.saturating_add(count).max(0) } else { at.min(count) };
    let byte = |at: i64| {
        let letters = usize::try_from(at).unwrap_or_default();
        text.char_indices().nth(letters).map_or(text.len(), |(byte, _letter)| byte)
    };
    let from = byte(absolute(start.unwrap_or(0)));
    let to = byte(absolute(end.unwrap_or(count))).max(from);
    (from, text.get(from..to).unwrap_or_default())
}

fn padded(args: &[Value]) -> Result<(usize, char), Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or_default();
    if width > WIDEST {
        return Err(invalid("the width is too large"));
    }
    let mut letters = fill.unwrap_or(" ").chars();
    match (letters.next(), letters.next()) {
        (Some(fill), None) => Ok((width, fill)),
        _ => Err(invalid("the fill character must be exactly one character long")),
    }
}

fn filled(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    std::iter::repeat_n(fill, missing).collect()
}

fn three(before: &str, sign: &str, after: &str) -> Value {
    Value::from(Tuple::from(vec![Value::from(before), Value::from(sign), Value::from(after)]))
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match method {
        "index" | "rindex" | "find" | "rfind" => {
            let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let (offset, part) = between(text, start, end);
            let found = if method.starts_with('r') { part.rfind(what) } else { part.find(what) };
            match found {
                Some(at) => Value::from(place(text, offset + at)),
                None if method.ends_with("index") => return Err(invalid("substring not found")),
                None => Value::from(-1),
            }
        }
        "count" => {
            let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let (_offset, part) = between(text, start, end);
            Value::from(part.matches(what).count())
        }
        "partition" => {
            let (sign,): (&str,) = from_args(args)?;
            match text.split_once(sign) {
                Some((before, after)) => three(before, sign, after),
                None => three(text, "", ""),
            }
        }
        "rpartition" => {
            let (sign,): (&str,) = from_args(args)?;
            match text.rsplit_once(sign) {
                Some((before, after)) => three(before, sign, after),
                None => three("", "", text),
            }
        }
        "swapcase" => {
            let () = from_args(args)?;
            let turned = text.chars().flat_map(|letter| {
                let turned: Vec<char> = if letter.is_uppercase() {
                    letter.to_lowercase().collect()
                } else {
                    letter.to_uppercase().collect()
                };
                turned
            });
            Value::from(turned.collect::<String>())
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "title" => {
            let () = from_args(args)?;
            let mut inside = false;
            let mut result = String::with_capacity(text.len());
            for letter in text.chars() {
                if inside {
                    result.extend(letter.to_lowercase());
                } else {
                    result.extend(letter.to_uppercase());
                }
                inside = letter.is_alphabetic();
            }
            Value::from(result)
        }
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let (width, _fill) = padded(&[Value::from(width)])?;
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let sign = text.strip_suffix(digits).unwrap_or_default();
            Value::from(format!("{sign}{}{digits}", filled(text, width, '0')))
        }
        "ljust" => {
            let (width, fill) = padded(args)?;
            Value::from(format!("{text}{}", filled(text, width, fill)))
        }
        "rjust" => {
            let (width, fill) = padded(args)?;
            Value::from(format!("{}{text}", filled(text, width, fill)))
        }
        "center" => {
            let (width, fill) = padded(args)?;
            Value::from(centered(text, width, fill))
        }
        "removeprefix" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(part).unwrap_or(text))
        }
        "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(part).unwrap_or(text))
        }
        "encode" => {
            let (name,): (Option<&str>,) = from_args(args)?;
            let name = name.unwrap_or("utf-8").to_lowercase().replace('_', "-");
            match name.as_str() {
                "utf-8" | "utf8" => Value::from_object(Encoded(text.as_bytes().to_vec())),
                "ascii" if text.is_ascii() => Value::from_object(Encoded(text.as_bytes().to_vec())),
                other => return Err(invalid(format!("the encoding `{other}` is not supported"))),
            }
        }
        "split" | "rsplit" => split(text, method == "rsplit", args)?,
        "splitlines" => {
            let (ends, named): (Option<bool>, Kwargs) = from_args(args)?;
            let ends = ends.or(named.get("keepends")?).unwrap_or(false);
            let lines = text.split_inclusive('\n').map(|line| {
                let bare = line.strip_suffix('\n').unwrap_or(line);
                let bare = bare.strip_suffix('\r').unwrap_or(bare);
                Value::from(if ends { line } else { bare })
            });
            lines.collect()
        }
        "istitle" => {
            let () = from_args(args)?;
            let words = text.split(|letter: char| !letter.is_alphabetic());
            let mut words = words.filter(|word| !word.is_empty()).peekable();
            let any = words.peek().is_some();
            let each = words.all(|word| {
                let mut letters = word.chars();
                letters.next().is_some_and(char::is_uppercase) && letters.all(char::is_lowercase)
            });
            Value::from(any && each)
        }
        "isdecimal" | "isdigit" => {
            let () = from_args(args)?;
            let digits = text.chars().all(|letter| letter.is_numeric() && !letter.is_alphabetic());
            Value::from(!text.is_empty() && digits)
        }
        "isidentifier" => {
            let () = from_args(args)?;
            let mut letters = text.chars();
            let first = letters.next().is_some_and(|it| it == '_' || it.is_alphabetic());
            Value::from(first && letters.all(|it| it == '_' || it.is_alphanumeric()))
        }
        "isprintable" => {
            let () = from_args(args)?;
            Value::from(!text.chars().any(char::is_control))
        }
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            Value::from(expanded(text, size.unwrap_or(8).min(256)))
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn expanded(text: &str, size: usize) -> String {
    let mut result = String::with_capacity(text.len());
    let mut column = 0;
    for letter in text.chars() {
        match letter {
            '\t' => {
                let more = if size == 0 { 0 } else { size - column % size };
                result.extend(std::iter::repeat_n(' ', more));
                column += more;
            }
            '\n' | '\r' => {
                result.push(letter);
                column = 0;
            }
            other => {
                result.push(other);
                column += 1;
            }
        }
    }
    result
}

fn split(text: &str, from_the_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (sign, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let sign = sign.or(named.get("sep")?);
    let most = most.or(named.get("maxsplit")?).unwrap_or(-1);
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    let parts: Vec<&str> = match (sign, from_the_right) {
        (Some(""), _) => return Err(invalid("empty separator")),
        (Some(sign), false) => text.splitn(most + 1, sign).collect(),
        (Some(sign), true) => {
            let mut parts: Vec<&str> = text.rsplitn(most + 1, sign).collect();
            parts.reverse();
            parts
        }
        (None, false) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start();
            while !rest.is_empty() {
                let end = rest.find(char::is_whitespace).filter(|_end| parts.len() < most);
                let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(part);
                rest = after.trim_start();
            }
            parts
        }
        (None, true) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let start = rest.rfind(char::is_whitespace).filter(|_start| parts.len() < most);
                let start = start.map_or(0, |at| {
                    at + rest.get(at..).and_then(|it| it.chars().next()).map_or(1, char::len_utf8)
                });
                let (before, part) = rest.split_at(start);
                parts.push(part);
                rest = before.trim_end();
            }
            parts.reverse();
            parts
        }
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "index" => {
            let (what,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == *what);
            found
                .map(|at| Some(Value::from(at)))
                .ok_or_else(|| invalid(format!("{what} is not in list")))
        }
        "copy" => {
            let () = from_args(args)?;
            Ok(Some(value.clone()))
        }
        "append" | "extend" | "insert" | "pop" | "remove" | "clear" | "reverse" | "sort" => {
            let message = format!(
                "`{method}` changes a list: assign the list to a name first, \
                 {{% set name = … %}}, and change it by that name"
            );
            Err(invalid(message))
        }
        _ => Ok(None),
    }
}

fn of_mapping(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "copy" => {
            let () = from_args(args)?;
            Ok(Some(value.clone()))
        }
        "update" | "pop" | "setdefault" | "clear" | "popitem" => {
            let message =
                format!("`{method}` changes an object: use dict(object, **{{…}}) to make another");
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
        _ => Ok(None),
    }
}

fn of_number(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "is_integer" => {
            let () = from_args(args)?;
            let number = f64::try_from(value.clone())?;
            Ok(Some(Value::from(number.fract() == 0.0)))
        }
        "bit_length" if value.is_integer() => {
            let () = from_args(args)?;
            let number = value.as_i64().unwrap_or_default().unsigned_abs();
            Ok(Some(Value::from(u64::BITS - number.leading_zeros())))
        }
        _ => Ok(None),
    }
}
