//! The database: the pool, row types, and one file of queries per table.
//!
//! Functions are named for their result and return domain values. Actors write through
//! [`store::Store`], which their tests replace.
//!
//! SQLite and PostgreSQL run the same queries, see `query`. The tables are defined in two
//! directories of migrations. With SQLite there is one connection that writes, on a thread of its own
//! (`writer`), and a few that only read.
//!
//! 1. A time is written in whole microseconds, so that it is read back equal.
//! 2. Every query ends within the time limit of the settings; otherwise it returns
//!    [`DbError::Unavailable`].
//! 3. A final row is not written again.
//! 4. A refusal by the database is [`DbError::Rejected`] and is never retried unchanged; an
//!    outage is [`DbError::Unavailable`] and may be retried.

mod answers;
mod error;
mod figures;
mod file;
mod fileless;
mod former;
mod open;
mod profile_lists;
mod query;
mod sealed;
mod settings;
mod sqlite;
mod tls;
mod values;
mod writer;
mod writes;

pub mod standing;
pub mod store;

pub mod api_keys;
pub mod artifacts;
pub mod audit_events;
pub mod blocks;
pub mod debug_sessions;
pub mod egress_usage;
pub mod events;
pub mod idempotency;
pub mod leases;
pub mod nodes;
pub mod organizations;
pub mod outbox;
pub mod profiles;
pub mod purging;
pub mod retention;
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

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use tokio::runtime::Handle;

pub use self::error::{DbError, Outage, Reason, Rejection};
pub use self::figures::Figures;
pub use self::former::Resealed;
pub use self::open::OpenError;
pub use self::settings::{DatabaseUrl, Settings};
use self::sqlite::SqliteConn;
pub use self::values::{Mark, Page};
use crate::domain::ids::Mint;
use crate::domain::sealing::Vault;

enum Pools {
    Sqlite(sqlite::Database),
    Postgres(Pool<AsyncPgConnection>),
}

/// A handle to an open database; clones share it.
///
/// It may be used from any thread. Queries run on the runtime that opened the database, which must
/// therefore outlive every user.
#[derive(Clone)]
pub struct Db {
    pools: Arc<Pools>,
    runtime: Handle,
    patience: Duration,
    /// Mints the ids of rows that are stored as part of another write's transaction.
    mint: Arc<Mint>,
    /// The sessions that are known to have no artifacts.
    fileless: Arc<fileless::Fileless>,
    /// Seals and opens secrets. Without it, secrets are written in clear text, and sealed ones stay
    /// sealed.
    vault: Option<Vault>,
}

impl Db {
    /// Checks that the database responds, and that its file is still in place.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        use diesel_async::RunQueryDsl as _;
        if let Pools::Sqlite(sqlite) = &*self.pools {
            sqlite.file.check()?;
        }
        query::on!(self, read, |c| {
            diesel::sql_query("SELECT 1").execute(c).await?;
            Ok(())
        })
        .await
    }

    /// Closes every connection: idle ones now, and those in use when their queries and the waiting changes
    /// end. Every later query fails with [`DbError::Unavailable`].
    pub fn close(&self) {
        match &*self.pools {
            Pools::Sqlite(sqlite) => sqlite.close(),
            Pools::Postgres(pool) => pool.close(),
        }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.pools {
            Pools::Sqlite(_) => "Db(SQLite)",
            Pools::Postgres(_) => "Db(PostgreSQL)",
        })
    }
}
