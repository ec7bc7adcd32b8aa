//! Rules of request bodies beyond the types of their fields, as JSON Schema.
//!
//! Rust types cannot express, for example, that one of two fields is required, or that a text is
//! one of a few. Each rule names a place in the description and the addition there; a test checks
//! that every place exists.

use serde_json::{Map, Value, json};

use super::VISIBLE;
use crate::actors::Settings;
use crate::domain::event::EventKind;
use crate::http::egress::MOST_RULES;

/// A lease token: 32 bytes in base64.
const LEASE_TOKEN: &str = "^lt_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$";

/// The bounds in the description that depend on a server's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    lifetime: u64,
    lease: u64,
    ticket: u64,
}

impl From<&Settings> for Bounds {
    fn from(settings: &Settings) -> Self {
        Self {
            lifetime: settings.min_lifetime_seconds,
            lease: settings.max_lease_seconds,
            ticket: settings.max_ticket_seconds,
        }
    }
}

/// Adds the rules to a description.
pub(super) fn add(description: &mut Value, bounds: Bounds) {
    for (place, rule) in rules(bounds) {
        if let Some(schema) = description.pointer_mut(&place) {
            merge(schema, rule);
        }
    }
    bodies(description);
}

pub(super) fn merge(schema: &mut Value, rule: Value) {
    let (Value::Object(schema), Value::Object(rule)) = (schema, rule) else { return };
    schema.extend(rule);
}

/// Requires that at least one of these fields is present and not null.
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

/// A boolean, or an object with the options of a recording.
fn record() -> Value {
    json!({
        "type": ["boolean", "object", "null"],
        "properties": {
            "frame_rate": { "type": ["integer", "null"], "minimum": 1, "maximum": 25 },
            "width": { "type": ["integer", "null"], "minimum": 200, "maximum": 7680 },
            "format": { "enum": ["mp4", "webm", null] },
        },
        "additionalProperties": false,
    })
}

/// The name of a place, a place, or a proxy.
fn proxy_location() -> Value {
    json!({
        "type": ["string", "object", "null"],
        "properties": { "url": { "type": ["string", "null"] } },
        "anyOf": [
            { "required": ["country"] },
            { "required": ["url"], "properties": { "url": { "type": "string" } } },
        ],
    })
}

/// Two lists of target rules, and a proxy.
fn egress() -> Value {
    let rules = rules_of_targets(&["array", "null"]);
    json!({
        "type": ["object", "null"],
        "properties": {
            "allow": rules,
            "deny": rules,
            "upstream": { "type": ["string", "null"] },
        },
        "additionalProperties": false,
    })
}

/// A list of target rules.
fn rules_of_targets(types: &[&str]) -> Value {
    json!({ "type": types, "items": { "type": "string" }, "maxItems": MOST_RULES })
}

/// Headers that a browser can send.
fn extra_http_headers() -> Value {
    json!({
        "type": ["object", "null"],
        "maxProperties": 64,
        "propertyNames": { "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" },
        "additionalProperties": {
            "type": ["string", "number", "boolean"],
            "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
        },
    })
}

fn rules(bounds: Bounds) -> Vec<(String, Value)> {
    let mut rules = of_sessions(bounds);
    rules.extend(of_occupancy(bounds));
    rules.extend(of_runs());
    rules.extend(of_webhooks());
    rules
}

fn of_sessions(bounds: Bounds) -> Vec<(String, Value)> {
    let side = json!({ "minimum": 200, "maximum": 7680 });
    let mut rules = vec![
        (of_field("SessionRequest", "width"), side.clone()),
        (of_field("SessionRequest", "height"), side),
        (of_field("SessionRequest", "timeout_seconds"), json!({ "minimum": bounds.lifetime })),
        (of_field("SessionRequest", "timeout"), json!({ "minimum": bounds.lifetime.div_ceil(60) })),
        (of_field("SessionRequest", "browser_profile_id"), json!({ "pattern": "^bp_" })),
        (
            of_field("SessionRequest", "on_takeover"),
            json!({ "enum": ["hold", "refuse", "share", null] }),
        ),
        (of_field("SessionRequest", "proxy_location"), proxy_location()),
        (of_field("SessionRequest", "record"), record()),
        (of_field("SessionRequest", "egress"), egress()),
        (of_field("SessionChange", "egress"), egress()),
        (of_field("EgressCheckRequest", "egress"), egress()),
        (of_field("OrganizationEgress", "allow"), rules_of_targets(&["array"])),
        (of_field("OrganizationEgress", "deny"), rules_of_targets(&["array"])),
        (
            of_schema("SessionChange"),
            one_of(&[
                ("generate_browser_profile", "boolean"),
                ("timeout_seconds", "integer"),
                ("timeout", "integer"),
                ("expires_at", "string"),
                ("egress", "object"),
            ]),
        ),
        (of_field("ExtendRequest", "additional_minutes"), json!({ "minimum": 1 })),
        (of_field("ViewerRequest", "role"), json!({ "enum": ["watch", "control", "drive"] })),
        (of_field("ViewerRequest", "uses"), json!({ "enum": ["single", "many", null] })),
        (of_field("ViewerRequest", "label"), json!({ "maxLength": 100 })),
        (
            of_field("ViewerRequest", "ttl_seconds"),
            json!({ "minimum": 1, "maximum": bounds.ticket }),
        ),
        (of_field("DrainRequest", "deadline_seconds"), json!({ "maximum": 604_800 })),
    ];
    rules.push((of_schema("RecordingRequest"), json!({ "additionalProperties": false })));
    let mut of_recording = record();
    if let Some(Value::Object(fields)) = of_recording.get_mut("properties").map(Value::take) {
        let of_fields = fields.into_iter();
        rules.extend(of_fields.map(|(field, rule)| (of_field("RecordingRequest", &field), rule)));
    }
    rules
}

