//! The audit trail, to which rows are only added.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::store::StoreError;
use super::values::{Reader, all, stored};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{AuditEventId, Mint, OrganizationId, RunId, SessionId};
use crate::schema::audit_events as events;

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) message_id: i64,
    cause_id: Option<i64>,
    pub(super) kind: String,
    sender: String,
    receiver: String,
    organization_id: Option<String>,
    session_id: Option<String>,
    run_id: Option<String>,
    outcome: String,
    summary: Value,
    pub(super) sent_at: NaiveDateTime,
    key_id: Option<String>,
    client_address: Option<String>,
    request_id: Option<String>,
}

impl Row {
    /// The same event with another id.
    pub(super) fn with_id_of(self, mint: &Mint) -> Self {
        let id: AuditEventId = mint.mint(self.sent_at.and_utc());
        Self { id: id.to_string(), ..self }
    }
}

impl From<&AuditEvent> for Row {
    fn from(event: &AuditEvent) -> Self {
        Self {
            id: event.id.to_string(),
            message_id: event.message_id,
            cause_id: event.cause,
            kind: event.kind.clone(),
            sender: event.sender.clone(),
            receiver: event.receiver.clone(),
            organization_id: event.organization.map(|id| id.to_string()),
            session_id: event.session.map(|id| id.to_string()),
            run_id: event.run.map(|id| id.to_string()),
            outcome: event.outcome.clone(),
            summary: event.summary.clone(),
            sent_at: stored(event.at),
            key_id: event.key.clone(),
            client_address: event.address.clone(),
            request_id: event.request.clone(),
        }
    }
}

impl TryFrom<Row> for AuditEvent {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        let organization = row.organization_id.as_deref();
        Ok(Self {
            id: read.parse("audit_events.id", &row.id)?,
            message_id: row.message_id,
            cause: row.cause_id,
            kind: row.kind,
            sender: row.sender,
            receiver: row.receiver,
            organization: read.parse_some("audit_events.organization_id", organization)?,
            session: read.parse_some("audit_events.session_id", row.session_id.as_deref())?,
            run: read.parse_some("audit_events.run_id", row.run_id.as_deref())?,
            outcome: row.outcome,
            summary: row.summary,
            key: row.key_id,
            address: row.client_address,
            request: row.request_id,
            at: row.sent_at.and_utc(),
        })
    }
}

/// The filter of a list of audit events. A field that is `None` excludes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The organization of the events.
    pub organization: Option<OrganizationId>,
    /// The session of the events.
    pub session: Option<SessionId>,
    /// The run of the events.
    pub run: Option<RunId>,
    /// The kind of the events.
    pub kind: Option<String>,
    /// The outcome of the events.
    pub outcome: Option<String>,
    /// The key of the request that caused the events.
    pub key: Option<String>,
    /// The id of the request that caused the events.
    pub request: Option<String>,
    /// The earliest time at which the events were sent.
    pub since: Option<DateTime<Utc>>,
}

/// The position in a list after which the next page begins: that of the last event before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The time at which that event was sent.
    pub at: DateTime<Utc>,
    /// The id of that event.
    pub id: AuditEventId,
}

impl From<&AuditEvent> for Cursor {
    fn from(event: &AuditEvent) -> Self {
        Self { at: event.at, id: event.id }
    }
}

/// Returns at most `limit` events after the position `after`, the newest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(
    db: &Db,
    filter: Filter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<Vec<AuditEvent>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = events::table.into_boxed();
        if let Some(organization) = filter.organization {
            query = query.filter(events::organization_id.eq(organization.to_string()));
        }
        if let Some(session) = filter.session {
            query = query.filter(events::session_id.eq(session.to_string()));
        }
        if let Some(run) = filter.run {
            query = query.filter(events::run_id.eq(run.to_string()));
        }
        if let Some(kind) = filter.kind {
            query = query.filter(events::kind.eq(kind));
        }
        if let Some(outcome) = filter.outcome {
            query = query.filter(events::outcome.eq(outcome));
        }
        if let Some(key) = filter.key {
            query = query.filter(events::key_id.eq(key));
        }
        if let Some(request) = filter.request {
            query = query.filter(events::request_id.eq(request));
        }
        if let Some(since) = filter.since {
            query = query.filter(events::sent_at.ge(stored(since)));
        }
        if let Some(Cursor { at, id }) = after {
            let at = stored(at);
            let same_time = events::sent_at.eq(at).and(events::id.lt(id.to_string()));
            query = query.filter(events::sent_at.lt(at).or(same_time));
        }
        let query = query.order((events::sent_at.desc(), events::id.desc())).limit(limit.into());
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Inserts a row by the connection `c` of a transaction. A row that is stored already is unchanged.
macro_rules! put {
    ($c:ident, $row:expr, $mint:expr) => {{
        use $crate::schema::audit_events as events;
        let row: $crate::db::audit_events::Row = $row;
        let insert = diesel::insert_into(events::table).values(row.clone());
        let inserted = insert.on_conflict(events::id).do_nothing().execute($c).await?;
        if inserted == 0 {
            let same = events::table
                .filter(events::id.eq(row.id.clone()))
                .filter(events::kind.eq(row.kind.clone()))
                .filter(events::sent_at.eq(row.sent_at))
                .filter(events::message_id.eq(row.message_id));
            if same.count().get_result::<i64>($c).await? == 0 {
                // Another event has this id. No row refers to the id of this event, so it gets a new one.
                let row = row.with_id_of(&$mint);
                diesel::insert_into(events::table).values(row).execute($c).await?;
            }
        }
    }};
}

pub(super) use put;

/// Inserts audit events, all or none. Events that are stored already are unchanged.
pub(super) async fn insert(db: &Db, new: Vec<AuditEvent>) -> Result<(), StoreError> {
    let rows: Vec<Row> = new.iter().map(Row::from).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mint = Arc::clone(&db.mint);
    on!(db, later, |c| {
        // SQLite accepts only one row at a time with a conflict clause.
        c.transaction(async move |c| {
            for row in rows {
                put!(c, row, mint);
            }
            Ok(())
        })
        .await
    })
    .await?;
    Ok(())
}
