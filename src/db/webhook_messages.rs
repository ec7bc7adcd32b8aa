//! Webhook messages: those to be delivered, and those that were.
//!
//! A message is written in the transaction that stores its subject: the end of a run, or an event.
//! It is delivered at least once, even if the server stops in between.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::dsl::min;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::query::{DbError, on};
use super::values::{Page, Reader, all, older, one, stored};
use super::{Db, webhook_deliveries};
use crate::domain::ids::{OrganizationId, RunId, WebhookId, WebhookMessageId};
use crate::domain::webhook::{MessageStatus, WebhookDelivery, WebhookMessage};
use crate::schema::{webhook_deliveries as deliveries, webhook_messages as messages, webhooks};

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = messages, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) organization_id: String,
    pub(super) webhook_id: Option<String>,
    pub(super) run_id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) event_seq: Option<i64>,
    pub(super) kind: String,
    pub(super) url: String,
    pub(super) body: Option<String>,
    pub(super) status: String,
    pub(super) attempts: i32,
    pub(super) error: Option<String>,
    pub(super) due_at: NaiveDateTime,
    pub(super) created_at: NaiveDateTime,
    pub(super) finished_at: Option<NaiveDateTime>,
}

impl Row {
    /// Creates a message that is to be delivered from `at` on.
    pub(super) fn pending(
        id: WebhookMessageId,
        organization_id: String,
        url: String,
        at: NaiveDateTime,
    ) -> Self {
        Self {
            id: id.to_string(),
            organization_id,
            webhook_id: None,
            run_id: None,
            session_id: None,
            event_seq: None,
            kind: String::new(),
            url,
            body: None,
            status: MessageStatus::Pending.as_str().to_owned(),
            attempts: 0,
            error: None,
            due_at: at,
            created_at: at,
            finished_at: None,
        }
    }
}

impl From<&WebhookMessage> for Row {
    fn from(message: &WebhookMessage) -> Self {
        Self {
            id: message.id.to_string(),
            organization_id: message.organization.to_string(),
            webhook_id: message.webhook.map(|id| id.to_string()),
            run_id: message.run.map(|id| id.to_string()),
            session_id: message.session.map(|id| id.to_string()),
            event_seq: message.event,
            kind: message.kind.to_string(),
            url: message.url.clone(),
            body: message.body.clone(),
            status: message.status.as_str().to_owned(),
            attempts: message.attempts,
            error: message.error.clone(),
            due_at: stored(message.due_at),
            created_at: stored(message.created_at),
            finished_at: message.finished_at.map(stored),
        }
    }
}

impl TryFrom<Row> for WebhookMessage {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        let webhook = row.webhook_id.as_deref();
        Ok(Self {
            id: read.parse("webhook_messages.id", &row.id)?,
            organization: read.parse("webhook_messages.organization_id", &row.organization_id)?,
            webhook: read.parse_some("webhook_messages.webhook_id", webhook)?,
            run: read.parse_some("webhook_messages.run_id", row.run_id.as_deref())?,
            session: read.parse_some("webhook_messages.session_id", row.session_id.as_deref())?,
            event: row.event_seq,
            kind: read.parse("webhook_messages.kind", &row.kind)?,
            url: row.url,
            body: row.body,
            status: read.parse("webhook_messages.status", &row.status)?,
            attempts: row.attempts,
            error: row.error,
            due_at: row.due_at.and_utc(),
            created_at: row.created_at.and_utc(),
            finished_at: row.finished_at.map(|at| at.and_utc()),
        })
    }
}

/// Inserts a new message.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn insert(db: &Db, message: &WebhookMessage) -> Result<(), DbError> {
    let row = Row::from(message);
    on!(db, write, |c| {
        diesel::insert_into(messages::table).values(row).execute(c).await?;
        Ok(())
    })
    .await
}

/// Selects pending messages, except those of paused or busy webhooks.
macro_rules! awaiting {
    ($busy:expr) => {{
        let paused = webhooks::table.filter(webhooks::paused).select(webhooks::id.nullable());
        let free = messages::webhook_id
            .is_null()
            .or(messages::webhook_id.ne_all($busy).and(messages::webhook_id.ne_all(paused)));
        messages::table
            .filter(messages::status.eq(MessageStatus::Pending.as_str()))
            .filter(free.assume_not_null())
    }};
}

/// Returns the number of messages that are not delivered yet.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn count_pending(db: &Db) -> Result<i64, DbError> {
    on!(db, read, |c| {
        let pending = messages::status.eq(MessageStatus::Pending.as_str());
        Ok(messages::table.filter(pending).count().get_result(c).await?)
    })
    .await
}

