//! The executions of blocks within runs.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::store::StoreError;
use super::values::{Reader, all, insert_once, json, stored};
use crate::domain::ids::{OrganizationId, RunId};
use crate::domain::run::BlockRecord;
use crate::schema::workflow_run_blocks as blocks;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = blocks, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    run_id: String,
    organization_id: String,
    parent_id: Option<String>,
    position: i32,
    label: String,
    block_type: String,
    status: String,
    output: Option<Value>,
    failure: Option<Value>,
    started_at: NaiveDateTime,
    finished_at: Option<NaiveDateTime>,
}

impl From<&BlockRecord> for Row {
    fn from(block: &BlockRecord) -> Self {
        Self {
            id: block.id.to_string(),
            run_id: block.run.to_string(),
            organization_id: block.organization.to_string(),
            parent_id: block.parent.map(|parent| parent.to_string()),
            position: block.position,
            label: block.label.clone(),
            block_type: block.block_type.clone(),
            status: block.status.to_string(),
            output: block.output.clone(),
            failure: block.failure.as_ref().map(json),
            started_at: stored(block.started_at),
            finished_at: block.finished_at.map(stored),
        }
    }
}

impl TryFrom<Row> for BlockRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("workflow_run_blocks.id", &row.id)?,
            run: read.parse("workflow_run_blocks.run_id", &row.run_id)?,
            organization: read
                .parse("workflow_run_blocks.organization_id", &row.organization_id)?,
            parent: read.parse_some("workflow_run_blocks.parent_id", row.parent_id.as_deref())?,
            position: row.position,
            label: row.label,
            block_type: row.block_type,
            status: read.parse("workflow_run_blocks.status", &row.status)?,
            output: row.output,
            failure: read.json("workflow_run_blocks.failure", row.failure)?,
            started_at: row.started_at.and_utc(),
            finished_at: row.finished_at.map(|at| at.and_utc()),
        })
    }
}

/// Returns the blocks of a run, in the order in which they began.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_run(
    db: &Db,
    organization: OrganizationId,
    run: RunId,
) -> Result<Vec<BlockRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = blocks::table
            .filter(blocks::run_id.eq(run.to_string()))
            .filter(blocks::organization_id.eq(organization.to_string()))
            .order((blocks::position, blocks::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

pub(super) async fn insert(db: &Db, block: BlockRecord) -> Result<(), StoreError> {
    let row = Row::from(&block);
    insert_once!(db, blocks, row, |row| {
        blocks::run_id.eq(row.run_id.clone()).and(blocks::started_at.eq(row.started_at))
    })?;
    Ok(())
}

pub(super) async fn end(db: &Db, block: BlockRecord) -> Result<(), StoreError> {
    let Row { id, status, output, failure, finished_at, .. } = Row::from(&block);
    let changed = on!(db, write, |c| {
        let change = (
            blocks::status.eq(status),
            blocks::output.eq(output),
            blocks::failure.eq(failure),
            blocks::finished_at.eq(finished_at),
        );
        Ok(diesel::update(blocks::table.find(id)).set(change).execute(c).await?)
    })
    .await?;
    if changed > 0 { Ok(()) } else { Err(StoreError::Missing) }
}
