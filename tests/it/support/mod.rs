//! Helpers between the tests and the server.

pub mod agent;
pub mod channel;
pub mod client;
pub mod database;
pub mod driver;
pub mod left;
pub mod receiver;
pub mod s3;
pub mod server;
pub mod viewer;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use client::Client;
pub use database::Database;
pub use server::{OPERATOR, Setup, TestServer};

/// The timeout for the slowest awaited event.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until there is a value. Panics with `what` on a timeout.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    eventually_within(PATIENCE, what, ask)
}

/// The same with a time of its own, for what the server itself may take longer to do.
#[track_caller]
pub fn eventually_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            assert!(Instant::now() < deadline, "never: {what} (at {caller})");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Defines a test for SQLite and for PostgreSQL.
macro_rules! on_both_databases {
    ($(#[$attribute:meta])* async fn $name:ident($database:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn test($database: $crate::support::Database) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                test($crate::support::Database::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                test($crate::support::Database::Postgres).await;
            }
        }
    };
}
pub(crate) use on_both_databases;
