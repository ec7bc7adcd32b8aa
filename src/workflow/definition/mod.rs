//! Workflow definitions: read from JSON or YAML, checked, and stored whole.
//!
//! The rejection of a document lists every error that was found, each with its block, its field and,
//! in YAML, its line. An accepted document keeps its unknown fields, so that a client reads back what
//! it wrote.

mod answered;
pub mod block;
mod errors;
pub mod extract;
pub mod graph;
pub mod parameter;
mod reader;
mod sanitize;
mod templates;
pub mod yaml;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::dialect;
pub use block::{Block, Kind};
pub use errors::{DefinitionErrors, FieldError, PathPart};
pub use parameter::{Parameter, ParameterKind, ValueType};

/// A workflow as a client submits it.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// The title for people.
    pub title: String,
    /// The description for people.
    pub description: Option<String>,
    /// The status: `published`, `draft`, `auto_generated`, `importing` or `import_failed`.
    pub status: String,
    /// The parameters and blocks.
    pub definition: Definition,
    /// All other fields, as they were given.
    pub settings: Value,
}

/// The parameters of a workflow, and its blocks with their order.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The version: 1 runs the blocks in list order, 2 in the order that the blocks name.
    pub version: u32,
    /// The parameters, without the outputs of blocks.
    pub parameters: Vec<Parameter>,
    /// The blocks; those of a loop are within it.
    pub blocks: Vec<Block>,
    /// The label of the block that always runs last, also after a failure.
    pub finally: Option<String>,
    /// The definition as it was given, unknown fields included.
    pub raw: Value,
}

/// The greatest nesting depth that is accepted. A response adds levels around a value, and JSON
/// readers reject more than 128.
pub const DEEPEST: usize = 100;

/// True if more than `most` values enclose the innermost one.
pub fn is_deeper(value: &Value, most: usize) -> bool {
    let inner = |value: &Value| most.checked_sub(1).is_none_or(|most| is_deeper(value, most));
    match value {
        Value::Array(list) => list.iter().any(inner),
        Value::Object(object) => object.values().any(inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Workflow {
    /// Reads the value of `json_definition`. A workflow in the form of an API response is accepted
    /// too. Blocks that were shown to a client as code get their original types back.
    pub fn from_json(document: &Value) -> Result<Self, DefinitionErrors> {
        let mut document = document.clone();
        dialect::reveal(&mut document)?;
        answered::written(&mut document);
        reader::Reader::new(None).workflow(&document)
    }

    /// Reads the text of `yaml_definition`, or the body of the legacy routes. Labels and keys that no
    /// template could name are rewritten, together with the references to them. Blocks that were
    /// shown to a client as code get their original types back.
    pub fn from_yaml(text: &str) -> Result<Self, DefinitionErrors> {
        let document = yaml::parse(text).map_err(|error| {
            DefinitionErrors(vec![FieldError {
                path: Vec::new(),
                block: None,
                line: Some(error.line),
                code: "yaml_invalid",
                message: error.message,
                input: Value::Null,
            }])
        })?;
        let mut value = document.value;
        dialect::reveal(&mut value).map_err(|errors| errors.at_lines(&document.lines))?;
        answered::written(&mut value);
        sanitize::sanitize(&mut value);
        reader::Reader::new(Some(document.lines)).workflow(&value)
    }
}

impl Definition {
    /// Reads a definition as it was stored. Templates are not checked again: one that an older
    /// version accepted fails when its block is executed.
    pub fn stored(raw: &Value) -> Result<Self, DefinitionErrors> {
        reader::Reader::new(None).definition_alone(raw)
    }

    /// Returns every block, including those in loops, outermost first.
    pub fn all_blocks(&self) -> Vec<&Block> {
        self.blocks.iter().flat_map(Block::tree).collect()
    }
}
