//! Converts a workflow from the form of API responses to the form in which definitions are written.
//!
//! Responses contain more than the definition: ids and times, the outputs of blocks among the
//! parameters, and whole parameters in place of the keys that a block uses. A client may edit such a
//! response and send it back.

use serde_json::{Map, Value};

/// Fields of a workflow that the server sets.
const OF_THE_SERVER: &[&str] = &[
    "workflow_id",
    "organization_id",
    "workflow_permanent_id",
    "agent_id",
    "version",
    "is_template",
    "import_error",
    "created_by",
    "edited_by",
    "copilot_authored",
    "created_at",
    "modified_at",
    "deleted_at",
];
/// Fields of a parameter that the server sets.
const OF_A_PARAMETER: &[&str] = &["workflow_id", "created_at", "modified_at", "deleted_at"];

/// Converts the document in place; parts in written form stay unchanged.
pub(super) fn written(workflow: &mut Value) {
    let Some(workflow) = workflow.as_object_mut() else { return };
    if workflow.contains_key("workflow_permanent_id") {
        workflow.retain(|field, _value| !OF_THE_SERVER.contains(&field.as_str()));
    }
    let Some(definition) = workflow.get_mut("workflow_definition") else { return };
    if let Some(Value::Array(parameters)) = definition.get_mut("parameters") {
        parameters.retain(|parameter| parameter.get("output_parameter_id").is_none());
        parameters.iter_mut().filter_map(Value::as_object_mut).for_each(parameter);
    }
    if let Some(Value::Array(blocks)) = definition.get_mut("blocks") {
        blocks.iter_mut().filter_map(Value::as_object_mut).for_each(block);
    }
}

fn parameter(parameter: &mut Map<String, Value>) {
    let kind = parameter.get("parameter_type").and_then(Value::as_str).unwrap_or_default();
    let id = format!("{kind}_parameter_id");
    if parameter.shift_remove(&id).is_some() {
        parameter.retain(|field, _value| !OF_A_PARAMETER.contains(&field.as_str()));
    }
}

/// Returns the key of a parameter that is given as a whole object.
fn key(parameter: &Value) -> Option<Value> {
    parameter.get("key").filter(|key| key.is_string()).cloned()
}

fn block(block: &mut Map<String, Value>) {
    let answered = block.get("output_parameter").and_then(|it| it.get("output_parameter_id"));
    if answered.is_some() {
        block.shift_remove("output_parameter");
        if let Some(used) = block.shift_remove("parameters") {
            let keys: Vec<Value> = used.as_array().into_iter().flatten().filter_map(key).collect();
            if !keys.is_empty() {
                block.entry("parameter_keys").or_insert(Value::Array(keys));
            }
        }
        if let Some(over) = block.shift_remove("loop_over").as_ref().and_then(key) {
            block.entry("loop_over_parameter_key").or_insert(over);
        }
        for name in ["host", "port", "username", "password"] {
            let field = format!("smtp_{name}");
            if block.get(&field).is_some_and(Value::is_object)
                && let Some(secret) = block.shift_remove(&field)
            {
                let stand_in = secret.get("aws_secret_parameter_id").and_then(Value::as_str);
                if stand_in != Some(field.as_str())
                    && let Some(key) = key(&secret)
                {
                    block.entry(format!("{field}_secret_parameter_key")).or_insert(key);
                }
            }
        }
    }
    if let Some(Value::Array(inner)) = block.get_mut("loop_blocks") {
        inner.iter_mut().filter_map(Value::as_object_mut).for_each(self::block);
    }
}
