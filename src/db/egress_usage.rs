//! The network traffic of sessions, by UTC day.
//!
//! A row has the total traffic of a session, and the total before the day of its last traffic, so that the next
//! server counts the traffic that flows while no server runs.

use std::collections::HashMap;

use chrono::NaiveDate;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, counted};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::schema::egress_usage as usage;

/// The total traffic of a session so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTraffic {
    pub session: SessionId,
    pub organization: OrganizationId,
    /// The bytes that it has sent and received, as its egress program counts them.
    pub bytes: u64,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = usage)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    session_id: String,
    organization_id: String,
    day: String,
    bytes_before: i64,
    bytes: i64,
}

impl Row {
    /// The row that follows `stored` if the session's total is `bytes`.
    fn next(stored: Option<Self>, traffic: SessionTraffic, today: &str) -> Self {
        let bytes = i64::try_from(traffic.bytes).unwrap_or(i64::MAX);
        let bytes_before = match stored {
            None => 0,
            // Fewer than before: the program has restarted its counters.
            Some(stored) if bytes < stored.bytes => {
                let before = if stored.day == today { stored.bytes_before } else { stored.bytes };
                before.saturating_sub(stored.bytes)
            }
            Some(stored) if stored.day == today => stored.bytes_before,
            Some(stored) => stored.bytes,
        };
        Self {
            session_id: traffic.session.to_string(),
            organization_id: traffic.organization.to_string(),
            day: today.to_owned(),
            bytes_before,
            bytes,
        }
    }
}

/// Stores the traffic of sessions so far. The difference counts for `today`.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn note(db: &Db, traffic: Vec<SessionTraffic>, today: NaiveDate) -> Result<(), DbError> {
    if traffic.is_empty() {
        return Ok(());
    }
    let today = today.to_string();
    on!(db, write, |c| {
        c.transaction(async move |c| {
            for traffic in traffic {
                let id = traffic.session.to_string();
                let stored: Option<Row> =
                    usage::table.find(id).select(Row::as_select()).first(c).await.optional()?;
                let row = Row::next(stored, traffic, &today);
                let change = (
                    usage::day.eq(row.day.clone()),
                    usage::bytes_before.eq(row.bytes_before),
                    usage::bytes.eq(row.bytes),
                );
                let insert = diesel::insert_into(usage::table).values(row);
                let insert = insert.on_conflict(usage::session_id).do_update().set(change);
                insert.execute(c).await?;
            }
            Ok(())
        })
        .await
    })
    .await
}

/// The bytes of a UTC day, by organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_day(db: &Db, day: NaiveDate) -> Result<HashMap<OrganizationId, u64>, DbError> {
    let day = day.to_string();
    let rows: Vec<(String, i64)> = on!(db, read, |c| {
        let total = sql::<BigInt>("CAST(SUM(bytes - bytes_before) AS BIGINT)");
        let query = usage::table.filter(usage::day.eq(day)).group_by(usage::organization_id);
        Ok(query.select((usage::organization_id, total)).load(c).await?)
    })
    .await?;
    let read = |(id, bytes): (String, i64)| {
        let row = Reader { row: &id };
        Ok((row.parse("egress_usage.organization_id", &id)?, counted(bytes)))
    };
    rows.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_counts_for_its_day_and_a_program_that_begins_anew_loses_none() {
        let of = |stored, bytes, day| {
            let traffic = SessionTraffic {
                session: SessionId::from(1),
                organization: OrganizationId::from(2),
                bytes,
            };
            Row::next(stored, traffic, day)
        };
        let used = |row: &Row| row.bytes - row.bytes_before;
        let first = of(None, 10, "2026-11-29");
        assert_eq!(used(&first), 10);
        let more = of(Some(first), 25, "2026-11-29");
        assert_eq!(used(&more), 25);
        let anew = of(Some(more), 5, "2026-11-29");
        assert_eq!(used(&anew), 30);
        let tomorrow = of(Some(anew), 9, "2026-11-30");
        assert_eq!(used(&tomorrow), 4);
        let anew = of(Some(tomorrow), 3, "2026-12-01");
        assert_eq!(used(&anew), 3);
    }
}
