//! Runs a query on either database.
//!
//! [`on!`] expands a query once for SQLite and once for PostgreSQL, so that a query that only one
//! of them supports does not compile. The query runs on a thread of the database, see `sqlite`, or as a task of
//! the runtime that opened it. The caller may be on any thread and may stop waiting: the query still
//! completes. A new connection does not end with the HTTP worker that caused it.

use tracing::Instrument as _;

use super::Db;
pub use super::error::DbError;
use super::error::Outage;

impl Db {
    /// Runs `work` to completion on the runtime that opened the database.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DbError>> + Send + 'static,
    ) -> Result<T, DbError> {
        match self.runtime.spawn(work.in_current_span()).await {
            Ok(outcome) => outcome,
            Err(ended) => Err(DbError::Unavailable(Outage::new(ended))),
        }
    }
}

/// Runs a query as `on!(db, read, |c| …)`, `on!(db, write, |c| …)`, or `on!(db, later, |c| …)` for a change for
/// whose commit no request waits. The result is a future of the
/// expression's `Result<_, DbError>`, with a connection `c` of either kind. Variables used in the
/// expression are moved into it. A connection whose statement timed out is not reused.
///
/// With SQLite, changes that wait at the same time are written in one transaction.
macro_rules! on {
    ($db:expr, $which:ident, |$c:ident| $body:expr) => {{
        let db: &$crate::db::Db = $db;
        match &*db.pools {
            $crate::db::Pools::Sqlite(sqlite) => futures_util::future::Either::Left(sqlite.$which(
                move |$c: &mut $crate::db::SqliteConn| {
                    Box::pin(async move {
                        let outcome: Result<_, $crate::db::query::DbError> = $body;
                        outcome
                    })
                },
            )),
            $crate::db::Pools::Postgres(pool) => {
                let (pool, patience) = (pool.clone(), db.patience);
                futures_util::future::Either::Right(db.run(async move {
                    let mut guard = pool.get().await?;
                    let work = async {
                        let $c: &mut diesel_async::AsyncPgConnection = &mut guard;
                        let outcome: Result<_, $crate::db::query::DbError> = $body;
                        outcome
                    };
                    match tokio::time::timeout(patience, work).await {
                        Ok(outcome) => outcome,
                        Err(_elapsed) => {
                            drop(deadpool::managed::Object::take(guard));
                            Err($crate::db::query::DbError::late(patience))
                        }
                    }
                }))
            }
        }
    }};
}

pub(super) use on;
