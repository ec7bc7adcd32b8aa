//! A database for each test.

use tokio_postgres::NoTls;

/// The database of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file in its data directory.
    Sqlite,
    /// A separate database on the PostgreSQL server for tests.
    Postgres,
}

/// A database on the PostgreSQL server for tests.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: String,
    name: String,
}

impl PostgresDatabase {
    /// Creates a database with this name.
    pub async fn create(name: &str) -> Self {
        let server = std::env::var("GREENROOM_TEST_POSTGRES_URL").unwrap_or_else(|_| {
            panic!(
                "GREENROOM_TEST_POSTGRES_URL is missing: scripts/test sets it, and so does \
                 `export GREENROOM_TEST_POSTGRES_URL=$(scripts/postgres start DIR)`"
            )
        });
        let database = Self { server, name: name.to_owned() };
        database.execute(&format!("CREATE DATABASE {name}")).await;
        database
    }

    /// The URL of the database.
    pub fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{}", self.name)
    }

    /// Removes it, and disconnects remaining clients. The server has ended before.
    pub async fn remove(&self) {
        self.execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    async fn execute(&self, statement: &str) {
        let connected = tokio_postgres::connect(&self.server, NoTls).await;
        let (client, connection) = connected.expect("GREENROOM_TEST_POSTGRES_URL does not answer");
        let connection = tokio::spawn(connection);
        client.batch_execute(statement).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }
}