/// Returns the messages due at `now`, the longest due first, except those of the webhooks `busy`.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn due(
    db: &Db,
    now: DateTime<Utc>,
    busy: Vec<WebhookId>,
    limit: u32,
) -> Result<Vec<WebhookMessage>, DbError> {
    let busy: Vec<String> = busy.iter().map(ToString::to_string).collect();
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = awaiting!(busy)
            .filter(messages::due_at.le(stored(now)))
            .order((messages::due_at, messages::id))
            .limit(limit.into());
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns the time at which the next message is due, except those of the webhooks `busy`.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn next_due(db: &Db, busy: Vec<WebhookId>) -> Result<Option<DateTime<Utc>>, DbError> {
    let busy: Vec<String> = busy.iter().map(ToString::to_string).collect();
    let at: Option<NaiveDateTime> =
        on!(db, read, |c| { Ok(awaiting!(busy).select(min(messages::due_at)).first(c).await?) })
            .await?;
    Ok(at.map(|at| at.and_utc()))
}

/// Claims a message for delivery until `until`. Returns true if the caller has it now.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn take(
    db: &Db,
    message: &WebhookMessage,
    until: DateTime<Utc>,
) -> Result<bool, DbError> {
    let (id, attempts) = (message.id.to_string(), message.attempts);
    let changed = on!(db, write, |c| {
        let known = messages::table
            .filter(messages::id.eq(id))
            .filter(messages::status.eq(MessageStatus::Pending.as_str()))
            .filter(messages::attempts.eq(attempts));
        let change = (messages::attempts.eq(attempts + 1), messages::due_at.eq(stored(until)));
        Ok(diesel::update(known).set(change).execute(c).await?)
    });
    Ok(changed.await? > 0)
}

/// Stores the body, so that each attempt sends the same one.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn keep_body(db: &Db, id: WebhookMessageId, body: String) -> Result<(), DbError> {
    on!(db, write, |c| {
        let known = messages::table.find(id.to_string());
        diesel::update(known).set(messages::body.eq(body)).execute(c).await?;
        Ok(())
    })
    .await
}

/// Stores the result of an attempt, and the new state of the message.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn tried(
    db: &Db,
    message: &WebhookMessage,
    delivery: Option<&WebhookDelivery>,
) -> Result<(), DbError> {
    let row = Row::from(message);
    let delivery = delivery.map(webhook_deliveries::Row::from);
    on!(db, write, |c| {
        c.transaction(async move |c| {
            let change = (
                messages::status.eq(row.status),
                messages::error.eq(row.error),
                messages::due_at.eq(row.due_at),
                messages::finished_at.eq(row.finished_at),
            );
            diesel::update(messages::table.find(row.id)).set(change).execute(c).await?;
            if let Some(delivery) = delivery {
                let insert = diesel::insert_into(deliveries::table).values(delivery);
                insert.on_conflict(deliveries::id).do_nothing().execute(c).await?;
            }
            Ok(())
        })
        .await
    })
    .await
}

/// Returns the message of this organization with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: WebhookMessageId,
) -> Result<Option<WebhookMessage>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = messages::table
            .filter(messages::id.eq(id.to_string()))
            .filter(messages::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// The subject whose messages a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The messages of a webhook.
    Webhook(WebhookId),
    /// The messages about the end of a run.
    Run(RunId),
}

/// Returns a part of the messages from before `before`, the newest first. Its page has no number.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(
    db: &Db,
    organization: OrganizationId,
    of: Of,
    before: Option<WebhookMessageId>,
    page: Page,
) -> Result<Vec<WebhookMessage>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = messages::table
            .filter(messages::organization_id.eq(organization.to_string()))
            .into_boxed();
        query = match of {
            Of::Webhook(id) => query.filter(messages::webhook_id.eq(id.to_string())),
            Of::Run(id) => query
                .filter(messages::run_id.eq(id.to_string()))
                .filter(messages::webhook_id.is_null()),
        };
        if let Some(before) = before {
            query = query.filter(messages::id.lt(before.to_string()));
        }
        let most = page.limit();
        if let Some(mark) = page.after {
            query = query.filter(older!(messages, mark));
        }
        let query = query.order((messages::created_at.desc(), messages::id.desc()));
        Ok(query.limit(most).select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Deletes the messages delivered or abandoned before `before`. Returns their number.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn forget(db: &Db, before: DateTime<Utc>) -> Result<usize, DbError> {
    on!(db, write, |c| {
        let old = messages::table
            .filter(messages::status.ne(MessageStatus::Pending.as_str()))
            .filter(messages::created_at.lt(stored(before)));
        Ok(diesel::delete(old).execute(c).await?)
    })
    .await
}
