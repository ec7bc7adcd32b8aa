//! The forms of a run in lists.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{asked, run_with};
use crate::domain::run::RunRecord;

/// A run in the lists of a workflow's and of a session's runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunItem {
    /// The id of the run, `wr_…`.
    pub workflow_run_id: String,
    /// The version of the workflow, `w_…`.
    pub workflow_id: String,
    /// The id of the workflow, `wpid_…`.
    pub workflow_permanent_id: String,
    /// The id of the organization, `o_…`.
    pub organization_id: String,
    /// The status, as in the newer form.
    pub status: &'static str,
    /// The reason why the run did not complete.
    pub failure_reason: Option<String>,
    /// The title of the run for people.
    pub workflow_title: Option<String>,
    /// The session that the run drives; kept after the run's end.
    pub browser_session_id: Option<String>,
    /// The debug session of the run.
    pub debug_session_id: Option<String>,
    /// The run that this run repeats.
    pub retried_from_workflow_run_id: Value,
    /// The run that triggered this run.
    pub parent_workflow_run_id: Value,
    /// The value given in the request.
    pub browser_profile_id: Value,
    /// The value given in the request.
    pub proxy_location: Value,
    /// The URL to which the end of the run is reported.
    pub webhook_callback_url: Value,
    /// The value given in the request.
    pub totp_verification_url: Value,
    /// The value given in the request.
    pub totp_identifier: Value,
    /// The value given in the request.
    pub extra_http_headers: Value,
    /// The headers given in the request, without their values.
    pub cdp_connect_headers: Value,
    /// The value given in the request.
    pub max_screenshot_scrolls: Value,
    /// The value given in the request.
    pub max_elapsed_time_minutes: Value,
    /// The value given in the request; `agent` by default.
    pub run_with: String,
    /// The value given in the request.
    pub ai_fallback: Value,
    /// Always `api`, the only trigger.
    pub trigger_type: &'static str,
    /// Always 0: runs cost nothing.
    pub credits_used: u32,
    /// Always 0: runs cost nothing.
    pub cached_credits_used: u32,
    /// The time at which the run began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// The time at which the run began to drive its session.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which the run ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The time at which the run was created.
    pub created_at: DateTime<Utc>,
    /// The time of the run's last change.
    pub modified_at: DateTime<Utc>,
}

impl From<&RunRecord> for RunItem {
    fn from(record: &RunRecord) -> Self {
        Self {
            workflow_run_id: record.id.to_string(),
            workflow_id: record.workflow.to_string(),
            workflow_permanent_id: record.workflow_permanent_id.to_string(),
            organization_id: record.organization.to_string(),
            status: record.status.as_str(),
            failure_reason: record.failure.as_ref().map(|failure| failure.message.clone()),
            workflow_title: record.title.clone(),
            browser_session_id: record.session.map(|session| session.to_string()),
            debug_session_id: record.debug_session.map(|session| session.to_string()),
            retried_from_workflow_run_id: asked(record, "retried_from_workflow_run_id"),
            parent_workflow_run_id: asked(record, "parent_workflow_run_id"),
            browser_profile_id: asked(record, "browser_profile_id"),
            proxy_location: asked(record, "proxy_location"),
            webhook_callback_url: asked(record, "webhook_url"),
            totp_verification_url: asked(record, "totp_url"),
            totp_identifier: asked(record, "totp_identifier"),
            extra_http_headers: asked(record, "extra_http_headers"),
            cdp_connect_headers: asked(record, "cdp_connect_headers"),
            max_screenshot_scrolls: asked(record, "max_screenshot_scrolls"),
            max_elapsed_time_minutes: asked(record, "max_elapsed_time_minutes"),
            run_with: run_with(record),
            ai_fallback: asked(record, "ai_fallback"),
            trigger_type: "api",
            credits_used: 0,
            cached_credits_used: 0,
            queued_at: record.queued_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            created_at: record.created_at,
            modified_at: record.modified_at,
        }
    }
}

/// A run in the list of all runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunSummary {
    /// The id of the run, `wr_…`.
    pub task_run_id: String,
    /// The same as `task_run_id`.
    pub run_id: String,
    /// Always `workflow_run`, the only type.
    pub task_run_type: &'static str,
    /// The status, as in the form of one run.
    pub status: &'static str,
    /// The title of the run for people.
    pub title: Option<String>,
    /// The time at which the run began to drive its session.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which the run ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The time at which the run was created.
    pub created_at: DateTime<Utc>,
    /// The workflow that the run executes.
    pub workflow_permanent_id: String,
    /// Always false: not looked up in lists.
    pub workflow_deleted: bool,
    /// Always false: runs are not scripts.
    pub script_run: bool,
    /// Always `api`, the only trigger.
    pub trigger_type: &'static str,
    /// The session that the run drives; kept after the run's end.
    pub browser_session_id: Option<String>,
}

impl From<&RunRecord> for RunSummary {
    fn from(record: &RunRecord) -> Self {
        Self {
            task_run_id: record.id.to_string(),
            run_id: record.id.to_string(),
            task_run_type: "workflow_run",
            status: record.status.as_str(),
            title: record.title.clone(),
            started_at: record.started_at,
            finished_at: record.finished_at,
            created_at: record.created_at,
            workflow_permanent_id: record.workflow_permanent_id.to_string(),
            workflow_deleted: false,
            script_run: false,
            trigger_type: "api",
            browser_session_id: record.session.map(|session| session.to_string()),
        }
    }
}