fn of_occupancy(bounds: Bounds) -> Vec<(String, Value)> {
    let lease = json!({ "minimum": 1, "maximum": bounds.lease });
    vec![
        (
            of_field("BeginRequest", "runnable_id"),
            json!({ "minLength": 1, "maxLength": 255, "pattern": VISIBLE }),
        ),
        (
            of_field("BeginRequest", "runnable_type"),
            json!({ "enum": ["workflow_run", "task_run", "external", null] }),
        ),
        (of_field("BeginRequest", "ttl_seconds"), lease.clone()),
        (of_field("BeginRequest", "wait_seconds"), json!({ "maximum": 3600 })),
        (of_field("BeginRequest", "lease_token"), json!({ "pattern": LEASE_TOKEN })),
        (of_field("HeartbeatRequest", "lease_token"), json!({ "pattern": LEASE_TOKEN })),
        (of_field("HeartbeatRequest", "ttl_seconds"), lease),
        (of_field("ReleaseRequest", "lease_token"), json!({ "pattern": LEASE_TOKEN })),
    ]
}

fn of_runs() -> Vec<(String, Value)> {
    let body = "/paths/~1v1~1agent~1callbacks/post/requestBody/content/application~1json/schema";
    let statuses = ["running", "completed", "failed", "terminated"];
    let of_blocks = |name: &str| {
        let path = format!("/paths/~1v1~1run~1{name}~1blocks/post/requestBody");
        let labels = json!({ "block_labels": { "type": "array" } });
        let rule = json!({ "required": ["block_labels"], "properties": labels });
        (format!("{path}/content/application~1json/schema"), rule)
    };
    vec![
        of_blocks("workflows"),
        of_blocks("agents"),
        (
            of_field("WorkflowRequest", "json_definition"),
            json!({
                "required": ["title", "workflow_definition"],
                "properties": {
                    "title": { "type": "string" },
                    "workflow_definition": { "type": "object" },
                },
            }),
        ),
        (of_schema("RunRequest"), one_of(&[("workflow_id", "string"), ("agent_id", "string")])),
        (
            of_field("RunRequest", "max_elapsed_time_minutes"),
            json!({ "minimum": 1, "maximum": 480 }),
        ),
        (of_field("RunRequest", "wait_seconds"), json!({ "maximum": 86_400 })),
        (of_field("RunRequest", "block_labels"), json!({ "minItems": 1 })),
        (of_field("RunRequest", "extra_http_headers"), extra_http_headers()),
        (of_field("RunRequest", "proxy_location"), proxy_location()),
        (of_field("RunRequest", "record"), record()),
        (of_field("RunRequest", "egress"), egress()),
        (
            of_field("RunRequest", "run_metadata"),
            json!({
                "maxProperties": 20,
                "propertyNames": { "maxLength": 64 },
                "additionalProperties": { "type": "string", "maxLength": 256 },
            }),
        ),
        (of_field("CancelRunsRequest", "run_ids"), json!({ "maxItems": 100 })),
        (
            of_schema("WorkflowRequest"),
            one_of(&[("json_definition", "object"), ("yaml_definition", "string")]),
        ),
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

fn of_webhooks() -> Vec<(String, Value)> {
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kinds = json!({ "items": { "enum": kinds } });
    vec![
        (of_field("WebhookRequest", "url"), json!({ "format": "uri" })),
        (of_schema("WebhookRequest"), json!({ "required": ["url"] })),
        (of_field("WebhookRequest", "kinds"), kinds.clone()),
        (of_field("WebhookChange", "kinds"), kinds),
        (of_field("SecretRotation", "overlap_seconds"), json!({ "maximum": 2_592_000 })),
    ]
}

/// Marks each body without a required field as optional and nullable.
fn bodies(description: &mut Value) {
    let schemas = description.pointer("/components/schemas").cloned().unwrap_or_default();
    let Some(Value::Object(paths)) = description.get_mut("paths") else { return };
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let Some(body) = operation.get_mut("requestBody") else { continue };
        let Some(schema) = body.pointer_mut("/content/application~1json/schema") else { continue };
        let name = schema.get("$ref").and_then(Value::as_str);
        let named = name.and_then(|name| schemas.get(name.rsplit('/').next().unwrap_or(name)));
        let Some(named) = named else { continue };
        if named.get("required").is_none() && named.get("anyOf").is_none() {
            *schema = json!({ "oneOf": [schema.take(), { "type": "null" }] });
            merge(body, json!({ "required": false }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi::description;

    #[test]
    fn every_rule_is_about_something_that_is_described() {
        let described = serde_json::to_value(description()).unwrap();
        for (place, _) in rules(Bounds::from(&Settings::default())) {
            assert!(described.pointer(&place).is_some(), "{place} is not described");
        }
    }

    #[test]
    fn a_body_that_may_be_left_out_may_be_null() {
        let mut described = serde_json::to_value(description()).unwrap();
        add(&mut described, Bounds::from(&Settings::default()));
        let body = &described["paths"]["/v1/browser_sessions"]["post"]["requestBody"];
        let schema = &body["content"]["application/json"]["schema"];
        assert_eq!(
            (&body["required"], &schema["oneOf"][1]["type"]),
            (&json!(false), &json!("null"))
        );
        let body = &described["paths"]["/v1/webhooks"]["post"]["requestBody"];
        assert_eq!(body["required"], true);
    }
}
