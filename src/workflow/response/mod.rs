//! The form of a workflow in responses of the compatible API.
//!
//! Blocks differ from their written form. `parameter_keys` are replaced by the parameters themselves,
//! and every block has an `output_parameter`, which is also listed among the definition's parameters.
//! The ids of parameters are derived from the workflow's id, so that they are the same in every
//! response.

mod defaults;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::definition::{Block, Definition, Kind};
use super::engine::branch_id;
use crate::domain::ids::{OutputParameterId, ParameterId, WorkflowId};
use crate::domain::masking::{MASKED, mask_members};
use crate::domain::run::WorkflowRecord;

/// Returns the settings with their defaults.
fn settings() -> Value {
    json!({
        "proxy_location": null,
        "webhook_callback_url": null,
        "totp_verification_url": null,
        "totp_identifier": null,
        "persist_browser_session": false,
        "reuse_browser_session": false,
        "mask_secrets": null,
        "pin_saved_session_ip": false,
        "browser_profile_id": null,
        "browser_profile_key": null,
        "model": null,
        "is_saved_task": false,
        "max_screenshot_scrolls": null,
        "max_elapsed_time_minutes": null,
        "extra_http_headers": null,
        "cdp_connect_headers": null,
        "run_with": "agent",
        "ai_fallback": true,
        "cache_key": "default",
        "adaptive_caching": false,
        "enable_self_healing": null,
        "code_version": null,
        "generate_script_on_terminal": false,
        "run_sequentially": false,
        "sequential_key": null,
        "sanitize_on_finish": false,
        "folder_id": null,
        "name": null,
        "tags": [],
    })
}

