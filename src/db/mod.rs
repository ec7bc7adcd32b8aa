//! The database: the pool, row types, and one file of queries for each table.
//!
//! Functions here are named for what is asked and return domain values. What actors write goes
//! through [`store::Store`], which is replaced in their tests.
//!
//! SQLite and PostgreSQL answer the same queries, see `query`; the tables are those of the two
//! directories of migrations. With SQLite there is one connection that writes and a few that
//! only read.
//!
//! 1. A time is written in whole microseconds, so that what is read equals what was written.
//! 2. Every query ends within the time that the settings give it, or the answer is
//!    [`DbError::Unavailable`].
//! 3. A final row is not written again.
//! 4. What the database refuses is [`DbError::Rejected`], and is never repeated as it is; an outage is
//!    [`DbError::Unavailable`], and may be.

mod error;
mod file;
mod open;
mod query;
mod sealed;
mod settings;
mod tls;
mod values;
mod writes;

pub mod store;

pub mod api_keys;
pub mod artifacts;
pub mod audit_events;
pub mod blocks;
pub mod debug_sessions;
pub mod egress_usage;
pub mod events;
pub mod idempotency;
pub mod nodes;
pub mod organizations;
pub mod purging;
pub mod runs;
pub mod sessions;
pub mod webhook_deliveries;
pub mod webhook_messages;
pub mod webhooks;
pub mod workflows;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tokio::runtime::Handle;

pub use self::error::{DbError, Outage, Reason, Rejection};
use self::file::File;
pub use self::open::OpenError;
pub use self::sealed::Resealed;
pub use self::settings::{DatabaseUrl, Settings};
pub use self::values::Page;
use crate::domain::ids::Mint;
use crate::domain::sealing::Vault;

type SqliteConn = SyncConnectionWrapper<SqliteConnection>;

enum Pools {
    Sqlite { write: Pool<SqliteConn>, read: Pool<SqliteConn>, file: File },
    Postgres(Pool<AsyncPgConnection>),
}

/// An open database. A clone is the same one.
///
/// May be used from any thread: queries run on the runtime that opened it, which therefore has to
/// last as long as the program.
#[derive(Clone)]
pub struct Db {
    pools: Arc<Pools>,
    runtime: Handle,
    patience: Duration,
    /// Names what is stored beside something else, in its transaction.
    mint: Arc<Mint>,
    /// Seals secrets; without it they are written as they are, and stay sealed where they are so.
    vault: Option<Vault>,
}

impl Db {
    /// Whether the database answers, and is where it was opened.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        use diesel_async::RunQueryDsl as _;
        if let Pools::Sqlite { file, .. } = &*self.pools {
            file.check()?;
        }
        query::on!(self, read, |c| {
            diesel::sql_query("SELECT 1").execute(c).await?;
            Ok(())
        })
        .await
    }

    /// Gives back every connection that is not in use, and those in use when their query ends.
    /// Every later query is answered with [`DbError::Unavailable`].
    pub fn close(&self) {
        match &*self.pools {
            Pools::Sqlite { write, read, .. } => {
                write.close();
                read.close();
            }
            Pools::Postgres(pool) => pool.close(),
        }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.pools {
            Pools::Sqlite { .. } => "Db(SQLite)",
            Pools::Postgres(_) => "Db(PostgreSQL)",
        })
    }
}
