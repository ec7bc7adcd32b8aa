//! Answers for the compatible API's recorder of tasks, which this server does not have.

use serde_json::{Value, json};

/// The error of every message about a recording, and of others that are not supported.
pub(super) const NOT_DONE: &str = "this server does not do that";

/// The title of the only step of a recording.
const NOT_RECORDED: &str = "This server does not record tasks. Discard this recording, and add the \
                            blocks of the workflow one by one.";

/// Returns a recording that has ended with one step, whose title says that nothing is recorded. The
/// pages of the compatible API show no errors of a recording, only its steps.
pub(super) fn not_recorded() -> Value {
    let step = json!({
        "step_id": "not_supported",
        "action_kind": "click",
        "block_type": "action",
        "label": "not_recorded",
        "title": NOT_RECORDED,
        "navigation_goal": NOT_RECORDED,
        "url": null,
        "wait_sec": null,
        "status": "ready",
        "editable_fields": [],
        "parameters": [],
        "parameter_keys": [],
    });
    json!({
        "kind": "recording-interpretation-update",
        "interpretation_session_id": "not_supported",
        "session_revision": 1,
        "steps": [step],
        "changed_steps": [],
        "is_snapshot": true,
        "pending": false,
        "finalized": true,
    })
}
