//! String formatting: the operator `%`, the filter `format`, and the method of that name.

use std::fmt::Write as _;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, State};

use super::filters::afford;
use super::objects::invalid;

/// Implements `a % b`: formatting for a text, the remainder for a number.
pub(super) fn remainder(
    state: &mut State<'_, '_>,
    left: &Value,
    right: &Value,
) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let args: Vec<Value> =
            if right.is_tuple() { right.try_iter()?.collect() } else { vec![right.clone()] };
        return printf(state, text, args);
    }
    let expression = state.env().compile_expression("a % b")?;
    expression.eval(Value::from_pairs([("a", left.clone()), ("b", right.clone())]))
}

/// Implements the filter `format`.
pub(super) fn format_filter(
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

/// Formats as Python's operator `%` does.
fn printf(state: &State<'_, '_>, text: &str, args: Vec<Value>) -> Result<Value, Error> {
    let (text, args) = ascii_keys(text, args)?;
    afford_format(state, &text, &args)?;
    format(FormatStyle::Printf, &text, &args).map(Value::from)
}

/// Renames the keys of a format to ASCII: the engine reads no others.
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

/// Rejects a format whose result would be too long, by its widths and by the number of its fields.
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

/// Returns the sum of all numbers in a format, an upper bound of its padding.
fn widths(text: &str) -> usize {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .fold(0, usize::saturating_add)
}
