//! `GET /v1/runs/{id}/timeline`: lists the blocks of a run, those of loops within their loop.

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::ids::{BlockRunId, OrganizationId, RunId, WorkflowPermanentId};
use crate::domain::run::BlockRecord;
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::dialect::Dialect;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::service::resources::run::seconds;

/// An entry of a timeline.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineItem {
    /// Always `block`, the only type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The block that was executed.
    pub block: BlockResource,
    /// Always null: no model reasons here.
    pub thought: Value,
    /// The entries within this one, newest first.
    #[schema(no_recursion)]
    pub children: Vec<TimelineItem>,
    /// The time at which the block began.
    pub created_at: DateTime<Utc>,
    /// The time of the block's last change.
    pub modified_at: DateTime<Utc>,
}

/// The execution of a block.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlockResource {
    /// The id of the execution of the block, `wrb_…`.
    pub workflow_run_block_id: String,
    /// The id of the run, `wr_…`.
    pub workflow_run_id: String,
    /// The id of the organization, `o_…`.
    pub organization_id: String,
    /// The enclosing block, if the block is in a loop.
    pub parent_workflow_run_block_id: Option<String>,
    /// The type in the definition; `code` for a client that does not know the type.
    pub block_type: String,
    /// The type in the definition, if `block_type` differs from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greenroom_block_type: Option<String>,
    /// The label in the definition.
    pub label: String,
    /// The status: `running`, `completed`, `failed`, `terminated`, `canceled`, `timed_out` or
    /// `skipped`.
    pub status: &'static str,
    /// The output of the block.
    pub output: Option<Value>,
    /// The reason why the block failed.
    pub failure_reason: Option<String>,
    /// The code of the failure.
    pub error_codes: Vec<String>,
    /// Always empty: no model acts here.
    pub actions: Vec<Value>,
    /// The time that the block took, in seconds.
    pub duration: Option<f64>,
    /// The time at which the block began.
    pub created_at: DateTime<Utc>,
    /// The time at which the block ended, or began if it has not ended.
    pub modified_at: DateTime<Utc>,
}

impl BlockResource {
    /// Formats the execution of a block for a client.
    fn of(block: &BlockRecord, dialect: Dialect) -> Self {
        let (block_type, greenroom_block_type) = dialect.show_type(&block.block_type);
        // Clients expect an object, or a list of the outputs of a loop.
        let output = block.output.clone().map(|output| match output {
            Value::String(_) => serde_json::json!({ "value": output }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => output,
        });
        Self {
            workflow_run_block_id: block.id.to_string(),
            workflow_run_id: block.run.to_string(),
            organization_id: block.organization.to_string(),
            parent_workflow_run_block_id: block.parent.map(|parent| parent.to_string()),
            block_type,
            greenroom_block_type,
            label: block.label.clone(),
            status: block.status.as_str(),
            output,
            failure_reason: block.failure.as_ref().map(|failure| failure.message.clone()),
            error_codes: block.failure.iter().map(|failure| failure.code.clone()).collect(),
            actions: Vec::new(),
            duration: seconds(block),
            created_at: block.started_at,
            modified_at: block.finished_at.unwrap_or(block.started_at),
        }
    }
}

/// Returns the blocks within `parent`, newest first.
fn within(
    parent: Option<BlockRunId>,
    blocks: &[BlockRecord],
    dialect: Dialect,
) -> Vec<TimelineItem> {
    let own = blocks.iter().rev().filter(|block| block.parent == parent);
    own.map(|block| TimelineItem {
        kind: "block",
        block: BlockResource::of(block, dialect),
        thought: Value::Null,
        children: within(Some(block.id), blocks, dialect),
        created_at: block.started_at,
        modified_at: block.finished_at.unwrap_or(block.started_at),
    })
    .collect()
}

async fn of_run(
    front: &Front,
    organization: OrganizationId,
    id: RunId,
    dialect: Dialect,
) -> Result<Json<Vec<TimelineItem>>, ApiError> {
    let blocks = super::find(front, organization, id).await?.blocks;
    Ok(Json(within(None, &blocks, dialect)))
}

/// Lists the blocks of a run, newest first; those of loops within their loop.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/timeline",
    tag = "Runs",
    params(("run_id" = String, Path, description = "`wr_…`")),
    responses(
        (status = 200, description = "The blocks", body = Vec<TimelineItem>),
        (status = 404, description = "There is no such run"),
    ),
)]
pub async fn timeline(
    caller: Caller,
    PathId(id): PathId<RunId>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Vec<TimelineItem>>, ApiError> {
    of_run(&front, caller.organization, id, dialect).await
}

/// Handles the legacy route `GET /api/v1/workflows/{workflow}/runs/{run}/timeline`.
pub async fn timeline_in_workflow(
    caller: Caller,
    PathId((_, id)): PathId<(WorkflowPermanentId, RunId)>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Vec<TimelineItem>>, ApiError> {
    of_run(&front, caller.organization, id, dialect).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service::resources::run::tests::block;

    #[test]
    fn blocks_of_a_loop_stand_within_it_and_the_newest_comes_first() {
        let blocks = [
            block(1, None, Some(json!("text"))),
            block(2, None, Some(json!([]))),
            block(3, Some(2), Some(json!({"a": 1}))),
            block(4, Some(2), None),
        ];
        let timeline = within(None, &blocks, Dialect::Own);
        let labels: Vec<_> = timeline.iter().map(|item| item.block.label.as_str()).collect();
        assert_eq!(labels, ["b2", "b1"]);
        let inner: Vec<_> =
            timeline[0].children.iter().map(|item| item.block.label.as_str()).collect();
        assert_eq!(inner, ["b4", "b3"]);
        assert_eq!(timeline[1].block.output, Some(json!({"value": "text"})));
        assert_eq!(timeline[1].block.duration, Some(1.0));
        assert_eq!(timeline[0].children[0].block.duration, None);
    }
}
