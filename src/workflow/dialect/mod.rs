//! The representation of Greenroom's own blocks for clients that know only those of the compatible
//! API.
//!
//! Such clients parse a block by its type, and reject the whole list if one type is unknown. A block
//! of an unknown type is shown to them as a `code` block. Its type and its fields are YAML in the
//! text of the code (`text`), because a client's form keeps that text. When a definition with such a
//! text comes back, the described block is restored.
//!
//! | reader | blocks shown as code | fields of such a block |
//! |---|---|---|
//! | [`Reader::Whole`] | types that the compatible API lacks | all fields, and the type as `greenroom_block_type` |
//! | [`Reader::Forms`] | those, and blocks with fields that the forms would lose (`forms`) | those of its form |

mod forms;
mod text;

use serde_json::{Map, Value};

use super::definition::{DefinitionErrors, FieldError, PathPart};

/// The field with the original type of a block that is shown as code.
pub const OWN_TYPE: &str = "greenroom_block_type";

/// Fields of any block that the form of a code block keeps.
const KEPT: &[&str] = &[
    "label",
    "next_block_label",
    "continue_on_failure",
    "next_loop_on_failure",
    "ignore_workflow_system_prompt",
    "error_code_mapping",
    "parameter_keys",
];

/// Fields that a response adds to every block.
const ADDED: &[&str] = &["parameters", "output_parameter"];

/// The depth limit of a stored definition.
const DEEPEST: usize = 100;

/// The handling of unknown fields by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The client keeps every field of a block, known or not: a generated client.
    Whole,
    /// The client keeps only the fields of its forms: the compatible API's own front end.
    Forms,
}

/// True for block types that the compatible API has.
pub fn is_shared(block_type: &str) -> bool {
    forms::of(block_type).is_some()
}

/// Rewrites a workflow in a response so that `reader` can read every block and send it back.
pub fn disguise(workflow: &mut Value, reader: Reader) {
    let blocks = workflow.pointer_mut("/workflow_definition/blocks");
    if let Some(Value::Array(blocks)) = blocks {
        for block in blocks {
            disguise_block(block, reader);
        }
    }
}

fn disguise_block(block: &mut Value, reader: Reader) {
    let Some(block) = block.as_object_mut() else { return };
    if let Some(Value::Array(body)) = block.get_mut("loop_blocks") {
        for inner in body {
            disguise_block(inner, reader);
        }
    }
    let Some(own) = block.get("block_type").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    let is_readable = match forms::of(&own) {
        None => false,
        Some(_) if reader == Reader::Whole => true,
        Some(form) => form.keeps(block),
    };
    if is_readable {
        return;
    }
    let code = text::write(&own, &fields(block));
    if reader == Reader::Forms {
        block.retain(|name, _| KEPT.contains(&name.as_str()) || ADDED.contains(&name.as_str()));
    }
    block.insert("block_type".to_owned(), "code".into());
    block.insert("code".to_owned(), code.into());
    block.insert(OWN_TYPE.to_owned(), own.into());
}

/// Returns the fields that only the text of the code can carry.
fn fields(block: &Map<String, Value>) -> Map<String, Value> {
    let is_default = |name: &str, value: &Value| match name {
        "disable_cache" => *value == Value::Bool(false),
        "model" => value.is_null(),
        _ => false,
    };
    let elsewhere = |name: &str| {
        name == "block_type" || KEPT.contains(&name) || ADDED.contains(&name) || name == OWN_TYPE
    };
    let carried = block.iter().filter(|(name, value)| !elsewhere(name) && !is_default(name, value));
    carried.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Restores the blocks that were shown as code in a workflow that a client sends.
///
/// # Errors
///
/// One for each text that is marked as a block but describes none.
pub fn reveal(workflow: &mut Value) -> Result<(), DefinitionErrors> {
    let mut revealing = Revealing { errors: Vec::new(), found: false };
    let path = ["workflow_definition".into(), "blocks".into()];
    revealing.list(workflow.pointer_mut("/workflow_definition/blocks"), &path);
    if revealing.found && deeper_than(workflow, DEEPEST) {
        let message = format!("the definition is nested more deeply than {DEEPEST} levels");
        revealing.refuse(&[], None, message);
    }
    let Revealing { errors, .. } = revealing;
    if errors.is_empty() { Ok(()) } else { Err(DefinitionErrors(errors)) }
}

struct Revealing {
    errors: Vec<FieldError>,
    found: bool,
}

impl Revealing {
    fn list(&mut self, blocks: Option<&mut Value>, path: &[PathPart]) {
        let Some(Value::Array(blocks)) = blocks else { return };
        for (index, block) in blocks.iter_mut().enumerate() {
            let Some(block) = block.as_object_mut() else { continue };
            let place: Vec<PathPart> =
                path.iter().cloned().chain([PathPart::Index(index)]).collect();
            let inner: Vec<PathPart> =
                place.iter().cloned().chain(["loop_blocks".into()]).collect();
            self.list(block.get_mut("loop_blocks"), &inner);
            self.block(block, &place);
        }
    }

    fn block(&mut self, block: &mut Map<String, Value>, place: &[PathPart]) {
        let named = match block.shift_remove(OWN_TYPE) {
            Some(Value::String(own)) => Some(own),
            Some(_) | None => None,
        };
        let code = block.get("code").and_then(Value::as_str).unwrap_or_default();
        if !text::is_marked(code) {
            if let Some(own) = named {
                if code.is_empty() {
                    block.shift_remove("code");
                }
                block.insert("block_type".to_owned(), own.into());
            }
            return;
        }
        self.found = true;
        let mut described = match text::read(code) {
            Ok(described) => described,
            Err(message) => {
                let place: Vec<PathPart> = place.iter().cloned().chain(["code".into()]).collect();
                let label = block.get("label").and_then(Value::as_str).map(str::to_owned);
                return self.refuse(&place, label, message);
            }
        };
        // A client that names the type has kept all fields and may have changed them, so its fields
        // are newer than the text. From other clients only the text and the kept fields belong to
        // this block.
        for (name, value) in block.iter() {
            let is_code = ["block_type", "code"].contains(&name.as_str());
            let kept = KEPT.contains(&name.as_str());
            if kept && !value.is_null() && (name == "label" || !described.contains_key(name))
                || named.is_some() && !is_code
            {
                described.insert(name.clone(), value.clone());
            }
        }
        *block = described;
    }

    fn refuse(&mut self, place: &[PathPart], block: Option<String>, message: String) {
        self.errors.push(FieldError {
            path: place.to_vec(),
            block,
            line: None,
            code: "block_text_invalid",
            message,
            input: Value::Null,
        });
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(values) => values.iter().any(|value| deeper_than(value, levels)),
        Value::Object(members) => members.values().any(|value| deeper_than(value, levels)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests;
