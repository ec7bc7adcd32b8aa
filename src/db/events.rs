//! Events of sessions and runs, numbered within each organization.
//!
//! The counter of an organization is increased in the transaction that stores its events. The next
//! transaction that increases it waits for the end of the first one, on any node. Therefore numbers
//! have no gaps and become visible in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, all, one, stored};
use super::webhook_messages::Row as Message;
use super::webhooks::Row as Webhook;
use crate::domain::event::{Event, EventKind, NewEvent, Subject};
use crate::domain::ids::{EventId, OrganizationId, RunId, SessionId, WebhookMessageId};
use crate::schema::{
    event_outbox as outbox, event_sequences as sequences, session_events as events,
    webhook_messages as messages, webhooks,
};

/// The most events about refused requests that are read for one run.
const MOST_REFUSED: i64 = 1_000;

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    organization_id: String,
    seq: i64,
    id: String,
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
            organization_id: subject.organization.to_string(),
            seq: 0,
            id: id.to_string(),
            kind: kind.to_string(),
            session_id: subject.session.map(|id| id.to_string()),
            run_id: subject.run.map(|id| id.to_string()),
            data: data.clone(),
            happened_at: stored(*at),
        }
    }
}

impl TryFrom<Row> for Event {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        let subject = Subject {
            organization: read.parse("session_events.organization_id", &row.organization_id)?,
            session: read.parse_some("session_events.session_id", row.session_id.as_deref())?,
            run: read.parse_some("session_events.run_id", row.run_id.as_deref())?,
        };
        let event = NewEvent {
            id: read.parse("session_events.id", &row.id)?,
            subject,
            kind: read.parse("session_events.kind", &row.kind)?,
            data: row.data,
            at: row.happened_at.and_utc(),
        };
        Ok(Self { seq: row.seq, event })
    }
}

impl Row {
    /// Returns the message of this event for a webhook.
    fn message(&self, id: WebhookMessageId, webhook: &Webhook) -> Message {
        Message {
            webhook_id: Some(webhook.id.clone()),
            run_id: self.run_id.clone(),
            session_id: self.session_id.clone(),
            event_seq: Some(self.seq),
            kind: self.kind.clone(),
            ..Message::pending(
                id,
                self.organization_id.clone(),
                webhook.url.clone(),
                self.happened_at,
            )
        }
    }
}

/// The range of the stored events of an organization.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// The number of the latest event; 0 before the first.
    pub last: i64,
    /// The number up to which events were deleted.
    pub forgotten: i64,
}

/// The outcome of storing events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// The latest number of each organization concerned.
    pub latest: BTreeMap<OrganizationId, i64>,
    /// True if there are webhook messages about the events.
    pub messages: bool,
}

/// Numbers and stores events, and the webhook messages about them, all or none. Events that have a number already are unchanged, so that the call can
/// be repeated. They leave the [outbox](super::outbox).
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn append(db: &Db, new: Vec<NewEvent>) -> Result<Appended, DbError> {
    let rows: Vec<Row> = new.iter().map(Row::from).collect();
    let organizations: BTreeSet<OrganizationId> =
        new.iter().map(|event| event.subject.organization).collect();
    let mint = Arc::clone(&db.mint);
    on!(db, later, |c| {
        c.transaction(async move |c| {
            let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
            let columns = (events::id, events::organization_id, events::happened_at);
            let known = events::table.filter(events::id.eq_any(ids.clone())).select(columns);
            let known: Vec<(String, String, NaiveDateTime)> = known.load(c).await?;
            let known: BTreeMap<_, _> =
                known.into_iter().map(|(id, owner, at)| (id, (owner, at))).collect();
            let mut new = Vec::with_capacity(rows.len());
            for row in rows {
                match known.get(&row.id) {
                    None => new.push(row),
                    Some((owner, at))
                        if *owner == row.organization_id && *at == row.happened_at => {}
                    // Another event has the id, which was not yet given to any client.
                    Some(_) => {
                        let id: EventId = mint.mint(row.happened_at.and_utc());
                        new.push(Row { id: id.to_string(), ..row });
                    }
                }
            }
            let mut appended = Appended::default();
            // The same order everywhere prevents a deadlock between two nodes.
            for organization in organizations {
                let name = organization.to_string();
                let own: Vec<Row> =
                    new.iter().filter(|row| row.organization_id == name).cloned().collect();
                let count = i64::try_from(own.len()).unwrap_or(0);
                let first = (
                    sequences::organization_id.eq(name.clone()),
                    sequences::last_seq.eq(count),
                    sequences::forgotten_seq.eq(0_i64),
                );
                let raise = diesel::insert_into(sequences::table)
                    .values(first)
                    .on_conflict(sequences::organization_id)
                    .do_update()
                    .set(sequences::last_seq.eq(sequences::last_seq + count))
                    .returning(sequences::last_seq);
                let last: i64 = raise.get_result(c).await?;
                let subscribed: Vec<Webhook> = webhooks::table
                    .filter(webhooks::organization_id.eq(name.clone()))
                    .filter(webhooks::paused.eq(false))
                    .select(Webhook::as_select())
                    .load(c)
                    .await?;
                // SQLite accepts only one row at a time if some columns may be null.
                for (row, seq) in own.into_iter().zip(last - count + 1..) {
                    let row = Row { seq, ..row };
                    let wanting = subscribed.iter().filter(|webhook| webhook.wants(&row.kind));
                    let wanted: Vec<Message> = wanting
                        .map(|webhook| row.message(mint.mint(row.happened_at.and_utc()), webhook))
                        .collect();
                    appended.messages |= !wanted.is_empty();
                    for message in wanted {
                        diesel::insert_into(messages::table).values(message).execute(c).await?;
                    }
                    diesel::insert_into(events::table).values(row).execute(c).await?;
                }
                appended.latest.insert(organization, last);
            }
            let numbered = outbox::table.filter(outbox::id.eq_any(ids));
            diesel::delete(numbered).execute(c).await?;
            Ok(appended)
        })
        .await
    })
    .await
}

