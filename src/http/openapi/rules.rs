//! Rules of requests beyond the types of their fields, in the words of JSON Schema.
//!
//! Types of Rust have no such words: that one of two fields is given, that a text is one of a few. Each
//! rule names a place in the description and what is added there; a test holds that every place exists.

use serde_json::{Map, Value, json};

use crate::domain::event::EventKind;

/// Visible ASCII characters, as ids of clients and names of people are.
const VISIBLE: &str = "^[!-~]+$";

/// A lease token: 32 bytes in base64.
const LEASE_TOKEN: &str = "^lt_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$";

/// Adds the rules to a description.
pub(super) fn add(description: &mut Value) {
    for (place, rule) in rules() {
        if let Some(schema) = description.pointer_mut(&place) {
            merge(schema, rule);
        }
    }
    headers(description);
    bodies(description);
}

fn merge(schema: &mut Value, rule: Value) {
    let (Value::Object(schema), Value::Object(rule)) = (schema, rule) else { return };
    schema.extend(rule);
}

/// One of these fields is there, and is not null.
fn one_of(fields: &[(&str, &str)]) -> Value {
    let any = fields.iter().map(
        |(field, kind)| json!({ "required": [field], "properties": { *field: { "type": kind } } }),
    );
    json!({ "anyOf": any.collect::<Vec<_>>() })
}

fn of_schema(schema: &str) -> String {
    format!("/components/schemas/{schema}")
}

fn of_field(schema: &str, field: &str) -> String {
    format!("/components/schemas/{schema}/properties/{field}")
}

fn rules() -> Vec<(String, Value)> {
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let body = "/paths/~1v1~1agent~1callbacks/post/requestBody/content/application~1json/schema";
    let statuses = ["running", "completed", "failed", "terminated"];
    vec![
        (of_field("SessionRequest", "width"), json!({ "minimum": 200, "maximum": 7680 })),
        (of_field("SessionRequest", "height"), json!({ "minimum": 200, "maximum": 7680 })),
        (of_schema("RunRequest"), one_of(&[("workflow_id", "string"), ("agent_id", "string")])),
        (
            of_field("RunRequest", "max_elapsed_time_minutes"),
            json!({ "minimum": 1, "maximum": 480 }),
        ),
        (of_field("RunRequest", "wait_seconds"), json!({ "maximum": 86_400 })),
        (
            of_field("RunRequest", "run_metadata"),
            json!({
                "maxProperties": 20,
                "additionalProperties": { "type": "string", "maxLength": 256 },
            }),
        ),
        (
            of_schema("WorkflowRequest"),
            one_of(&[("json_definition", "object"), ("yaml_definition", "string")]),
        ),
        (
            of_schema("SessionChange"),
            one_of(&[
                ("generate_browser_profile", "boolean"),
                ("timeout_seconds", "integer"),
                ("timeout", "integer"),
                ("expires_at", "string"),
            ]),
        ),
        (
            of_field("BeginRequest", "runnable_id"),
            json!({ "minLength": 1, "maxLength": 255, "pattern": VISIBLE }),
        ),
        (
            of_field("BeginRequest", "runnable_type"),
            json!({ "enum": ["workflow_run", "task_run", "external", null] }),
        ),
        (of_field("ExtendRequest", "additional_minutes"), json!({ "minimum": 1 })),
        (of_field("BeginRequest", "ttl_seconds"), json!({ "minimum": 1 })),
        (of_field("BeginRequest", "wait_seconds"), json!({ "maximum": 3600 })),
        (of_field("BeginRequest", "lease_token"), json!({ "pattern": LEASE_TOKEN })),
        (of_field("HeartbeatRequest", "lease_token"), json!({ "pattern": LEASE_TOKEN })),
        (of_field("ReleaseRequest", "lease_token"), json!({ "pattern": LEASE_TOKEN })),
        (of_field("ViewerRequest", "role"), json!({ "enum": ["watch", "control"] })),
        (of_field("ViewerRequest", "uses"), json!({ "enum": ["single", "many"] })),
        (of_field("WebhookRequest", "url"), json!({ "format": "uri" })),
        (of_schema("WebhookRequest"), json!({ "required": ["url"] })),
        (of_field("WebhookRequest", "kinds"), json!({ "items": { "enum": kinds } })),
        (of_field("WebhookChange", "kinds"), json!({ "items": { "enum": kinds } })),
        (
            body.to_owned(),
            json!({
                "required": ["status"],
                "properties": {
                    "status": { "enum": statuses },
                    "output": {},
                    "progress": {},
                    "failure_reason": { "type": ["string", "null"] },
                },
                "additionalProperties": false,
            }),
        ),
    ]
}

/// Says of each body without a required field that it may be left out.
fn bodies(description: &mut Value) {
    let schemas = description.pointer("/components/schemas").cloned().unwrap_or_default();
    let Some(Value::Object(paths)) = description.get_mut("paths") else { return };
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let reference = "/requestBody/content/application~1json/schema/$ref";
        let name = operation.pointer(reference).and_then(Value::as_str);
        let schema = name.and_then(|name| schemas.get(name.rsplit('/').next().unwrap_or(name)));
        let Some(schema) = schema else { continue };
        let is_needed = schema.get("required").is_some() || schema.get("anyOf").is_some();
        if let Some(Value::Object(body)) = operation.get_mut("requestBody").filter(|_| !is_needed) {
            body.insert("required".to_owned(), false.into());
        }
    }
}

/// The rules of headers that many operations read.
fn headers(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(headers),
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str);
            if name == Some("x-greenroom-user")
                && let Some(schema) = members.get_mut("schema")
            {
                merge(schema, json!({ "minLength": 1, "maxLength": 128, "pattern": VISIBLE }));
            }
            members.values_mut().for_each(headers);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi::description;

    #[test]
    fn every_rule_is_about_something_that_is_described() {
        let described = serde_json::to_value(description()).unwrap();
        for (place, _) in rules() {
            assert!(described.pointer(&place).is_some(), "{place} is not described");
        }
    }
}
