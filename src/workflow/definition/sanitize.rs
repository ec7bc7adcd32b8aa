//! Rewrites labels and keys that no template could name, and the references to them.
//!
//! This is done for definitions in YAML only. The compatible API does the same, because its editor
//! accepts any text as the name of a block.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::parameter::is_identifier;

/// Fields that hold a label.
const LABEL_FIELDS: &[&str] = &["label", "next_block_label", "finally_block_label"];
/// Fields that hold the key of a parameter, or a list of them.
const KEY_FIELDS: &[&str] = &[
    "parameter_keys",
    "source_parameter_key",
    "loop_over_parameter_key",
    "loop_variable_reference",
];

/// Rewrites the document in place.
pub fn sanitize(workflow: &mut Value) {
    let Some(definition) = workflow.get_mut("workflow_definition") else { return };
    let mut names = Names::default();
    collect_blocks(definition.get("blocks"), &mut names.labels);
    for parameter in definition.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        if let Some(key) = parameter.get("key").and_then(Value::as_str) {
            names.keys.push(key.to_owned());
        }
    }
    let labels = renamed(&names.labels);
    let keys = renamed(&names.keys);
    if labels.is_empty() && keys.is_empty() {
        return;
    }
    let mut references = keys.clone();
    for (old, new) in &labels {
        references.insert(format!("{old}_output"), format!("{new}_output"));
        references.insert(old.clone(), new.clone());
    }
    rewrite(definition, &labels, &keys, &references);
}

#[derive(Default)]
struct Names {
    labels: Vec<String>,
    keys: Vec<String>,
}

fn collect_blocks(blocks: Option<&Value>, labels: &mut Vec<String>) {
    for block in blocks.and_then(Value::as_array).into_iter().flatten() {
        if let Some(label) = block.get("label").and_then(Value::as_str) {
            labels.push(label.to_owned());
        }
        collect_blocks(block.get("loop_blocks"), labels);
    }
}

/// Chooses a new name for each name that is no identifier, distinct from all other names.
fn renamed(names: &[String]) -> HashMap<String, String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut renamed = HashMap::new();
    for name in names {
        if is_identifier(name) || renamed.contains_key(name) {
            continue;
        }
        let mut plain: String = name
            .trim()
            .chars()
            .map(|letter| if letter.is_alphanumeric() { letter } else { '_' })
            .collect();
        if !is_identifier(&plain) {
            plain.insert(0, '_');
        }
        let mut number = 1;
        let mut new = plain.clone();
        while !taken.insert(new.clone()) {
            number += 1;
            new = format!("{plain}_{number}");
        }
        renamed.insert(name.clone(), new);
    }
    renamed
}

fn rewrite(
    value: &mut Value,
    labels: &HashMap<String, String>,
    keys: &HashMap<String, String>,
    references: &HashMap<String, String>,
) {
    match value {
        Value::Object(object) => {
            let parameter = object.contains_key("parameter_type");
            for (field, value) in object.iter_mut() {
                let field = field.as_str();
                if LABEL_FIELDS.contains(&field) {
                    rename(value, labels);
                } else if KEY_FIELDS.contains(&field) {
                    rename(value, references);
                } else if parameter && field == "key" {
                    rename(value, keys);
                    continue;
                }
                rewrite(value, labels, keys, references);
            }
        }
        Value::Array(list) => {
            for value in list {
                rewrite(value, labels, keys, references);
            }
        }
        Value::String(text) if text.contains("{{") || text.contains("{%") => {
            *text = in_templates(text, references);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

fn rename(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = names.get(text.as_str()) {
                new.clone_into(text);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => (),
    }
}

/// Replaces names between `{{` and `}}`, and between `{%` and `%}`; longer names first.
fn in_templates(text: &str, names: &HashMap<String, String>) -> String {
    let mut ordered: Vec<(&String, &String)> = names.iter().collect();
    ordered.sort_by_key(|(old, _new)| (std::cmp::Reverse(old.len()), old.as_str()));

    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (before, opened) = rest.split_at(start);
        let close = if opened.starts_with("{{") { "}}" } else { "%}" };
        let end = opened.find(close).map_or(opened.len(), |end| end + close.len());
        let (segment, after) = opened.split_at(end);
        result.push_str(before);
        let renamed = ordered
            .iter()
            .fold(segment.to_owned(), |text, (old, new)| replace_whole(&text, old, new));
        result.push_str(&renamed);
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Replaces `old` where no letter, digit or `_` is adjacent to it.
fn replace_whole(text: &str, old: &str, new: &str) -> String {
    let word = |letter: char| letter == '_' || letter.is_alphanumeric();
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(old).filter(|_start| !old.is_empty()) {
        let (before, found) = rest.split_at(start);
        let (found, after) = found.split_at(old.len());
        let bounded = !before.ends_with(word) && !after.starts_with(word);
        result.push_str(before);
        result.push_str(if bounded { new } else { found });
        rest = after;
    }
    result.push_str(rest);
    result
}
