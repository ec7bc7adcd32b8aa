//! Formats values as Python does.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};

/// Formats a number that Python writes with an exponent; none for any other number.
pub(super) fn exponent(number: f64) -> Option<String> {
    let size = number.abs();
    if number == 0.0 || !number.is_finite() || (1e-4..1e16).contains(&size) {
        return None;
    }
    let text = format!("{number:e}");
    let (digits, power) = text.split_once('e')?;
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    Some(format!("{digits}e{sign}{power:0>2}"))
}

/// Writes JSON in ASCII with sorted keys, and with the characters escaped that have a meaning in
/// HTML.
pub(super) fn json(
    value: &serde_json::Value,
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
) {
    use serde_json::Value as Json;

    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    let comma = |out: &mut String| out.push_str(if indent.is_some() { "," } else { ", " });
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Json::Number(number) => {
            let written = number.as_f64().filter(|_number| number.is_f64()).and_then(exponent);
            out.push_str(&written.unwrap_or_else(|| number.to_string()));
        }
        Json::String(text) => json_text(text, out),
        Json::Array(list) if list.is_empty() => out.push_str("[]"),
        Json::Array(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    comma(out);
                }
                line(out, depth + 1);
                json(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Json::Object(object) if object.is_empty() => out.push_str("{}"),
        Json::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_by_key(|(key, _value)| key.as_str());
            out.push('{');
            for (index, (key, item)) in fields.into_iter().enumerate() {
                if index > 0 {
                    comma(out);
                }
                line(out, depth + 1);
                json_text(key, out);
                out.push_str(": ");
                json(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' if !"<>&'".contains(letter) => out.push(letter),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _infallible = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// The longest value in bytes that is split over lines; each level of it is formatted again.
const LONGEST: usize = 64 << 10;
/// The line width of [`pretty`].
const WIDTH: usize = 80;

/// Formats a value over as many lines as needed, with sorted keys, as `pprint` does.
pub(super) fn pretty(value: &Value, indent: usize, after: usize) -> String {
    let whole = one_line(value);
    if whole.chars().count() + indent + after <= WIDTH || whole.len() > LONGEST {
        return whole;
    }
    let between = format!(",\n{}", " ".repeat(indent + 1));
    if value.kind() == ValueKind::Seq {
        let items: Vec<Value> = value.try_iter().into_iter().flatten().collect();
        let last = items.len().saturating_sub(1);
        let parts: Vec<String> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                pretty(item, indent + 1, if index == last { after + 1 } else { 1 })
            })
            .collect();
        let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
        return format!("{open}{}{close}", parts.join(&between));
    }
    if value.kind() == ValueKind::Map {
        let fields = sorted(value);
        let last = fields.len().saturating_sub(1);
        let parts: Vec<String> = fields
            .iter()
            .enumerate()
            .map(|(index, (key, item))| {
                let deeper = indent + key.chars().count() + 3;
                let after = if index == last { after + 1 } else { 1 };
                format!("{key}: {}", pretty(item, deeper, after))
            })
            .collect();
        return format!("{{{}}}", parts.join(&between));
    }
    whole
}

fn quoted(value: &Value) -> String {
    // A list of one writes its item as Python's `repr` does.
    let text = Value::from(vec![value.clone()]).to_string();
    text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(&text).to_owned()
}

fn sorted(value: &Value) -> Vec<(String, Value)> {
    let keys = value.try_iter().into_iter().flatten();
    let mut fields: Vec<(String, Value)> =
        keys.filter_map(|key| Some((quoted(&key), value.get_item(&key).ok()?))).collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn one_line(value: &Value) -> String {
    if value.kind() == ValueKind::Map {
        let fields = sorted(value);
        let fields = fields.iter().map(|(key, item)| format!("{key}: {}", one_line(item)));
        return format!("{{{}}}", fields.collect::<Vec<_>>().join(", "));
    }
    if value.kind() == ValueKind::Seq && !value.is_tuple() {
        let items = value.try_iter().into_iter().flatten();
        let items: Vec<String> = items.map(|item| one_line(&item)).collect();
        return format!("[{}]", items.join(", "));
    }
    quoted(value)
}
