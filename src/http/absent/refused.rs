//! Rejected routes of the compatible API, and their alternatives.

use super::matched;

const TASKS: &str = "this server has no model of its own: run a workflow; its blocks that need a \
                     model are handed to the agent endpoint, if one is configured";
const MODEL: &str = "this server has no model of its own";
const TAGS: &str =
    "there are no tags: give a run `run_metadata`, and find workflows by `search_key`";
const CREDENTIALS: &str = "credentials are not stored: pass them to a run as parameters";
const SCHEDULES: &str = "runs are not scheduled: start each run at its time";
const SCRIPTS: &str = "scripts are not generated from runs: write a workflow";
const FOLDERS: &str = "workflows have no folders: find them by `search_key`";
const RECORDED: &str = "tasks are not recorded: write the blocks of a workflow";
const ACCOUNTS: &str = "accounts of other services are not stored: send requests to them by \
                        `http_request` blocks";
const CODES: &str = "one-time codes are not received: use a `human_interaction` block, and a person enters the code";
const HOOKS: &str = "register a webhook by POST /v1/webhooks, and see its deliveries by \
                     GET /v1/webhooks/{webhook_id}/messages";

/// Beginnings of paths below the API's prefix, each with its alternative.
const ENTRIES: &[(&str, &str)] = &[
    ("browser_recordings", RECORDED),
    ("browser_sessions/external", "browsers of other servers cannot be driven: create a session"),
    (
        "browser_sessions/*/action_logs",
        "the input of a person is not logged: make a recording of the session",
    ),
    (
        "browser_sessions/*/metadata",
        "GET /v1/browser_sessions/{browser_session_id} shows a session",
    ),
    ("browser_sessions/*/process_recording", RECORDED),
    ("credential_folders", CREDENTIALS),
    ("credentials", CREDENTIALS),
    ("cruise", TASKS),
    ("custom-llms", MODEL),
    ("debug-session/prewarm", "debug sessions are created on request"),
    ("feedback", "feedback on runs is not stored"),
    ("files", "files are not stored: a workflow's `upload` block takes a URL"),
    ("folders", FOLDERS),
    ("generate", MODEL),
    ("google", ACCOUNTS),
    ("integrations", ACCOUNTS),
    ("internal/auth", "GET /readyz reports the readiness of the server"),
    ("internal/llms", MODEL),
    ("internal/runs", HOOKS),
    ("internal/test-webhook", HOOKS),
    ("microsoft", ACCOUNTS),
    ("organizations", "the operator of the server manages organizations; they are not listed here"),
    ("prompts", MODEL),
    ("run-tag-suggestions", TAGS),
    ("run-tags", TAGS),
    ("run/tasks", TASKS),
    ("runs/heal_summary", MODEL),
    ("runs/*/heal_episodes", MODEL),
    ("runs/*/tags", TAGS),
    ("schedules", SCHEDULES),
    ("scripts", SCRIPTS),
    (
        "sdk/run_action",
        "this server has no model of its own: drive the page with Playwright over \
         `browser_address`, or run a workflow",
    ),
    ("sms", CODES),
    ("suggest", MODEL),
    ("tag-keys", TAGS),
    ("tag-values", TAGS),
    ("tasks", TASKS),
    ("totp", CODES),
    ("upload_file", "files are not stored: a workflow's `upload` block takes a URL"),
    ("utilities", "write the request as an `http_request` block"),
    ("webhook", HOOKS),
    ("workflow-tags", TAGS),
    ("workflow/copilot", MODEL),
    ("workflow_run_groups", "runs have no groups: give them `run_metadata`"),
    ("workflows/import-pdf", MODEL),
    ("workflows/sop-to-blocks", MODEL),
    ("workflows/reliability", MODEL),
    ("workflows/*/fallback-episodes", MODEL),
    ("workflows/*/folder", FOLDERS),
    ("workflows/*/heal_episodes", MODEL),
    ("workflows/*/reliability", MODEL),
    ("workflows/*/schedules", SCHEDULES),
    ("workflows/*/tags", TAGS),
    (
        "workflows/*/template",
        "there are no templates: store the workflow again under another title",
    ),
    ("workflows/*/versions/*/recording", RECORDED),
];

/// Returns the alternative for a rejected path.
pub(super) fn instead(parts: &[&str]) -> Option<&'static str> {
    ENTRIES
        .iter()
        .find(|(pattern, _)| matched(pattern, parts).is_some())
        .map(|(_, instead)| *instead)
}
