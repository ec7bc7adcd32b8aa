//! Rejected routes of the compatible API, and their alternatives.

use super::matched;

const TASKS: &str = "this server has no model of its own: run a workflow; its blocks that need a \
                     model are handed to the agent endpoint, if one is configured";
const MODEL: &str = "this server has no model of its own";
const TAGS: &str =
    "there are no tags: give a run `run_metadata`, and find workflows by `search_key`";
const CREDENTIALS: &str = "credentials are not kept: give them to a run as parameters";
const PROFILES: &str =
    "profiles are not kept: a session has one of its own for as long as it lives";
const SCHEDULES: &str = "runs are not scheduled: start them when they are due";
const SCRIPTS: &str = "scripts are not made from runs: write a workflow";
const FOLDERS: &str = "workflows have no folders: find them by `search_key`";
const RECORDED: &str = "tasks are not recorded: write the blocks of a workflow";
const ACCOUNTS: &str = "accounts of other services are not kept: send requests to them by \
                        `http_request` blocks";
const CODES: &str = "one-time codes are not received: ask a person by a `human_interaction` block";
const HOOKS: &str = "register a webhook by POST /v1/webhooks, and see its deliveries by \
                     GET /v1/webhooks/{webhook_id}/messages";

/// Beginnings of paths below the API's prefix, each with its alternative.
const ENTRIES: &[(&str, &str)] = &[
    ("browser_profiles", PROFILES),
    ("browser_recordings", RECORDED),
    (
        "browser_sessions/external",
        "browsers that another server started are not driven: make a session",
    ),
    (
        "browser_sessions/*/action_logs",
        "what a person does is not logged: record the session's film",
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
    ("debug-session/prewarm", "debug sessions are made when they are asked for"),
    ("feedback", "feedback on runs is not kept"),
    ("files", "files are not kept: a workflow's `upload` block takes a URL"),
    ("folders", FOLDERS),
    ("generate", MODEL),
    ("google", ACCOUNTS),
    ("integrations", ACCOUNTS),
    ("internal/auth", "GET /readyz says whether the server is ready"),
    ("internal/llms", MODEL),
    ("internal/runs", HOOKS),
    ("internal/test-webhook", HOOKS),
    ("microsoft", ACCOUNTS),
    ("organizations", "organizations are kept by whoever operates the server, and are not shown"),
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
    ("upload_file", "files are not kept: a workflow's `upload` block takes a URL"),
    ("utilities", "write the request as an `http_request` block"),
    ("webhook", HOOKS),
    ("workflow-tags", TAGS),
    ("workflow/copilot", MODEL),
    ("workflow_run_groups", "runs have no groups: give them `run_metadata`"),
    ("workflows/import-pdf", MODEL),
    ("workflows/sop-to-blocks", MODEL),
    ("workflows/reliability", MODEL),
    ("workflows/*/browser_session", PROFILES),
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
