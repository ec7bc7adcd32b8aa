//! A run in the older form of the compatible API, which webhooks have too.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{asked, downloads, errors, outputs, recordings, run_with, screenshots};
use crate::actors::views::RunView;
use crate::domain::run::ArtifactRecord;
use crate::http::artifacts::FileResource;
use crate::http::links::Links;

/// A workflow run in its older form.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunBaseResource {
    /// `wpid_…`.
    pub workflow_id: String,
    /// The same.
    pub agent_id: String,
    /// `wr_…`.
    pub workflow_run_id: String,
    /// The same.
    pub agent_run_id: String,
    /// As in the newer form.
    pub status: &'static str,
    /// Why it did not complete.
    pub failure_reason: Option<String>,
    /// None: failures have codes instead, see `failure` of the newer form.
    pub failure_category: Option<Vec<Value>>,
    /// The run that this one repeats.
    pub retried_from_workflow_run_id: Value,
    /// As it was asked for.
    pub proxy_location: Value,
    /// Where the end of the run is told.
    pub webhook_callback_url: Value,
    /// Why it could not be told.
    pub webhook_failure_reason: Option<String>,
    /// As it was asked for.
    pub totp_verification_url: Value,
    /// As it was asked for.
    pub totp_identifier: Value,
    /// As it was asked for.
    pub extra_http_headers: Value,
    /// As it was asked for, without the values.
    pub cdp_connect_headers: Value,
    /// When it began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// When it began to drive its session.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub modified_at: DateTime<Utc>,
    /// The values of the workflow's parameters.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// Pictures that were taken, the latest first.
    pub screenshot_urls: Vec<String>,
    /// None: runs are not recorded.
    pub recording_url: Option<String>,
    /// None: runs are not recorded.
    pub recording_urls: Vec<String>,
    /// Never.
    pub recording_archived: bool,
    /// Files that were downloaded, the latest first.
    pub downloaded_files: Vec<FileResource>,
    /// Where they can be read.
    pub downloaded_file_urls: Vec<String>,
    /// `{label}_output` of every block that has finished.
    #[schema(value_type = Option<Object>)]
    pub outputs: Option<Value>,
    /// How many blocks have begun.
    pub total_steps: usize,
    /// Nothing.
    pub total_cost: Option<f64>,
    /// Nothing.
    pub credits_used: u32,
    /// Nothing.
    pub cached_credits_used: u32,
    /// For people.
    pub workflow_title: Option<String>,
    /// The session that it drives; kept after its end.
    pub browser_session_id: Option<String>,
    /// As it was asked for.
    pub browser_profile_id: Value,
    /// As it was asked for.
    pub max_screenshot_scrolls: Value,
    /// As it was asked for.
    pub browser_address: Value,
    /// `agent`.
    pub run_with: String,
    /// What went wrong.
    #[schema(value_type = Option<Vec<Object>>)]
    pub errors: Option<Vec<Value>>,
    /// The workflow that it executes, where it is asked for with the run.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Value>,
}

impl RunBaseResource {
    /// The run as it stands, without its workflow.
    pub fn of(view: &RunView, artifacts: &[ArtifactRecord], links: &Links<'_>) -> Self {
        let record = &view.record;
        let (workflow, run) = (record.workflow_permanent_id.to_string(), record.id.to_string());
        let (files, recordings) = (downloads(artifacts, links), recordings(artifacts, links));
        Self {
            workflow_id: workflow.clone(),
            agent_id: workflow,
            workflow_run_id: run.clone(),
            agent_run_id: run,
            status: record.status.as_str(),
            failure_reason: record.failure.as_ref().map(|failure| failure.message.clone()),
            failure_category: None,
            retried_from_workflow_run_id: asked(record, "retried_from_workflow_run_id"),
            proxy_location: asked(record, "proxy_location"),
            webhook_callback_url: asked(record, "webhook_url"),
            webhook_failure_reason: None,
            totp_verification_url: asked(record, "totp_url"),
            totp_identifier: asked(record, "totp_identifier"),
            extra_http_headers: asked(record, "extra_http_headers"),
            cdp_connect_headers: asked(record, "cdp_connect_headers"),
            queued_at: record.queued_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            created_at: record.created_at,
            modified_at: record.modified_at,
            parameters: record.parameters.clone(),
            screenshot_urls: screenshots(artifacts, links),
            recording_url: recordings.first().cloned(),
            recording_urls: recordings,
            recording_archived: false,
            downloaded_file_urls: files.iter().map(|file| file.url.clone()).collect(),
            downloaded_files: files,
            outputs: outputs(view),
            total_steps: view.blocks.len(),
            total_cost: None,
            credits_used: 0,
            cached_credits_used: 0,
            workflow_title: record.title.clone(),
            browser_session_id: record.session.map(|session| session.to_string()),
            browser_profile_id: asked(record, "browser_profile_id"),
            max_screenshot_scrolls: asked(record, "max_screenshot_scrolls"),
            browser_address: asked(record, "browser_address"),
            run_with: run_with(record),
            errors: errors(record),
            workflow: None,
        }
    }
}
