//! Empty answers for kinds of resources that this server never has, in the shape that clients
//! expect.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::matched;

/// The method, the path below the API's prefix, and a function that makes the answer from the part
/// that matched `*`.
type Entry = (Method, &'static str, fn(&str) -> Value);

fn list(_: &str) -> Value {
    json!([])
}

fn nothing(_: &str) -> Value {
    Value::Null
}

fn run_tags(_: &str) -> Value {
    json!({ "run_tags": {} })
}

fn workflow_tags(_: &str) -> Value {
    json!({ "workflow_tags": {} })
}

const ENTRIES: &[Entry] = &[
    (Method::GET, "browser_types", list),
    (
        Method::GET,
        "browser_sessions/*/action_logs",
        |_| json!({ "events": [], "next_cursor": null }),
    ),
    (Method::GET, "credential_folders", list),
    (Method::GET, "credentials", list),
    (Method::GET, "credentials/totp", list),
    (Method::GET, "credentials/bitwarden/items", |_| json!({ "configured": false, "items": [] })),
    (
        Method::GET,
        "credentials/onepassword/items",
        |_| json!({ "configured": false, "items": [], "source": null }),
    ),
    (Method::GET, "credentials/onepassword/status", |_| {
        json!({
            "configured": false,
            "source": null,
            "instance_default_available": false,
            "modified_at": null,
        })
    }),
    (Method::GET, "custom-llms", list),
    (Method::GET, "feedback", nothing),
    (Method::GET, "folders", list),
    (Method::GET, "google/oauth/credentials", |_| json!({ "credentials": [] })),
    (Method::GET, "microsoft/oauth/credentials", |_| json!({ "credentials": [] })),
    (Method::GET, "models", |_| json!({ "models": {} })),
    (
        Method::GET,
        "run-tag-suggestions",
        |_| json!({ "keys": [], "values_by_key": {}, "labels": [] }),
    ),
    (Method::GET, "run-tags", run_tags),
    (Method::POST, "run-tags", run_tags),
    (Method::POST, "runs/heal_summary/batch", |_| json!({ "summaries": {} })),
    (Method::GET, "runs/*/heal_episodes", |_| {
        json!({
            "episodes": [],
            "summary": {
                "blocks_healed": 0,
                "blocks_outcome_risk": [],
                "blocks_with_heal_attempt": 0,
            },
        })
    }),
    (Method::GET, "runs/*/tags", |run| json!({ "workflow_run_id": run, "tags": [] })),
    (Method::GET, "runs/*/tags/history", |run| json!({ "workflow_run_id": run, "events": [] })),
    (
        Method::GET,
        "schedules",
        |_| json!({ "schedules": [], "total_count": 0, "page": 1, "page_size": 10 }),
    ),
    (Method::GET, "scripts", list),
    (Method::GET, "scripts/workflows/*", |_| json!({ "scripts": [] })),
    (
        Method::GET,
        "scripts/*/*/values",
        |_| json!({ "filtered_count": 0, "page": 1, "page_size": 10, "total_count": 0, "values": [] }),
    ),
    (
        Method::POST,
        "scripts/*/blocks",
        |_| json!({ "blocks": {}, "main_script": null, "script_id": null, "version": null }),
    ),
    (Method::GET, "step/*/artifacts", list),
    (Method::GET, "tag-keys", list),
    (Method::GET, "tag-values", list),
    (Method::GET, "task/*/artifacts", list),
    (Method::GET, "tasks", list),
    (Method::GET, "thought/*/artifacts", list),
    (Method::GET, "workflow-tags", workflow_tags),
    (Method::POST, "workflow-tags", workflow_tags),
    (Method::GET, "workflow/copilot/chat-history", |_| {
        json!({
            "workflow_copilot_chat_id": null,
            "chat_history": [],
            "proposed_workflow": null,
            "auto_accept": null,
        })
    }),
    (Method::GET, "workflow/copilot/chats", list),
    (Method::POST, "workflows/reliability/batch", |_| json!({ "reliabilities": {} })),
    (
        Method::GET,
        "workflows/*/fallback-episodes",
        |_| json!({ "episodes": [], "page": 1, "page_size": 10, "total_count": 0 }),
    ),
    (Method::GET, "workflows/*/heal_episodes", list),
    (Method::GET, "workflows/*/reliability", |_| {
        json!({
            "state": "healthy",
            "outcome_risk": false,
            "scored": false,
            "window_runs": 0,
            "healed_runs": 0,
            "heal_rate": 0.0,
            "consecutive_healed_runs": 0,
            "floor_runs": 0,
            "outcome_risk_runs": 0,
        })
    }),
    (Method::GET, "workflows/*/schedules", |_| json!({ "schedules": [] })),
    (
        Method::GET,
        "workflows/*/tags",
        |workflow| json!({ "workflow_permanent_id": workflow, "tags": [] }),
    ),
    (
        Method::GET,
        "workflows/*/tags/history",
        |workflow| json!({ "workflow_permanent_id": workflow, "events": [] }),
    ),
];

/// Returns the empty answer to a request, if it reads a kind of resource that this server never
/// has.
pub(super) fn answer(method: &Method, parts: &[&str]) -> Option<Value> {
    ENTRIES.iter().filter(|(of, ..)| of == method).find_map(|(_, pattern, answer)| {
        let (wild, count) = matched(pattern, parts)?;
        (count == parts.len()).then(|| answer(wild.first().copied().unwrap_or_default()))
    })
}
