//! A run in the forms that the compatible API shows to clients.

mod base;
mod item;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use self::base::RunBaseResource;
pub use self::item::{RunItem, RunSummary};
use crate::actors::views::RunView;
use crate::domain::film::RECORDING;
use crate::domain::masking::mask_members;
use crate::domain::run::{ArtifactRecord, BlockRecord, DOWNLOAD, RunRecord, RunStatus};
use crate::domain::session::Failure;
use crate::service::core::Core;
use crate::service::resources::artifact::FileResource;
use crate::service::resources::egress::RefusedTarget;
use crate::service::resources::links::Links;

/// The state of a workflow run.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunResource {
    /// The id of the run, `wr_…`.
    pub run_id: String,
    /// Always `workflow_run`, the only type.
    pub run_type: &'static str,
    /// The status: `created`, `queued`, `running`, `paused`, `completed`, `failed`, `terminated`,
    /// `canceled` or `timed_out`.
    pub status: &'static str,
    /// The output of every finished block, as `{label}_output`.
    #[schema(value_type = Option<Object>)]
    pub output: Option<Value>,
    /// The files that the run downloaded, latest first.
    pub downloaded_files: Vec<FileResource>,
    /// The URL of the latest recording, if the run is recorded.
    pub recording_url: Option<String>,
    /// Always false: recordings are not archived.
    pub recording_archived: bool,
    /// The URLs of the run's screenshots, latest first. They need no key for a limited time.
    pub screenshot_urls: Vec<String>,
    /// The reason why the run did not complete.
    pub failure_reason: Option<String>,
    /// The time at which the run was created.
    pub created_at: DateTime<Utc>,
    /// The time of the run's last change.
    pub modified_at: DateTime<Utc>,
    /// The time at which the run began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// The time at which the run began to drive its session.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which the run ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The page that shows the run's session live.
    pub app_url: Option<String>,
    /// The session that the run drives; kept after the run's end.
    pub browser_session_id: Option<String>,
    /// The value given in the request.
    pub browser_profile_id: Value,
    /// The value given in the request.
    pub max_screenshot_scrolls: Value,
    /// Always null: runs are not scripts.
    pub script_run: Value,
    /// The errors of the run.
    #[schema(value_type = Option<Vec<Object>>)]
    pub errors: Option<Vec<Value>>,
    /// The number of blocks that have begun.
    pub step_count: usize,
    /// The value given in the request; `agent` by default.
    pub run_with: String,
    /// The value given in the request.
    pub ai_fallback: Value,
    /// The request that started the run.
    #[schema(value_type = Object)]
    pub run_request: Value,

    /// The title of the run for people.
    pub title: Option<String>,
    /// The workflow that the run executes.
    pub workflow_permanent_id: String,
    /// The version of the workflow that the run executes.
    pub workflow_version_id: String,
    /// The debug session of the run.
    pub debug_session_id: Option<String>,
    /// True if the run created its session, and closes it at the end.
    pub owns_browser_session: bool,
    /// A number that rises with every change while the run is in progress.
    pub version: u64,
    /// The blocks of the run, in the order in which they began.
    pub blocks: Vec<BlockSummary>,
    /// The holder of the session for which the queued run waits.
    pub waiting_for: Option<WaitingFor>,
    /// Requests of the run's pages that the session's egress policy refused. Only in the response for
    /// a single run.
    pub egress_refused: Vec<RefusedTarget>,
    /// The fields of the request that have no effect. Only in the response that starts the run.
    pub warning: Option<String>,
    /// The cause of a run that did not complete: `{code, stage, message, exit, log_tail, hint}`.
    #[schema(value_type = Option<Object>)]
    pub failure: Option<Failure>,
}

/// The summary of a block of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlockSummary {
    /// The label in the definition.
    pub label: String,
    /// The type in the definition.
    pub block_type: String,
    /// The status: `running`, `completed`, `failed`, `terminated`, `canceled`, `timed_out` or
    /// `skipped`.
    pub status: &'static str,
    /// The time at which the block began.
    pub started_at: DateTime<Utc>,
    /// The time at which the block ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The time that the block took, in seconds.
    pub duration: Option<f64>,
    /// The cause of a block that failed.
    #[schema(value_type = Option<Object>)]
    pub failure: Option<Failure>,
}

