//! An SQLite database: the writer, and a pool of connections that only read.
//!
//! A query runs on one blocking thread from its first statement to its last, so that it costs one change of
//! threads and not one for each statement.

use std::sync::Arc;

use diesel::SqliteConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::future::{BoxFuture, ready};
use tokio::runtime::Handle;

use super::answers::Answers;
use super::error::DbError;
use super::file::File;
use super::writer::{Order, Writer};

/// A connection whose statements block the thread that polls them.
pub(super) type SqliteConn = SyncConnectionWrapper<SqliteConnection, InPlace>;

/// Runs statements on the thread of their query.
#[derive(Debug, Clone, Copy)]
pub(super) struct InPlace;

impl SpawnBlocking for InPlace {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn std::error::Error + Send + Sync>>>
    where
        R: Send + 'static,
    {
        Box::pin(ready(Ok(task())))
    }

    fn get_runtime() -> Self {
        Self
    }
}

/// The writer and the readers of an open database.
pub(super) struct Database {
    pub(super) writer: Writer,
    pub(super) readers: Pool<SqliteConn>,
    pub(super) file: Arc<File>,
    pub(super) answers: Arc<Answers>,
    pub(super) runtime: Handle,
}

impl Database {
    /// Runs a query on one of the connections that only read. It is completed even if the asker leaves.
    ///
    /// # Errors
    ///
    /// Those of the query, and [`DbError::Unavailable`] without an answer within the limit.
    pub(super) async fn read<T, W>(&self, work: W) -> Result<T, DbError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConn) -> BoxFuture<'c, Result<T, DbError>>,
        W: Send + 'static,
    {
        let (answer, answered) = self.answers.open();
        let (readers, runtime) = (self.readers.clone(), self.runtime.clone());
        let span = tracing::Span::current();
        drop(self.runtime.spawn_blocking(move || {
            let _entered = span.enter();
            answer.give(runtime.block_on(async {
                let mut connection = readers.get().await?;
                work(&mut connection).await
            }));
        }));
        answered.await
    }

    /// Writes a change. It is written even if the asker leaves.
    ///
    /// # Errors
    ///
    /// Those of the change, and [`DbError::Unavailable`] without an answer within the limit.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, DbError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConn) -> BoxFuture<'c, Result<T, DbError>>,
        W: Send + 'static,
    {
        self.writer.submit(Order::Together, work).await
    }

    /// Writes a change with the next one, or a few milliseconds later. For changes for which no request waits.
    ///
    /// # Errors
    ///
    /// Those of the change, and those of [`write`](Self::write).
    pub(super) async fn later<T, W>(&self, work: W) -> Result<T, DbError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConn) -> BoxFuture<'c, Result<T, DbError>>,
        W: Send + 'static,
    {
        self.writer.submit(Order::Lingering, work).await
    }

    /// Refuses all later queries. Waiting changes are still written.
    pub(super) fn close(&self) {
        self.writer.close();
        self.readers.close();
    }
}
