//! The errors of a definition, with positions that an editor can show.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::yaml::pointer;

/// A step of the path from a document's root to a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPart {
    /// A field of an object.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

impl From<&str> for PathPart {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for PathPart {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for PathPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

impl Serialize for PathPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Key(key) => serializer.serialize_str(key),
            Self::Index(index) => serializer.collect_str(index),
        }
    }
}

/// One error of a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// The path from the root of the workflow, as in `workflow_definition`, `blocks`, 2, `url`.
    pub path: Vec<PathPart>,
    /// The label of the block that contains the field.
    pub block: Option<String>,
    /// The line in the YAML document, from 1; none for a definition in JSON.
    pub line: Option<usize>,
    /// The stable code for programs, as in `missing`, `label_duplicate`, `block_type_unknown`.
    pub code: &'static str,
    /// The description for people, one sentence.
    pub message: String,
    /// The value that was given.
    pub input: Value,
}

impl FieldError {
    /// Returns the error as an element of the list `detail` of a 422 response, with `prefix` before
    /// the path.
    pub fn detail(&self, prefix: &[&str]) -> Value {
        let head = prefix.iter().map(|part| Value::from(*part));
        let tail = self.path.iter().map(|part| match part {
            PathPart::Key(key) => Value::from(key.as_str()),
            PathPart::Index(index) => Value::from(*index),
        });
        let mut detail = json!({
            "type": self.code,
            "loc": head.chain(tail).collect::<Vec<_>>(),
            "msg": self.to_string(),
            "input": self.input,
        });
        let extra = [
            ("block", self.block.as_deref().map(Value::from)),
            ("line", self.line.map(Value::from)),
        ];
        for (key, value) in extra {
            if let (Some(object), Some(value)) = (detail.as_object_mut(), value) {
                object.insert(key.to_owned(), value);
            }
        }
        detail
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(block) = &self.block {
            write!(f, "block `{block}`: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All errors found in a definition; at least one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", first(.0))]
pub struct DefinitionErrors(pub Vec<FieldError>);

fn first(errors: &[FieldError]) -> String {
    let more = errors.len().saturating_sub(1);
    match errors.first() {
        Some(error) if more == 0 => error.to_string(),
        Some(error) => format!("{error} (and {more} more)"),
        None => "the definition is not valid".to_owned(),
    }
}

impl DefinitionErrors {
    /// Adds the line of each field, given the lines of nodes by JSON pointer.
    pub(super) fn at_lines(mut self, lines: &HashMap<String, usize>) -> Self {
        for error in &mut self.0 {
            let place =
                error.path.iter().fold(String::new(), |at, part| pointer(&at, &part.to_string()));
            error.line = lines.get(&place).copied();
        }
        self
    }

    /// Returns the list `detail` of a 422 response.
    pub fn detail(&self, prefix: &[&str]) -> Value {
        self.0.iter().map(|error| error.detail(prefix)).collect()
    }
}