impl From<&BlockRecord> for BlockSummary {
    fn from(block: &BlockRecord) -> Self {
        Self {
            label: block.label.clone(),
            block_type: block.block_type.clone(),
            status: block.status.as_str(),
            started_at: block.started_at,
            finished_at: block.finished_at,
            duration: seconds(block),
            failure: block.failure.clone(),
        }
    }
}

/// Returns the time that a block took, in seconds.
pub fn seconds(block: &BlockRecord) -> Option<f64> {
    let took = (block.finished_at? - block.started_at).to_std().unwrap_or_default();
    Some(took.as_secs_f64())
}

/// The holder of the session for which a run waits, and the run's place in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingFor {
    /// The session for which the run waits.
    pub browser_session_id: String,
    /// The type of the holder; null if the session is vacant or still starting.
    pub runnable_type: Option<&'static str>,
    /// The id of the holder.
    pub runnable_id: Option<String>,
    /// The time at which the holder's lease lapses without a heartbeat.
    pub expires_at: Option<DateTime<Utc>>,
    /// The place in the queue, 1 being the next; null if the run is not in the queue yet.
    pub place: Option<usize>,
}

impl WaitingFor {
    /// Returns the session that a queued run waits for, with its holder.
    pub fn of(run: &RunRecord, core: &Core) -> Option<Self> {
        let id = run.session.filter(|_session| run.status == RunStatus::Queued)?;
        let view = core.world.views.session(run.organization, id)?;
        let view = view.borrow();
        let held = view.record.occupancy.holder();
        let own = run.id.to_string();
        let mut waiters = view.waiters.iter();
        let place = waiters.find(|waiter| waiter.occupant.runnable_id.as_str() == own);
        Some(Self {
            browser_session_id: id.to_string(),
            runnable_type: held.map(|held| held.occupant.runnable_type.as_str()),
            runnable_id: held.map(|held| held.occupant.runnable_id.to_string()),
            expires_at: held.map(|held| held.expires_at),
            place: place.map(|waiter| waiter.place.0),
        })
    }
}

/// Returns the downloads among a run's artifacts, latest first.
fn downloads(artifacts: &[ArtifactRecord], links: &Links<'_>) -> Vec<FileResource> {
    let files = artifacts.iter().rev().filter(|it| it.artifact_type == DOWNLOAD);
    files.map(|record| FileResource::of(record, links)).collect()
}

/// Returns the URLs of a run's recordings, latest first.
fn recordings(artifacts: &[ArtifactRecord], links: &Links<'_>) -> Vec<String> {
    let films = artifacts.iter().rev().filter(|it| it.artifact_type == RECORDING);
    films.map(|record| links.of(record).signed_url).collect()
}

/// Returns the URLs of the screenshots among a run's artifacts, latest first.
fn screenshots(artifacts: &[ArtifactRecord], links: &Links<'_>) -> Vec<String> {
    let pictures = artifacts.iter().rev().filter(|it| it.artifact_type.starts_with("screenshot"));
    pictures.map(|record| links.of(record).signed_url).collect()
}

/// Returns the outputs of the run once it has ended, and those of its finished blocks before.
fn outputs(view: &RunView) -> Option<Value> {
    let has_any = |outputs: &Value| outputs.as_object().is_some_and(|outputs| !outputs.is_empty());
    if view.record.status.is_final() || has_any(&view.record.outputs) {
        return Some(view.record.outputs.clone()).filter(has_any);
    }
    let finished = view
        .blocks
        .iter()
        .filter_map(|block| Some((format!("{}_output", block.label), block.output.clone()?)));
    Some(Value::Object(finished.collect::<Map<_, _>>())).filter(has_any)
}

/// Returns a member of the request that started a run, without secrets.
fn asked(record: &RunRecord, name: &str) -> Value {
    let mut member = Map::new();
    member.insert(name.to_owned(), record.request.get(name).cloned().unwrap_or_default());
    mask_members(&mut member);
    member.remove(name).unwrap_or_default()
}

/// Returns the request that started a run, without secrets. It always contains the workflow's id,
/// which clients require.
fn request(record: &RunRecord) -> Value {
    let mut request = record.request.clone();
    if let Some(members) = request.as_object_mut() {
        members.insert("workflow_id".to_owned(), record.workflow_permanent_id.to_string().into());
        mask_members(members);
    }
    request
}