/// Returns the event of this organization with this number, if it is still stored.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_seq(
    db: &Db,
    organization: OrganizationId,
    seq: i64,
) -> Result<Option<Event>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = events::table.find((organization.to_string(), seq));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Returns at most `limit` events after the number `after`, in order: of the organization, or of
/// one session together with the events about gaps.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn after(
    db: &Db,
    organization: OrganizationId,
    session: Option<SessionId>,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = events::table
            .filter(events::organization_id.eq(organization.to_string()))
            .filter(events::seq.gt(after))
            .into_boxed();
        if let Some(session) = session {
            let own = events::session_id.eq(session.to_string());
            query = query.filter(own.or(events::kind.eq(EventKind::Gap.as_str()).nullable()));
        }
        let query = query.order(events::seq).limit(limit.into());
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns the events about refused requests of a run, in order.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn refused_in(
    db: &Db,
    organization: OrganizationId,
    session: SessionId,
    run: RunId,
) -> Result<Vec<Event>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = events::table
            .filter(events::session_id.eq(session.to_string()))
            .filter(events::organization_id.eq(organization.to_string()))
            .filter(events::run_id.eq(run.to_string()))
            .filter(events::kind.eq(EventKind::SessionEgressRefused.as_str()))
            .order(events::seq)
            .limit(MOST_REFUSED);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns the range of the stored events of an organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn extent(db: &Db, organization: OrganizationId) -> Result<Extent, DbError> {
    let found: Option<(i64, i64)> = on!(db, read, |c| {
        let query = sequences::table.find(organization.to_string());
        let query = query.select((sequences::last_seq, sequences::forgotten_seq));
        Ok(query.first(c).await.optional()?)
    })
    .await?;
    Ok(found.map_or_else(Extent::default, |(last, forgotten)| Extent { last, forgotten }))
}

/// Deletes the events from before `before`, and of each organization all but the latest `most`.
/// Returns the number of deleted events.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn forget(db: &Db, before: DateTime<Utc>, most: u32) -> Result<usize, DbError> {
    let known: Vec<(String, i64, i64)> = on!(db, read, |c| {
        let columns = (sequences::organization_id, sequences::last_seq, sequences::forgotten_seq);
        Ok(sequences::table.select(columns).load(c).await?)
    })
    .await?;
    let mut forgotten = 0;
    for (organization, last, already) in known {
        forgotten += on!(db, write, |c| {
            c.transaction(async move |c| {
                let old: Option<i64> = events::table
                    .filter(events::organization_id.eq(organization.clone()))
                    .filter(events::happened_at.lt(stored(before)))
                    .select(max(events::seq))
                    .first(c)
                    .await?;
                let through = old.unwrap_or(0).max(last - i64::from(most));
                if through <= already {
                    return Ok(0);
                }
                let counter = sequences::table
                    .filter(sequences::organization_id.eq(organization.clone()))
                    .filter(sequences::forgotten_seq.lt(through));
                let moved = sequences::forgotten_seq.eq(through);
                diesel::update(counter).set(moved).execute(c).await?;
                let gone = events::table
                    .filter(events::organization_id.eq(organization))
                    .filter(events::seq.le(through));
                Ok(diesel::delete(gone).execute(c).await?)
            })
            .await
        })
        .await?;
    }
    Ok(forgotten)
}
