//! `GET /v1/debug-session/{id}/runs`: lists the runs of single blocks in a debug session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use actix_web::HttpResponse;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::db;
use crate::domain::debug_session::DebugSession;
use crate::domain::ids::{DebugSessionId, WorkflowId};
use crate::domain::run::RunRecord;
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging;
use crate::http::problem::Problem;
use crate::http::workflows;
use crate::service::resources::debug_session::DebugSessionResource;

/// The maximum number of runs in the response; the latest are listed.
const RUNS: u32 = 100;

/// The name of the list in cursors.
const LIST: &str = "debug_session_runs";

/// The query of the request.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Params {
    /// The number of runs, 1 to 100; 100 by default. A run may have several entries.
    #[param(minimum = 1, maximum = 100)]
    page_size: Option<u32>,
    /// The `x-next-cursor` of the part before.
    cursor: Option<String>,
}

/// A debug session and its runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct DebugSessionRuns {
    /// The debug session, ended or not.
    debug_session: DebugSessionResource,
    /// The runs of blocks, one entry for each block of each run, newest first.
    runs: Vec<DebugSessionRun>,
}

/// The run of one block.
#[derive(Debug, Serialize, ToSchema)]
pub struct DebugSessionRun {
    /// The label of the block.
    block_label: String,
    /// The browser session that the run drove.
    browser_session_id: String,
    /// The id of the debug session, `ds_…`.
    debug_session_id: String,
    /// The id of the parameter that holds the block's output.
    output_parameter_id: String,
    /// The status of the run.
    status: &'static str,
    /// The reason why the run did not complete.
    failure_reason: Option<String>,
    /// The version of the workflow, `w_…`.
    workflow_id: String,
    /// The id of the workflow, `wpid_…`.
    workflow_permanent_id: String,
    /// The id of the run, `wr_…`.
    workflow_run_id: String,
    /// The time at which the run was created.
    created_at: DateTime<Utc>,
    /// The time at which the run began to wait for its session.
    queued_at: Option<DateTime<Utc>>,
    /// The time at which the run began to drive its session.
    started_at: Option<DateTime<Utc>>,
    /// The time at which the run ended.
    finished_at: Option<DateTime<Utc>>,
}

/// Returns the ids of the output parameters of a workflow's blocks, by label.
fn outputs(workflow: &Value) -> HashMap<String, String> {
    let parameters = workflow.pointer("/workflow_definition/parameters").and_then(Value::as_array);
    let text = |parameter: &Value, name| Some(parameter.get(name)?.as_str()?.to_owned());
    let outputs = parameters.into_iter().flatten().filter_map(|parameter| {
        let key = text(parameter, "key")?;
        let label = key.strip_suffix("_output")?.to_owned();
        Some((label, text(parameter, "output_parameter_id")?))
    });
    outputs.collect()
}

/// Returns the labels of the blocks that a run was restricted to.
fn labels(run: &RunRecord) -> Vec<String> {
    let given = run.request.get("block_labels").and_then(Value::as_array);
    given.into_iter().flatten().filter_map(|label| Some(label.as_str()?.to_owned())).collect()
}

fn shown(run: &RunRecord, debug: &DebugSession, label: String, output: String) -> DebugSessionRun {
    DebugSessionRun {
        block_label: label,
        browser_session_id: run.session.unwrap_or(debug.session).to_string(),
        debug_session_id: debug.id.to_string(),
        output_parameter_id: output,
        status: run.status.as_str(),
        failure_reason: run.failure.as_ref().map(|failure| failure.message.clone()),
        workflow_id: run.workflow.to_string(),
        workflow_permanent_id: run.workflow_permanent_id.to_string(),
        workflow_run_id: run.id.to_string(),
        created_at: run.created_at,
        queued_at: run.queued_at,
        started_at: run.started_at,
        finished_at: run.finished_at,
    }
}

/// Lists the runs of single blocks in a debug session.
#[utoipa::path(
    get,
    path = "/v1/debug-session/{debug_session_id}/runs",
    tag = "Debug sessions",
    params(("debug_session_id" = String, Path, description = "`ds_…`"), Params),
    responses(
        (
            status = 200,
            description = "The debug session and its runs",
            body = DebugSessionRuns,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 404, description = "There is no such debug session"),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn runs(
    caller: Caller,
    PathId(id): PathId<DebugSessionId>,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let size = params.page_size.unwrap_or(RUNS);
    let page = paging::page(LIST, 1, size, RUNS, params.cursor.as_deref())?;
    let organization = caller.organization;
    let debug = db::debug_sessions::by_id(&front.db, organization, id).await?;
    let debug = debug.ok_or_else(|| Problem::unknown::<DebugSessionId>(id))?;
    let records = db::debug_sessions::runs(&front.db, organization, id, page).await?;
    let mut known: HashMap<WorkflowId, HashMap<String, String>> = HashMap::new();
    let mut runs = Vec::new();
    for run in &records {
        let outputs = match known.entry(run.workflow) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let workflow = db::workflows::by_id(&front.db, organization, run.workflow).await?;
                let workflow = workflow.and_then(|workflow| workflows::shown(&workflow).ok());
                entry.insert(workflow.as_ref().map(outputs).unwrap_or_default())
            }
        };
        for label in labels(run) {
            let output = outputs.get(&label).cloned().unwrap_or_default();
            runs.push(shown(run, &debug, label, output));
        }
    }
    let debug_session = DebugSessionResource::of(&debug, &front);
    let mut answer = HttpResponse::Ok();
    if let Some(next) = paging::next(LIST, size, &records) {
        answer.insert_header((paging::NEXT, next));
    }
    Ok(answer.json(DebugSessionRuns { debug_session, runs }))
}