fn errors(record: &RunRecord) -> Option<Vec<Value>> {
    let failure = record.failure.as_ref()?;
    Some(vec![serde_json::json!({
        "error_code": failure.code,
        "reasoning": failure.message,
        "confidence_float": 1.0,
    })])
}

fn run_with(record: &RunRecord) -> String {
    asked(record, "run_with").as_str().unwrap_or("agent").to_owned()
}

impl RunResource {
    /// Formats the state of a run.
    pub fn of(view: &RunView, artifacts: &[ArtifactRecord], links: &Links<'_>) -> Self {
        let record = &view.record;
        Self {
            run_id: record.id.to_string(),
            run_type: "workflow_run",
            status: record.status.as_str(),
            output: outputs(view),
            downloaded_files: downloads(artifacts, links),
            recording_url: recordings(artifacts, links).into_iter().next(),
            recording_archived: false,
            screenshot_urls: screenshots(artifacts, links),
            failure_reason: record.failure.as_ref().map(|failure| failure.message.clone()),
            created_at: record.created_at,
            modified_at: record.modified_at,
            queued_at: record.queued_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            app_url: record
                .session
                .map(|session| format!("{}/view/{session}", links.core.base_url())),
            browser_session_id: record.session.map(|session| session.to_string()),
            browser_profile_id: asked(record, "browser_profile_id"),
            max_screenshot_scrolls: asked(record, "max_screenshot_scrolls"),
            script_run: Value::Null,
            errors: errors(record),
            step_count: view.blocks.len(),
            run_with: run_with(record),
            ai_fallback: asked(record, "ai_fallback"),
            run_request: request(record),
            title: record.title.clone(),
            workflow_permanent_id: record.workflow_permanent_id.to_string(),
            workflow_version_id: record.workflow.to_string(),
            debug_session_id: record.debug_session.map(|session| session.to_string()),
            owns_browser_session: record.owns_session,
            version: view.version,
            blocks: view.blocks.iter().map(BlockSummary::from).collect(),
            waiting_for: WaitingFor::of(record, links.core),
            egress_refused: Vec::new(),
            warning: None,
            failure: record.failure.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::run::BlockStatus;

    pub fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    pub fn run() -> RunRecord {
        RunRecord {
            id: 1.into(),
            organization: 2.into(),
            node: 3.into(),
            workflow: 4.into(),
            workflow_permanent_id: 5.into(),
            session: Some(6.into()),
            owns_session: true,
            debug_session: None,
            title: Some("Prices".to_owned()),
            status: RunStatus::Running,
            parameters: json!({"city": "Bonn"}),
            request: json!({
                "agent_id": "wpid_5", "webhook_url": "https://a.example/",
                "cdp_connect_headers": {"x-secret": "hunter2"},
            }),
            outputs: Value::Null,
            failure: None,
            created_at: at(0),
            queued_at: Some(at(0)),
            started_at: Some(at(1)),
            finished_at: None,
            modified_at: at(1),
            api_key: None,
        }
    }

    pub fn block(id: u64, parent: Option<u64>, output: Option<Value>) -> BlockRecord {
        let second = i64::try_from(id).unwrap();
        BlockRecord {
            id: id.into(),
            run: 1.into(),
            organization: 2.into(),
            parent: parent.map(Into::into),
            position: i32::try_from(id).unwrap(),
            label: format!("b{id}"),
            block_type: "wait".to_owned(),
            status: BlockStatus::Completed,
            finished_at: output.is_some().then(|| at(second + 1)),
            output,
            failure: None,
            started_at: at(second),
        }
    }

    #[test]
    fn outputs_are_those_of_the_blocks_until_the_run_has_its_own() {
        let blocks = vec![block(1, None, Some(json!(7))), block(2, None, None)];
        let mut view = RunView { version: 1, record: run(), blocks };
        assert_eq!(outputs(&view), Some(json!({"b1_output": 7})));
        view.record.outputs = json!({"b1_output": 7, "b2_output": 8});
        view.record.status = RunStatus::Completed;
        assert_eq!(outputs(&view), Some(json!({"b1_output": 7, "b2_output": 8})));
        view.record.outputs = Value::Null;
        assert_eq!(outputs(&view), None);
    }

    #[test]
    fn the_echoed_request_names_the_workflow_and_hides_secrets() {
        let echoed = request(&run());
        assert_eq!(echoed["workflow_id"], "wpid_5");
        assert_eq!(echoed["cdp_connect_headers"], json!({"x-secret": "***"}));
    }
}
