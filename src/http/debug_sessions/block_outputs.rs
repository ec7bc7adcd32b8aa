//! `GET /v1/debug-session/{workflow}/block-outputs`: returns the outputs of blocks in their last
//! completed runs.

use actix_web::web::{Data, Json};
use serde_json::{Map, Value};

use super::Person;
use crate::db::{self, Page};
use crate::domain::ids::WorkflowPermanentId;
use crate::domain::run::{BlockRecord, BlockStatus};
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::workflows;
use crate::service::debug_sessions::live;

/// The latest runs, whose outputs are collected.
const RUNS: Page = Page::first(20);

/// Adds the outputs of completed blocks to `outputs`, unless a later run has given one.
fn add(outputs: &mut Map<String, Value>, blocks: Vec<BlockRecord>) {
    for block in blocks.into_iter().rev() {
        let completed = block.status == BlockStatus::Completed;
        let Some(output) = block.output.filter(|_output| completed) else { continue };
        let mut shown = match output {
            Value::Object(members) => members,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::from_iter([("value".to_owned(), output)]),
        };
        shown.insert("created_at".to_owned(), serde_json::json!(block.started_at));
        outputs.entry(block.label).or_insert(Value::Object(shown));
    }
}

/// Returns the outputs of a workflow's blocks when they last completed in a person's debug session.
#[utoipa::path(
    get,
    path = "/v1/debug-session/{workflow_permanent_id}/block-outputs",
    tag = "Debug sessions",
    params(
        ("workflow_permanent_id" = String, Path, description = "`wpid_…`"),
        ("x-greenroom-user" = Option<String>, Header, description = "A name for the person, within the organization"),
    ),
    responses(
        (status = 200, description = "The outputs by label", body = Object),
        (status = 404, description = "There is no such workflow"),
    ),
)]
pub async fn block_outputs(
    caller: Caller,
    person: Person,
    PathId(id): PathId<WorkflowPermanentId>,
    front: Data<Front>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    workflows::latest(&front, caller.organization, id).await?;
    let mut outputs = Map::new();
    if let Some(debug) = live(&front, &person.owner(caller, id)).await? {
        let runs = db::debug_sessions::runs(&front.db, caller.organization, debug.id, RUNS).await?;
        for run in runs {
            let blocks = db::blocks::of_run(&front.db, caller.organization, run.id).await?;
            add(&mut outputs, blocks);
        }
    }
    Ok(Json(outputs))
}
