//! Events that are stored in the transaction of the change that they report, until they are numbered.
//!
//! The number of an event comes from a counter that all writers of an organization share. A change does not
//! wait for it: it stores its event here, and [`events::append`](super::events::append) numbers it a moment
//! later, in order (the pattern is known as a transactional outbox). What a server leaves here when it is
//! killed is numbered by its successor.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, all, stored};
use crate::domain::event::{NewEvent, Subject};
use crate::domain::ids::NodeId;
use crate::schema::{browser_sessions as sessions, event_outbox as outbox};

/// The most events that are read at once.
const BATCH: i64 = 500;

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    id: String,
    organization_id: String,
    kind: String,
    session_id: Option<String>,
    run_id: Option<String>,
    data: Value,
    happened_at: NaiveDateTime,
}

impl From<&NewEvent> for Row {
    fn from(event: &NewEvent) -> Self {
        let NewEvent { id, subject, kind, data, at } = event;
        Self {
            id: id.to_string(),
            organization_id: subject.organization.to_string(),
            kind: kind.to_string(),
            session_id: subject.session.map(|id| id.to_string()),
            run_id: subject.run.map(|id| id.to_string()),
            data: data.clone(),
            happened_at: stored(*at),
        }
    }
}

impl TryFrom<Row> for NewEvent {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("event_outbox.id", &row.id)?,
            subject: Subject {
                organization: read.parse("event_outbox.organization_id", &row.organization_id)?,
                session: read.parse_some("event_outbox.session_id", row.session_id.as_deref())?,
                run: read.parse_some("event_outbox.run_id", row.run_id.as_deref())?,
            },
            kind: read.parse("event_outbox.kind", &row.kind)?,
            at: row.happened_at.and_utc(),
            data: row.data,
        })
    }
}

/// The rows of events.
pub(super) fn rows(events: &[NewEvent]) -> Vec<Row> {
    events.iter().map(Row::from).collect()
}

/// Stores events by the connection `c` of a change's transaction.
macro_rules! put {
    ($c:ident, $rows:expr) => {{
        for row in $rows {
            diesel::insert_into($crate::schema::event_outbox::table)
                .values(row)
                // A change that is repeated may have stored its events before.
                .on_conflict_do_nothing()
                .execute($c)
                .await?;
        }
    }};
}

pub(super) use put;

/// Returns some of the events of this node's sessions that have no number, in order. For a server that
/// starts: it has left none itself.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer; [`DbError::Corrupt`] for a row that cannot be read.
pub async fn of_node(db: &Db, node: NodeId) -> Result<Vec<NewEvent>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let own = sessions::table
            .filter(sessions::node_id.eq(node.to_string()))
            .select(sessions::id.nullable());
        let left = outbox::table.filter(outbox::session_id.eq_any(own));
        Ok(left.order(outbox::id).limit(BATCH).select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns some of the events from before `before` that have no number, in order, of any node.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer; [`DbError::Corrupt`] for a row that cannot be read.
pub async fn from_before(db: &Db, before: DateTime<Utc>) -> Result<Vec<NewEvent>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let left = outbox::table.filter(outbox::happened_at.lt(stored(before)));
        Ok(left.order(outbox::id).limit(BATCH).select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}
