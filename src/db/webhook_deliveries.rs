//! Attempts to tell clients' servers about runs and sessions.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, all, stored};
use crate::domain::ids::{OrganizationId, RunId};
use crate::domain::webhook::WebhookDelivery;
use crate::schema::webhook_deliveries as deliveries;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = deliveries, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    organization_id: String,
    run_id: Option<String>,
    session_id: Option<String>,
    url: String,
    attempt: i32,
    status_code: Option<i32>,
    error: Option<String>,
    latency_milliseconds: i64,
    payload: Value,
    created_at: NaiveDateTime,
}

impl From<&WebhookDelivery> for Row {
    fn from(delivery: &WebhookDelivery) -> Self {
        Self {
            id: delivery.id.to_string(),
            organization_id: delivery.organization.to_string(),
            run_id: delivery.run.map(|id| id.to_string()),
            session_id: delivery.session.map(|id| id.to_string()),
            url: delivery.url.clone(),
            attempt: delivery.attempt,
            status_code: delivery.status_code,
            error: delivery.error.clone(),
            latency_milliseconds: delivery.latency_milliseconds,
            payload: delivery.payload.clone(),
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
            organization: read.parse("webhook_deliveries.organization_id", &row.organization_id)?,
            run: read.parse_some("webhook_deliveries.run_id", row.run_id.as_deref())?,
            session: read.parse_some("webhook_deliveries.session_id", row.session_id.as_deref())?,
            url: row.url,
            attempt: row.attempt,
            status_code: row.status_code,
            error: row.error,
            latency_milliseconds: row.latency_milliseconds,
            payload: row.payload,
            created_at: row.created_at.and_utc(),
        })
    }
}

/// An attempt was made.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn insert(db: &Db, delivery: &WebhookDelivery) -> Result<(), DbError> {
    let row = Row::from(delivery);
    on!(db, write, |c| {
        let insert = diesel::insert_into(deliveries::table).values(row);
        insert.on_conflict(deliveries::id).do_nothing().execute(c).await?;
        Ok(())
    })
    .await
}

/// The attempts for a run, the oldest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_run(
    db: &Db,
    organization: OrganizationId,
    run: RunId,
) -> Result<Vec<WebhookDelivery>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = deliveries::table
            .filter(deliveries::run_id.eq(run.to_string()))
            .filter(deliveries::organization_id.eq(organization.to_string()))
            .order((deliveries::created_at, deliveries::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}
