//! The credentials with which sessions were taken, for the end of leases after a restart.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Db;
use super::query::{DbError, on};
use super::sessions::LIVE;
use super::values::{Reader, all, stored};
use crate::domain::lease::{LeaseHash, TakenLease};
use crate::schema::{browser_sessions, leases};

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = leases, treat_none_as_null = true)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    session_id: String,
    organization_id: String,
    lease_hash: String,
    api_key_id: String,
    ends_at: Option<NaiveDateTime>,
}

impl From<TakenLease> for Row {
    fn from(taken: TakenLease) -> Self {
        Self {
            session_id: taken.session.to_string(),
            organization_id: taken.organization.to_string(),
            lease_hash: taken.lease.to_hex(),
            api_key_id: taken.key.to_string(),
            ends_at: taken.ends_at.map(stored),
        }
    }
}

impl TryFrom<Row> for TakenLease {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.session_id };
        Ok(Self {
            session: read.parse("leases.session_id", &row.session_id)?,
            organization: read.parse("leases.organization_id", &row.organization_id)?,
            lease: read.some("leases.lease_hash", LeaseHash::from_hex(&row.lease_hash))?,
            key: read.parse("leases.api_key_id", &row.api_key_id)?,
            ends_at: row.ends_at.map(|at| at.and_utc()),
        })
    }
}

/// Stores a lease by the connection `c` of a transaction, in the place of the former one of the session.
macro_rules! put {
    ($c:ident, $row:expr) => {{
        let row: &$crate::db::leases::Row = $row;
        let insert = diesel::insert_into($crate::schema::leases::table).values(row);
        let replace = insert.on_conflict($crate::schema::leases::session_id).do_update().set(row);
        replace.execute($c).await?;
    }};
}

pub(super) use put;

/// The leases of all sessions that have not ended.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn live(db: &Db) -> Result<Vec<TakenLease>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let live = leases::table
            .inner_join(browser_sessions::table)
            .filter(browser_sessions::status.eq_any(LIVE));
        Ok(live.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}
