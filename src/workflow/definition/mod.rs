//! Workflow definitions: read from JSON or YAML, checked, and kept whole.
//!
//! A document that is refused is refused with every fault that was found, each with its block, its
//! field and, in YAML, its line. What is accepted keeps its unknown fields, so that a client reads
//! back what it wrote.

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

/// A workflow as a client describes it.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// For people.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// `published`, `draft`, `auto_generated`, `importing` or `import_failed`.
    pub status: String,
    /// What it does.
    pub definition: Definition,
    /// Everything else that was given, as it was given.
    pub settings: Value,
}

/// What a workflow does.
#[derive(Debug, Clone)]
pub struct Definition {
    /// 1: one block after another. 2: as the blocks say.
    pub version: u32,
    /// The parameters, without the outputs of blocks.
    pub parameters: Vec<Parameter>,
    /// The blocks, those in loops within them.
    pub blocks: Vec<Block>,
    /// The block that runs in the end, whatever happened.
    pub finally: Option<String>,
    /// The definition as it was given, unknown fields included.
    pub raw: Value,
}

/// The deepest document that is accepted. What is around a value in an answer adds to it, and JSON
/// readers refuse more than 128.
pub const DEEPEST: usize = 100;

/// True of a value with more than `most` values around its innermost one.
pub fn is_deeper(value: &Value, most: usize) -> bool {
    let inner = |value: &Value| most.checked_sub(1).is_none_or(|most| is_deeper(value, most));
    match value {
        Value::Array(list) => list.iter().any(inner),
        Value::Object(object) => object.values().any(inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Workflow {
    /// Reads the value of `json_definition`. A workflow as the API answers it is one, too. Blocks that
    /// a client was shown as code are what they were before.
    pub fn from_json(document: &Value) -> Result<Self, DefinitionErrors> {
        let mut document = document.clone();
        dialect::reveal(&mut document)?;
        answered::written(&mut document);
        reader::Reader::new(None).workflow(&document)
    }

    /// Reads the text of `yaml_definition`, or the body of the legacy routes. Labels and keys that
    /// no template could name are rewritten, and with them what refers to them. Blocks that a client
    /// was shown as code are what they were before.
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
    /// Reads a definition as it was stored. Templates are not looked at again: one that an older
    /// version accepted fails when its block is executed.
    pub fn stored(raw: &Value) -> Result<Self, DefinitionErrors> {
        reader::Reader::new(None).definition_alone(raw)
    }

    /// Every block, those in loops included, outermost first.
    pub fn all_blocks(&self) -> Vec<&Block> {
        self.blocks.iter().flat_map(Block::tree).collect()
    }
}
