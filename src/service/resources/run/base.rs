//! A run in the older form of the compatible API, which webhooks contain too.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{asked, downloads, errors, outputs, recordings, run_with, screenshots};
use crate::actors::views::RunView;
use crate::domain::run::ArtifactRecord;
use crate::service::resources::artifact::FileResource;
use crate::service::resources::links::Links;

/// A workflow run in its older form.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunBaseResource {
    /// The id of the workflow, `wpid_…`.
    pub workflow_id: String,
    /// The same as `workflow_id`.
    pub agent_id: String,
    /// The id of the run, `wr_…`.
    pub workflow_run_id: String,
    /// The same as `workflow_run_id`.
    pub agent_run_id: String,
    /// The status, as in the newer form.
    pub status: &'static str,
    /// The reason why the run did not complete.
    pub failure_reason: Option<String>,
    /// Always null: failures have codes instead, see `failure` in the newer form.
    pub failure_category: Option<Vec<Value>>,
    /// The run that this run repeats.
    pub retried_from_workflow_run_id: Value,
    /// The value given in the request.
    pub proxy_location: Value,
    /// The URL to which the end of the run is reported.
    pub webhook_callback_url: Value,
    /// The reason why the end of the run could not be reported.
    pub webhook_failure_reason: Option<String>,
    /// The value given in the request.
    pub totp_verification_url: Value,
    /// The value given in the request.
    pub totp_identifier: Value,
    /// The value given in the request.
    pub extra_http_headers: Value,
    /// The headers given in the request, without their values.
    pub cdp_connect_headers: Value,
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
    /// The values of the workflow's parameters.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// The URLs of the run's screenshots, latest first.
    pub screenshot_urls: Vec<String>,
    /// The URL of the latest recording, if the run is recorded.
    pub recording_url: Option<String>,
    /// The URLs of the run's recordings, latest first.
    pub recording_urls: Vec<String>,
    /// Always false: recordings are not archived.
    pub recording_archived: bool,
    /// The files that the run downloaded, latest first.
    pub downloaded_files: Vec<FileResource>,
    /// The URLs of the downloaded files.
    pub downloaded_file_urls: Vec<String>,
    /// The output of every finished block, as `{label}_output`.
    #[schema(value_type = Option<Object>)]
    pub outputs: Option<Value>,
    /// The number of blocks that have begun.
    pub total_steps: usize,
    /// Always null: runs cost nothing.
    pub total_cost: Option<f64>,
    /// Always 0: runs cost nothing.
    pub credits_used: u32,
    /// Always 0: runs cost nothing.
    pub cached_credits_used: u32,
    /// The title of the run for people.
    pub workflow_title: Option<String>,
    /// The session that the run drives; kept after the run's end.
    pub browser_session_id: Option<String>,
    /// The value given in the request.
    pub browser_profile_id: Value,
    /// The value given in the request.
    pub max_screenshot_scrolls: Value,
    /// The value given in the request.
    pub browser_address: Value,
    /// The value given in the request; `agent` by default.
    pub run_with: String,
    /// The errors of the run.
    #[schema(value_type = Option<Vec<Object>>)]
    pub errors: Option<Vec<Value>>,
    /// The workflow that the run executes, if the request asks for it.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Value>,
}

impl RunBaseResource {
    /// Formats the state of a run, without its workflow.
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
