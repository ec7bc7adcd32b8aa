//! The text of a `code` block that represents another block.
//!
//! The first line marks it, the rest is YAML: one field per line, texts of several lines as block
//! scalars, everything else as JSON, which is valid YAML. People edit it in the code field of the
//! compatible API's front end.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::workflow::definition::yaml;

/// The start of the first line, which marks the text.
const MARK: &str = "# greenroom block";

/// The first line of the text.
const HEAD: &str = "# greenroom block: its fields as YAML, not Python. Edit them here.\n";

/// True if a code block's text describes another block.
pub(super) fn is_marked(code: &str) -> bool {
    code.trim_start().starts_with(MARK)
}

/// Writes the text for a block of `block_type` with these fields.
pub(super) fn write(block_type: &str, fields: &Map<String, Value>) -> String {
    let mut text = HEAD.to_owned();
    member(&mut text, "block_type", &Value::from(block_type));
    for (name, value) in fields {
        member(&mut text, name, value);
    }
    text
}

/// Parses the block that a marked text describes.
///
/// # Errors
///
/// A sentence that describes what is wrong with the text.
pub(super) fn read(code: &str) -> Result<Map<String, Value>, String> {
    let document = yaml::parse(code)
        .map_err(|cause| format!("line {} of the code is not YAML: {cause}", cause.line))?;
    let Value::Object(block) = document.value else {
        return Err("the code is marked as a block and has no fields".to_owned());
    };
    if block.get("block_type").is_some_and(Value::is_string) {
        return Ok(block);
    }
    let example = "the code is marked as a block and has no `block_type`, such as `click`";
    Err(example.to_owned())
}

fn member(text: &mut String, name: &str, value: &Value) {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !["null", "true", "false"].contains(&name.to_ascii_lowercase().as_str());
    let name = if is_plain { name.to_owned() } else { json(&Value::from(name)) };
    // Writing to a `String` does not fail.
    let _ = match value.as_str().filter(|text| is_block_scalar(text)) {
        Some(lines) => writeln!(text, "{name}: {}", block_scalar(lines)),
        None => writeln!(text, "{name}: {}", json(value)),
    };
}

/// True for texts of several lines that a block scalar preserves.
fn is_block_scalar(text: &str) -> bool {
    let printable = |c: char| c == '\n' || c == '\t' || (c >= ' ' && !is_escaped(c));
    let has_text = |line: &str| line.is_empty() || !line.trim().is_empty();
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with(char::is_whitespace)
        && text.split('\n').all(has_text)
        && text.chars().all(printable)
}

/// Formats a block scalar: `|2-` and the lines. The number is the indentation, so that the first line
/// may have its own.
fn block_scalar(text: &str) -> String {
    let kept = text.trim_end_matches('\n');
    let chomping = match text.len() - kept.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let mut scalar = format!("|2{chomping}");
    let body = if chomping == "+" { text.strip_suffix('\n').unwrap_or(text) } else { kept };
    for line in body.split('\n') {
        scalar.push('\n');
        if !line.is_empty() {
            scalar.push_str("  ");
            scalar.push_str(line);
        }
    }
    scalar
}

/// Characters that YAML does not allow unescaped, or treats as the end of a line.
fn is_escaped(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

fn json(value: &Value) -> String {
    let mut escaped = String::new();
    for c in value.to_string().chars() {
        if is_escaped(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_block_is_written_so_that_people_can_edit_it() {
        let block = json!({"selector": "#go", "frame": ["#a"], "script": "one\n  two\n"});
        let text = write("script", block.as_object().unwrap());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "block_type: \"script\"",
                "selector: \"#go\"",
                "frame: [\"#a\"]",
                "script: |2",
                "  one",
                "    two"
            ]
        );
        assert!(is_marked(&text) && !is_marked("print(1)  # greenroom block"));
    }

    #[test]
    fn what_is_no_block_is_refused_with_the_reason() {
        for (code, reason) in [
            ("# greenroom block\nselector: a", "no `block_type`"),
            ("# greenroom block\n", "no fields"),
            ("# greenroom block\na: [", "line 2 of the code is not YAML"),
        ] {
            assert!(read(code).unwrap_err().contains(reason), "{code}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "\\PC*",
            any::<String>(),
            "( |a|\n|\t|#|:|-|'|\"|\u{2028}|\u{85}|\r){0,12}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_block_is_read_as_it_was_written(
            members in prop::collection::hash_map("[a-z_]{1,8}|\\PC{1,6}", value(), 0..5)
        ) {
            let mut fields: Map<String, Value> = members.into_iter().collect();
            fields.remove("block_type");
            let text = write("press", &fields);
            let mut read = read(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(read.remove("block_type"), Some(Value::from("press")));
            prop_assert_eq!(read, fields, "{}", text);
        }
    }
}
