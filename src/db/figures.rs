//! The figures of an open database, for metrics.

use super::{Db, Pools};
use crate::metrics::Snapshot;

/// The figures of an open database.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The open connections, that of the writer not included.
    pub connections: usize,
    /// Those of them that no query uses.
    pub idle_connections: usize,
    /// The most connections that may be open.
    pub most_connections: usize,
    /// The queries that wait for a connection.
    pub waiting_queries: usize,
    /// The writer of SQLite; none with PostgreSQL, which commits each change by itself.
    pub writer: Option<WriterFigures>,
}

/// The figures of the writer.
#[derive(Debug, Clone, PartialEq)]
pub struct WriterFigures {
    /// The number of changes that wait.
    pub waiting: usize,
    /// The times of transactions, in seconds.
    pub commit: Snapshot,
    /// The numbers of changes in a transaction.
    pub batch: Snapshot,
}

impl Db {
    /// The figures of the database. Sends no query.
    pub fn figures(&self) -> Figures {
        let (status, writer) = match &*self.pools {
            Pools::Postgres(pool) => (pool.status(), None),
            Pools::Sqlite(sqlite) => {
                let metrics = sqlite.writer.metrics();
                let writer = WriterFigures {
                    waiting: sqlite.writer.waiting(),
                    commit: metrics.commit.snapshot(),
                    batch: metrics.batch.snapshot(),
                };
                (sqlite.readers.status(), Some(writer))
            }
        };
        Figures {
            connections: status.size,
            idle_connections: status.available,
            most_connections: status.max_size,
            waiting_queries: status.waiting,
            writer,
        }
    }
}
