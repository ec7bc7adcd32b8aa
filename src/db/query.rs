//! Runs a query on either database.
//!
//! [`on!`] expands a query once for SQLite and once for PostgreSQL, so that a query that only one
//! of them supports does not compile. The query runs as a task of the runtime that opened the
//! database. The caller may be on any thread and may stop waiting: the query still completes. A new
//! connection does not end with the HTTP worker that caused it.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

pub use super::error::DbError;
use super::error::Outage;
use super::{Db, Pools};

impl Db {
    /// Runs `work` to completion on the runtime that opened the database.
    pub(super) async fn run<T, W, F>(&self, work: W) -> Result<T, DbError>
    where
        W: FnOnce(Arc<Pools>, Duration) -> F,
        F: Future<Output = Result<T, DbError>> + Send + 'static,
        T: Send + 'static,
    {
        let work = work(Arc::clone(&self.pools), self.patience).in_current_span();
        match self.runtime.spawn(work).await {
            Ok(outcome) => outcome,
            Err(ended) => Err(DbError::Unavailable(Outage::new(ended))),
        }
    }
}

/// Runs a query as `on!(db, read, |c| …)` or `on!(db, write, |c| …)`. The result is a future of the
/// expression's `Result<_, DbError>`, with a connection `c` of either kind. Variables used in the
/// expression are moved into it. A connection whose statement timed out is not reused.
macro_rules! on {
    ($db:expr, $which:ident, |$c:ident| $body:expr) => {
        $db.run(move |pools, patience| async move {
            match &*pools {
                $crate::db::Pools::Sqlite { $which: pool, file, .. } => {
                    $crate::db::query::in_place!($which, file);
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

/// Fails before a write to a file that was removed or replaced, because the write would be lost.
macro_rules! in_place {
    (read, $file:ident) => {
        let _ = $file;
    };
    (write, $file:ident) => {
        $file.check()?
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

pub(super) use {in_place, on, within};
