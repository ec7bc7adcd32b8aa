//! Webhook deliveries: the attempts to deliver messages.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, all, stored};
use crate::domain::ids::WebhookMessageId;
use crate::domain::webhook::WebhookDelivery;
use crate::schema::webhook_deliveries as deliveries;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = deliveries, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    id: String,
    message_id: String,
    organization_id: String,
    url: String,
    attempt: i32,
    status_code: Option<i32>,
    response: Option<String>,
    error: Option<String>,
    latency_milliseconds: i64,
    created_at: NaiveDateTime,
}

impl From<&WebhookDelivery> for Row {
    fn from(delivery: &WebhookDelivery) -> Self {
        Self {
            id: delivery.id.to_string(),
            message_id: delivery.message.to_string(),
            organization_id: delivery.organization.to_string(),
            url: delivery.url.clone(),
            attempt: delivery.attempt,
            status_code: delivery.status_code,
            response: delivery.response.clone(),
            error: delivery.error.clone(),
            latency_milliseconds: delivery.latency_milliseconds,
            created_at: stored(delivery.created_at),
        }
    }
}

impl TryFrom<Row> for WebhookDelivery {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("webhook_deliveries.id", &row.id)?,
            message: read.parse("webhook_deliveries.message_id", &row.message_id)?,
            organization: read.parse("webhook_deliveries.organization_id", &row.organization_id)?,
            url: row.url,
            attempt: row.attempt,
            status_code: row.status_code,
            response: row.response,
            error: row.error,
            latency_milliseconds: row.latency_milliseconds,
            created_at: row.created_at.and_utc(),
        })
    }
}

/// Returns the attempts to deliver these messages, the oldest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of(db: &Db, ids: Vec<WebhookMessageId>) -> Result<Vec<WebhookDelivery>, DbError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = deliveries::table
            .filter(deliveries::message_id.eq_any(ids))
            .order((deliveries::created_at, deliveries::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}
