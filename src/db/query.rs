//! How one query runs on either database.
//!
//! [`on!`] expands a query once for SQLite and once for PostgreSQL, so that what only one of them
//! can do does not compile. The query runs as a task of the runtime that opened the database:
//! whoever asked may be on any thread and may stop waiting, and the query still ends as it would
//! have; and a connection made for it does not end with an HTTP worker.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::pooled_connection::PoolError as ConnectError;
use tracing::Instrument as _;

use super::store::StoreError;
use super::{Db, Pools};

/// Why a query gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// A row with the same unique columns exists. Nothing was written.
    #[error("there is such a row already")]
    Conflict,
    /// The database did not answer, or refused; whether a write took effect is unknown.
    #[error("the database is unavailable: {cause}")]
    Unavailable {
        /// What it said.
        cause: String,
    },
    /// A row cannot be read: this program did not write it.
    #[error("column {column} of row {row} cannot be read")]
    Corrupt {
        /// The table and the column.
        column: &'static str,
        /// The row's id.
        row: String,
    },
}

impl DbError {
    pub(super) fn late(patience: Duration) -> Self {
        Self::Unavailable { cause: format!("no answer within {} ms", patience.as_millis()) }
    }
}

impl From<Error> for DbError {
    fn from(error: Error) -> Self {
        if let Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) = error {
            Self::Conflict
        } else {
            Self::Unavailable { cause: error.to_string() }
        }
    }
}

impl From<deadpool::managed::PoolError<ConnectError>> for DbError {
    fn from(error: deadpool::managed::PoolError<ConnectError>) -> Self {
        Self::Unavailable { cause: error.to_string() }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable { cause } => Self::Unavailable { cause },
            DbError::Conflict | DbError::Corrupt { .. } => {
                Self::Unavailable { cause: error.to_string() }
            }
        }
    }
}

impl Db {
    /// Runs `work` to its end on the runtime that opened the database.
    pub(super) async fn run<T, W, F>(&self, work: W) -> Result<T, DbError>
    where
        W: FnOnce(Arc<Pools>, Duration) -> F,
        F: Future<Output = Result<T, DbError>> + Send + 'static,
        T: Send + 'static,
    {
        let work = work(Arc::clone(&self.pools), self.patience).in_current_span();
        match self.runtime.spawn(work).await {
            Ok(outcome) => outcome,
            Err(ended) => Err(DbError::Unavailable { cause: ended.to_string() }),
        }
    }
}

/// `on!(db, read, |c| …)` or `on!(db, write, |c| …)`: a future of what the expression gives, a
/// `Result<_, DbError>`, with a connection `c` of either kind. What the expression uses is moved
/// into it. A connection whose statement was too late is not used again.
macro_rules! on {
    ($db:expr, $which:ident, |$c:ident| $body:expr) => {
        $db.run(move |pools, patience| async move {
            match &*pools {
                $crate::db::Pools::Sqlite { $which: pool, .. } => {
                    $crate::db::query::within!(pool, patience, $crate::db::SqliteConn, |$c| $body)
                }
                $crate::db::Pools::Postgres(pool) => {
                    $crate::db::query::within!(
                        pool,
                        patience,
                        diesel_async::AsyncPgConnection,
                        |$c| $body
                    )
                }
            }
        })
    };
}

macro_rules! within {
    ($pool:expr, $patience:expr, $connection:ty, |$c:ident| $body:expr) => {{
        let mut guard = $pool.get().await?;
        let work = async {
            let $c: &mut $connection = &mut guard;
            let outcome: Result<_, $crate::db::query::DbError> = $body;
            outcome
        };
        let outcome = tokio::time::timeout($patience, work).await;
        match outcome {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                drop(deadpool::managed::Object::take(guard));
                Err($crate::db::query::DbError::late($patience))
            }
        }
    }};
}

pub(super) use {on, within};