/// Returns the names of the settings that every workflow has.
pub fn setting_names() -> Vec<String> {
    settings().as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Formats the workflow as a response of the API.
pub fn workflow(record: &WorkflowRecord, definition: &Definition) -> Value {
    let mut answer = Map::new();
    let given = record.settings.as_object().into_iter().flatten();
    let defaults = settings();
    let defaults = defaults.as_object().into_iter().flatten();
    for (key, value) in defaults.chain(given) {
        answer.insert(key.clone(), value.clone());
    }
    mask_members(&mut answer);
    let run_with = match answer.get("run_with").and_then(Value::as_str) {
        Some("ai") => Some("agent"),
        Some("code_v2") => Some("code"),
        Some(_) | None => None,
    };
    let own = [
        ("workflow_id", json!(record.id)),
        ("organization_id", json!(record.organization)),
        ("title", json!(record.title)),
        ("workflow_permanent_id", json!(record.permanent_id)),
        ("agent_id", json!(record.permanent_id)),
        ("version", json!(record.version)),
        ("is_template", json!(false)),
        ("description", json!(record.description)),
        ("status", json!(record.status)),
        ("workflow_definition", shown(record, definition)),
        ("import_error", Value::Null),
        ("created_by", Value::Null),
        ("edited_by", Value::Null),
        ("copilot_authored", json!(false)),
        ("created_at", json!(record.created_at)),
        ("modified_at", json!(record.modified_at)),
        ("deleted_at", json!(record.deleted_at)),
    ];
    for (key, value) in own {
        answer.insert(key.to_owned(), value);
    }
    if let Some(run_with) = run_with {
        answer.insert("run_with".to_owned(), Value::from(run_with));
    }
    Value::Object(answer)
}

/// Returns a number for each parameter of a workflow, the same at every call.
fn number(workflow: WorkflowId, key: &str) -> u64 {
    let hash = blake3::hash(format!("{workflow} {key}").as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 // Within the range of signed columns.
}

fn shown(record: &WorkflowRecord, definition: &Definition) -> Value {
    let mut known: HashMap<String, Value> = HashMap::new();
    let mut parameters = Vec::new();
    let dates = [
        ("workflow_id", json!(record.id)),
        ("created_at", json!(record.created_at)),
        ("modified_at", json!(record.modified_at)),
        ("deleted_at", Value::Null),
    ];
    for parameter in &definition.parameters {
        let mut shown = parameter.raw.clone();
        let kind = shown.get("parameter_type").and_then(Value::as_str).unwrap_or("workflow");
        let id = ParameterId::from(number(record.id, &parameter.key));
        let id_key = format!("{kind}_parameter_id");
        shown.insert(id_key, json!(id));
        shown.entry("description").or_insert(Value::Null);
        if kind_is_workflow(&shown) {
            shown.entry("default_value").or_insert(Value::Null);
        }
        shown.extend(dates.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        known.insert(parameter.key.clone(), Value::Object(shown.clone()));
        parameters.push(Value::Object(shown));
    }
    for block in definition.all_blocks() {
        let key = block.output_key();
        let id = OutputParameterId::from(number(record.id, &key));
        let mut output = Map::new();
        let own = [
            ("parameter_type", json!("output")),
            ("key", json!(key)),
            ("description", json!(format!("Output parameter for block {}", block.label))),
            ("output_parameter_id", json!(id)),
        ];
        output.extend(
            own.into_iter().chain(dates.clone()).map(|(key, value)| (key.to_owned(), value)),
        );
        known.insert(key, Value::Object(output.clone()));
        parameters.push(Value::Object(output));
    }

    let mut shown = definition.raw.as_object().cloned().unwrap_or_default();
    let blocks = definition.blocks.iter().map(|block| shown_block(block, &known)).collect();
    shown.insert("version".to_owned(), Value::from(definition.version));
    shown.insert("parameters".to_owned(), Value::Array(parameters));
    shown.insert("blocks".to_owned(), blocks);
    for key in [
        "finally_block_label",
        "error_code_mapping",
        "workflow_system_prompt",
        "completion_contract",
    ] {
        shown.entry(key).or_insert(Value::Null);
    }
    Value::Object(shown)
}

fn kind_is_workflow(parameter: &Map<String, Value>) -> bool {
    parameter.get("parameter_type").and_then(Value::as_str) == Some("workflow")
}

fn shown_block(block: &Block, known: &HashMap<String, Value>) -> Value {
    let mut shown = block.raw.clone();
    shown.shift_remove("parameter_keys");
    let used = block.parameter_keys.iter().filter_map(|key| known.get(key).cloned());
    shown.insert("parameters".to_owned(), used.collect());
    let output = known.get(&block.output_key()).cloned().unwrap_or_default();
    shown.insert("output_parameter".to_owned(), output);
    let common = [
        ("next_block_label", Value::Null),
        ("continue_on_failure", json!(false)),
        ("model", Value::Null),
        ("disable_cache", json!(false)),
        ("ignore_workflow_system_prompt", json!(false)),
        ("next_loop_on_failure", json!(false)),
    ];
    for (key, value) in common {
        shown.entry(key).or_insert(value);
    }
    if matches!(block.kind, Kind::ForLoop(_) | Kind::WhileLoop(_)) {
        let body = block.body.iter().map(|block| shown_block(block, known)).collect();
        shown.insert("loop_blocks".to_owned(), body);
    }
    if let Kind::ForLoop(spec) = &block.kind {
        let over = spec.loop_over_parameter_key.as_ref().and_then(|key| known.get(key)).cloned();
        shown.shift_remove("loop_over_parameter_key");
        shown.insert("loop_over".to_owned(), over.unwrap_or_default());
        shown.entry("loop_variable_reference").or_insert(Value::Null);
        shown.entry("complete_if_empty").or_insert(json!(false));
    }
    if let Some(Value::Array(branches)) = shown.get_mut("branch_conditions") {
        for (index, branch) in branches.iter_mut().enumerate() {
            if let Some(branch) = branch.as_object_mut() {
                let id = branch_id(&block.label, index);
                branch.entry("id").or_insert(Value::from(id));
            }
        }
    }
    defaults::fill(&block.block_type, &mut shown);
    if block.block_type == "send_email" {
        mask_password(&mut shown);
        email_secrets(&mut shown, known);
    }
    Value::Object(shown)
}

fn mask_password(shown: &mut Map<String, Value>) {
    // Only the password is masked: the block's addresses are part of its purpose.
    if let Some(password) = shown.get_mut("custom_smtp_password")
        && password.is_string()
    {
        *password = MASKED.into();
    }
}

/// Adds the four secrets of an email. Clients parse them as parameters and reject a block without
/// them.
fn email_secrets(shown: &mut Map<String, Value>, known: &HashMap<String, Value>) {
    for name in ["host", "port", "username", "password"] {
        let field = format!("smtp_{name}_secret_parameter_key");
        let key = shown.shift_remove(&field).and_then(|key| key.as_str().map(str::to_owned));
        let given = key.as_ref().and_then(|key| known.get(key)).cloned();
        let stand_in = json!({
            "parameter_type": "aws_secret",
            "key": format!("smtp_{name}"),
            "aws_key": format!("SMTP_{}", name.to_uppercase()),
            "aws_secret_parameter_id": format!("smtp_{name}"),
            "workflow_id": "",
            "description": null,
            "created_at": "1970-01-01T00:00:00Z",
            "modified_at": "1970-01-01T00:00:00Z",
            "deleted_at": null,
        });
        shown.insert(format!("smtp_{name}"), given.unwrap_or(stand_in));
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::workflow::definition::Workflow;

    #[test]
    fn blocks_carry_their_parameters_and_outputs() {
        let document = json!({
            "title": "T", "webhook_callback_url": "http://a/", "cdp_connect_headers": { "a": "secret" },
            "unknown": 1,
            "workflow_definition": {
                "own": true,
                "parameters": [{ "parameter_type": "workflow", "workflow_parameter_type": "json", "key": "rows" }],
                "blocks": [{
                    "block_type": "for_loop", "label": "each", "loop_over_parameter_key": "rows",
                    "loop_blocks": [{
                        "block_type": "goto_url", "label": "go", "url": "{{ current_value }}",
                        "parameter_keys": ["rows"], "extra": "kept",
                    }],
                }],
            },
        });
        let parsed = Workflow::from_json(&document).unwrap();
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let record = WorkflowRecord {
            id: 7.into(),
            permanent_id: 8.into(),
            organization: 9.into(),
            version: 3,
            title: parsed.title.clone(),
            description: None,
            status: parsed.status.clone(),
            definition: parsed.definition.raw.clone(),
            settings: parsed.settings.clone(),
            created_at: at,
            modified_at: at,
            deleted_at: None,
        };
        let stored = Definition::stored(&record.definition).unwrap();
        let answer = workflow(&record, &stored);
        assert_eq!(answer, workflow(&record, &stored));
        assert_eq!(answer["workflow_id"], "w_7");
        assert_eq!(answer["agent_id"], "wpid_8");
        assert_eq!(answer["unknown"], 1);
        assert_eq!(answer["cdp_connect_headers"], json!({ "a": "***" }));
        assert_eq!(answer["webhook_callback_url"], "http://a/");

        let definition = &answer["workflow_definition"];
        assert_eq!(definition["own"], true);
        let keys: Vec<_> = definition["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|is| is["key"].clone())
            .collect();
        assert_eq!(json!(keys), json!(["rows", "each_output", "go_output"]));
        let each = &definition["blocks"][0];
        assert_eq!(each["loop_over"]["key"], "rows");
        assert_eq!(each["output_parameter"]["key"], "each_output");
        assert_eq!(each["output_parameter"]["workflow_id"], "w_7");
        let go = &each["loop_blocks"][0];
        assert_eq!(go["parameters"], json!([definition["parameters"][0]]));
        assert_eq!(go["output_parameter"], definition["parameters"][2]);
        assert_eq!((&go["extra"], go.get("parameter_keys")), (&json!("kept"), None));
        assert!(
            definition["parameters"][0]["workflow_parameter_id"]
                .as_str()
                .unwrap()
                .starts_with("wp_")
        );
    }

    /// Returns a block of each type, with its required fields.
    fn every_block() -> Vec<Value> {
        let fields = |kind: &str| match kind {
            "goto_url" => json!({ "url": "{{ start }}" }),
            "wait" => json!({ "wait_sec": 1 }),
            "click" | "hover" => json!({ "selector": "#a" }),
            "fill" => json!({ "selector": "#a", "value": "{{ start }}" }),
            "select" => json!({ "selector": "#a", "values": ["x"] }),
            "press" => json!({ "key": "Enter" }),
            "upload" => json!({ "selector": "#a", "files": [{ "name": "a.txt", "text": "a" }] }),
            "wait_for" => json!({ "text": "done" }),
            "extract" => {
                json!({ "fields": { "z": "#z", "a": { "selector": "#a", "type": "number" } } })
            }
            "assert" => json!({ "condition": "{{ true }}" }),
            "script" => json!({ "script": "1" }),
            "http_request" => {
                json!({ "url": "https://a.example/", "headers": { "z": "1", "a": "2" } })
            }
            "for_loop" => json!({
                "loop_over_parameter_key": "rows",
                "loop_blocks": [{ "block_type": "wait", "label": "inner", "wait_sec": 1, "parameter_keys": ["rows"] }],
            }),
            "while_loop" => json!({
                "condition": { "expression": "{{ false }}" },
                "loop_blocks": [{ "block_type": "wait", "label": "again", "wait_sec": 1 }],
            }),
            "conditional" => json!({ "branch_conditions": [
                { "criteria": { "expression": "{{ true }}" }, "next_block_label": null },
                { "is_default": true },
            ] }),
            "file_download" => json!({ "url": "https://a.example/file" }),
            "file_url_parser" => {
                json!({ "file_url": "https://a.example/file.csv", "file_type": "csv" })
            }
            "code" => json!({ "code": "return 1", "parameter_keys": ["start"] }),
            "workflow_trigger" => {
                json!({ "workflow_permanent_id": "wpid_7", "payload": { "z": 1, "a": 2 } })
            }
            "send_email" => json!({
                "sender": "a@a.example", "recipients": ["b@b.example"], "subject": "s", "body": "b",
                "smtp_host_secret_parameter_key": "mail",
            }),
            "navigation" => json!({ "navigation_goal": "g" }),
            "extraction" => json!({ "data_extraction_goal": "g", "parameter_keys": ["start"] }),
            "text_prompt" | "task_v2" => json!({ "prompt": "p" }),
            "pdf_fill" | "split_pdf" => json!({ "file_url": "f", "prompt": "p" }),
            "download_to_s3" => json!({ "url": "u" }),
            "pdf_parser" => json!({ "file_url": "f" }),
            "email_inbox" => json!({ "email_client": "c" }),
            "google_sheets_read" | "google_sheets_write" => json!({ "spreadsheet_url": "s" }),
            _ => json!({}),
        };
        let others = [
            "task",
            "navigation",
            "action",
            "extraction",
            "login",
            "validation",
            "text_prompt",
            "task_v2",
            "pdf_fill",
            "split_pdf",
            "download_to_s3",
            "pdf_parser",
            "email_inbox",
            "google_sheets_read",
            "google_sheets_write",
            "upload_to_s3",
            "file_upload",
        ];
        let kinds = Kind::NAMES.iter().chain(&others);
        kinds
            .map(|kind| {
                let mut block = json!({ "block_type": kind, "label": format!("the_{kind}") });
                block.as_object_mut().unwrap().extend(fields(kind).as_object().unwrap().clone());
                block
            })
            .collect()
    }

    #[test]
    fn an_answer_is_accepted_when_it_is_sent_again_and_means_the_same() {
        for block in every_block() {
            let document = json!({
                "title": "T", "webhook_callback_url": "https://a.example/",
                "workflow_definition": {
                    "parameters": [
                        { "parameter_type": "workflow", "workflow_parameter_type": "json", "key": "rows" },
                        { "parameter_type": "workflow", "workflow_parameter_type": "string", "key": "start", "default_value": "x" },
                        { "parameter_type": "aws_secret", "aws_key": "k", "key": "mail" },
                        { "parameter_type": "context", "source_parameter_key": "rows", "key": "row" },
                    ],
                    "blocks": [block],
                },
            });
            let answer = |parsed: &Workflow| {
                let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
                let record = WorkflowRecord {
                    id: 7.into(),
                    permanent_id: 8.into(),
                    organization: 9.into(),
                    version: 3,
                    title: parsed.title.clone(),
                    description: parsed.description.clone(),
                    status: parsed.status.clone(),
                    definition: parsed.definition.raw.clone(),
                    settings: parsed.settings.clone(),
                    created_at: at,
                    modified_at: at,
                    deleted_at: None,
                };
                workflow(&record, &Definition::stored(&record.definition).unwrap())
            };
            let first =
                Workflow::from_json(&document).unwrap_or_else(|cause| panic!("{block}: {cause}"));
            let shown = answer(&first);
            let again =
                Workflow::from_json(&shown).unwrap_or_else(|cause| panic!("{shown:#}: {cause}"));
            assert_eq!(again.definition.parameters.len(), 4, "{shown:#}");
            for (before, after) in
                first.definition.all_blocks().iter().zip(again.definition.all_blocks())
            {
                assert_eq!(before.parameter_keys, after.parameter_keys, "{block}");
                for (field, value) in
                    before.raw.iter().filter(|(field, _)| *field != "branch_conditions")
                {
                    assert_eq!(after.raw.get(field), Some(value), "{field} of {block}");
                }
            }
            assert_eq!(answer(&again), shown, "{block}");
        }
    }
}
