//! Nodes: the server processes that use the database.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, all, now, one, stored};
use crate::domain::ids::NodeId;
use crate::domain::tenancy::Node;
use crate::schema::nodes;

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = nodes)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    hostname: String,
    address: String,
    boot_id: String,
    started_at: NaiveDateTime,
    seen_at: NaiveDateTime,
    version: String,
}

impl From<&Node> for Row {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.to_string(),
            hostname: node.hostname.clone(),
            address: node.address.clone(),
            boot_id: node.boot_id.clone(),
            started_at: stored(node.started_at),
            seen_at: stored(node.seen_at),
            version: node.version.clone(),
        }
    }
}

impl TryFrom<Row> for Node {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: Reader { row: &row.id }.parse("nodes.id", &row.id)?,
            hostname: row.hostname,
            address: row.address,
            boot_id: row.boot_id,
            started_at: row.started_at.and_utc(),
            seen_at: row.seen_at.and_utc(),
            version: row.version,
        })
    }
}

/// Registers the start of a node. Returns true if it was known with another boot id, which means
/// that its machine was restarted and none of its processes survives.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn register(db: &Db, node: &Node) -> Result<bool, DbError> {
    let before = by_id(db, node.id).await?;
    let row = Row::from(node);
    on!(db, write, |c| {
        let insert = diesel::insert_into(nodes::table).values(&row);
        insert.on_conflict(nodes::id).do_update().set(&row).execute(c).await?;
        Ok(())
    })
    .await?;
    Ok(before.is_some_and(|before| before.boot_id != node.boot_id))
}

/// Records that the node is alive.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn seen(db: &Db, id: NodeId) -> Result<(), DbError> {
    on!(db, write, |c| {
        let node = nodes::table.find(id.to_string());
        diesel::update(node).set(nodes::seen_at.eq(now())).execute(c).await?;
        Ok(())
    })
    .await
}

/// Returns the node with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(db: &Db, id: NodeId) -> Result<Option<Node>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = nodes::table.find(id.to_string());
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Returns all nodes ever registered, the most recently seen first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(db: &Db) -> Result<Vec<Node>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = nodes::table.order((nodes::seen_at.desc(), nodes::id.desc()));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}
