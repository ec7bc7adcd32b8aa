//! Checks the templates of a block when its definition is stored.

use serde_json::{Map, Value};

use super::PathPart;
use super::block::Misfit;
use crate::workflow::engine::AS_WRITTEN;
use crate::workflow::template::{self, TEMPLATE_INVALID, TemplateError, pure_expression};

/// Returns every text of a block that could not be rendered for any values of its names.
pub(super) fn check(block: &Map<String, Value>) -> Vec<Misfit> {
    let mut faults = Vec::new();
    let own = block.get("block_type").and_then(Value::as_str).unwrap_or_default();
    for (field, value) in block {
        let path = vec![PathPart::from(field.as_str())];
        match field.as_str() {
            "loop_blocks" => (),
            "code" if own == "code" => {
                if let Some(code) = value.as_str() {
                    note(&mut faults, &path, template::checker().check_code(field, code));
                }
            }
            // Conditions are rendered where they are used.
            "condition" | "branch_conditions" => texts(value, path, &mut faults),
            "loop_variable_reference" => {
                let text = value.as_str().map(str::trim).unwrap_or_default();
                if text.contains("{%") {
                    note(&mut faults, &path, template::checker().check(field, text));
                } else if let Some(expression) = pure_expression(text) {
                    note(
                        &mut faults,
                        &path,
                        template::checker().check_expression(field, expression),
                    );
                } else if !text.contains('{') {
                    // The text may be prose, which is no expression.
                    note(&mut faults, &path, template::checker().check_depth(field, text));
                }
            }
            written if AS_WRITTEN.contains(&written) => (),
            _ => texts(value, path, &mut faults),
        }
    }
    faults
}

fn note(faults: &mut Vec<Misfit>, path: &[PathPart], found: Result<(), TemplateError>) {
    if let Err(error) = found {
        faults.push(Misfit {
            path: path.to_vec(),
            code: TEMPLATE_INVALID,
            message: format!("the template `{}`: {}", error.expression, error.message),
        });
    }
}

fn texts(value: &Value, path: Vec<PathPart>, faults: &mut Vec<Misfit>) {
    let inner = |part: PathPart| path.iter().cloned().chain([part]).collect::<Vec<_>>();
    match value {
        Value::String(text) => note(faults, &path, template::checker().check("", text)),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                texts(value, inner(index.into()), faults);
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                texts(value, inner(key.as_str().into()), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}
