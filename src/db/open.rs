//! Opens a database: the first connection, the migrations, the pools.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource as _};
use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, ConnectionError, SqliteConnection};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt as _;
use futures_util::future::ready;
use tokio::runtime::Handle;
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;

use super::answers::Answers;
use super::error::{DbError, Outage};
use super::file::File;
use super::sqlite::{Database, SqliteConn};
use super::writer::Writer;
use super::{Db, Pools, Settings, tls};
use crate::domain::ids::Mint;

pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The lock under which nodes that start together apply migrations one after the other.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_lock(5135891094)";

/// The reason why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no supported database.
    #[error("`database.url` begins neither with `postgres://` nor with `sqlite:`")]
    UnknownKind,
    /// The URL is invalid. It is not shown, because it may contain a password.
    #[error("`database.url` cannot be read: {cause}")]
    Url {
        /// The reason why the URL is invalid.
        cause: String,
    },
    /// The file cannot be created or written.
    #[error("the database file {} cannot be written", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// No server responds, or it refuses the connection.
    #[error("the database server cannot be reached: {cause}")]
    Unreachable {
        /// The cause, with its sources.
        cause: String,
    },
    /// The server rejects the user or the password.
    #[error("the database server rejected the user or the password: {cause}")]
    Credentials {
        /// The message of the server.
        cause: String,
    },
    /// The server has no database of this name.
    #[error("the database server has no such database: {cause}")]
    NoDatabase {
        /// The message of the server.
        cause: String,
    },
    /// A newer version of this program has changed the tables.
    #[error(
        "the database was made by a newer version of this program (it has migration {migration}); \
         start that version, or restore a copy from before"
    )]
    Newer {
        /// The first migration that this program does not know.
        migration: String,
    },
    /// The tables could not be created or changed.
    #[error("the migrations of the tables failed: {cause}")]
    Migrations {
        /// The message of the database.
        cause: String,
    },
}

impl Db {
    /// Opens the database and applies the migrations that are missing.
    ///
    /// All queries run on the runtime on which this is called.
    ///
    /// # Errors
    ///
    /// Returns an [`OpenError`]; the tables are then unchanged.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub async fn open(settings: &Settings, data_dir: &Path) -> Result<Self, OpenError> {
        let runtime = Handle::current();
        let pools = match location(settings, data_dir)? {
            Location::File(path) => sqlite(settings, path, &runtime).await?,
            Location::Server(url) => postgres(settings, &url, &runtime).await?,
        };
        let mint = Arc::new(Mint::new(rand::random()));
        Ok(Self {
            pools: Arc::new(pools),
            runtime,
            patience: settings.statement_timeout(),
            mint,
            fileless: Arc::default(),
            vault: None,
        })
    }
}

/// The file or the server of a database.
#[derive(Debug)]
pub(super) enum Location {
    /// A file of SQLite.
    File(PathBuf),
    /// The URL of a PostgreSQL server, with its password.
    Server(String),
}

/// Returns the database that the settings name.
pub(super) fn location(settings: &Settings, data_dir: &Path) -> Result<Location, OpenError> {
    let Some(url) = &settings.url else {
        return Ok(Location::File(data_dir.join("greenroom.db")));
    };
    let url = url.reveal();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Location::Server(url.to_owned()));
    }
    let path = url.strip_prefix("sqlite:").ok_or(OpenError::UnknownKind)?;
    Ok(Location::File(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
}

async fn sqlite(settings: &Settings, path: PathBuf, runtime: &Handle) -> Result<Pools, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .and_then(|file| file.metadata());
    let known = file.map_err(|source| OpenError::File { path: path.clone(), source })?;
    let Some(name) = path.to_str().map(str::to_owned) else {
        return Err(OpenError::Url { cause: "the path of the file is not UTF-8".to_owned() });
    };

    let busy = settings.statement_timeout();
    let migrating = {
        let name = name.clone();
        move || -> Result<(), OpenError> {
            let refused = |error: ConnectionError| migrations_failed(&error);
            let mut connection = sqlite_connection(&name, busy, false).map_err(refused)?;
            migrate::<Sqlite>(&mut connection, SQLITE)
        }
    };
    blocking(migrating).await?;

    let connect = {
        let name = name.clone();
        move || match sqlite_connection(&name, busy, false) {
            Ok(connection) => Ok(SqliteConn::new(connection)),
            Err(cause) => Err(DbError::Unavailable(Outage::new(cause))),
        }
    };
    let file = Arc::new(File::new(path.clone(), &known));
    // A query may wait for a connection or for the writer, and then run.
    let answers = Answers::within(busy * 2, runtime);
    let (waiting, handle) = (Arc::clone(&answers), runtime.clone());
    let writer = Writer::start(Box::new(connect), Arc::clone(&file), waiting, busy, handle)
        .map_err(|source| OpenError::File { path, source })?;
    // A reader is made by the blocking thread that runs its first query.
    let reader = manager(RecyclingMethod::Fast, name, move |name| {
        ready(sqlite_connection(name, busy, true).map(SqliteConn::new)).boxed()
    });
    let readers = pool(reader, settings.sqlite_readers.get(), settings)?;
    Ok(Pools::Sqlite(Database { writer, readers, file, answers, runtime: runtime.clone() }))
}

fn sqlite_connection(
    name: &str,
    busy: Duration,
    only_read: bool,
) -> Result<SqliteConnection, ConnectionError> {
    let mut connection = SqliteConnection::establish(name)?;
    // The timeout for locks comes first, because changing the journal mode needs a lock. With
    // `synchronous = FULL`, acknowledged writes survive a loss of power.
    let setup = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA query_only = {};",
        busy.as_millis(),
        if only_read { "ON" } else { "OFF" },
    );
    connection.batch_execute(&setup).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Parses the URL of a PostgreSQL server, with the limits of the settings.
fn server(settings: &Settings, url: &str) -> Result<tokio_postgres::Config, OpenError> {
    let mut server: tokio_postgres::Config =
        url.parse().map_err(|error: tokio_postgres::Error| OpenError::Url {
            // The error's source has the details, and never the password.
            cause: chain(&error),
        })?;
    server.connect_timeout(settings.connect_timeout());
    if server.get_application_name().is_none() {
        server.application_name("greenroom");
    }
    Ok(server)
}

/// Makes the first connection to a PostgreSQL server, whose failure is explained. The statements on it have no limit.
pub(super) async fn first_connection(
    settings: &Settings,
    url: &str,
) -> Result<AsyncPgConnection, OpenError> {
    let connecting = connect(server(settings, url)?, None);
    tokio::time::timeout(settings.connect_timeout(), connecting)
        .await
        .map_err(|_elapsed| OpenError::Unreachable {
            cause: format!("no answer within {} s", settings.connect_timeout_seconds),
        })?
        .map_err(ConnectFailure::into_open_error)
}

async fn postgres(settings: &Settings, url: &str, runtime: &Handle) -> Result<Pools, OpenError> {
    let server = server(settings, url)?;
    let first = first_connection(settings, url).await?;
    blocking(move || {
        let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(first);
        connection.batch_execute(MIGRATION_LOCK).map_err(|error| migrations_failed(&error))?;
        migrate::<Pg>(&mut connection, POSTGRES)
    })
    .await?;

    let statement = settings.statement_timeout();
    let runtime = runtime.clone();
    let connections = manager(RecyclingMethod::Fast, String::new(), move |_url| {
        let server = server.clone();
        let runtime = runtime.clone();
        async move {
            // The connection's driver is a task on the runtime where it is created.
            let connecting = runtime.spawn(connect(server, Some(statement)));
            connecting.await.map_err(not_made)?.map_err(|failure| not_made(failure.cause()))
        }
        .boxed()
    });
    Ok(Pools::Postgres(pool(connections, settings.postgres_connections.get(), settings)?))
}

/// The reason why no connection was made.
#[derive(Debug)]
enum ConnectFailure {
    Tls(String),
    Server(tokio_postgres::Error),
    Setup(String),
}

impl ConnectFailure {
    fn cause(&self) -> String {
        match self {
            Self::Tls(cause) | Self::Setup(cause) => cause.clone(),
            Self::Server(error) => chain(error),
        }
    }

    fn into_open_error(self) -> OpenError {
        let cause = self.cause();
        let state = match &self {
            Self::Server(error) => error.code(),
            Self::Tls(_) | Self::Setup(_) => None,
        };
        match state {
            Some(state)
                if *state == SqlState::INVALID_PASSWORD
                    || *state == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                OpenError::Credentials { cause }
            }
            Some(state) if *state == SqlState::INVALID_CATALOG_NAME => {
                OpenError::NoDatabase { cause }
            }
            Some(_) | None => OpenError::Unreachable { cause },
        }
    }
}

async fn connect(
    server: tokio_postgres::Config,
    statement: Option<Duration>,
) -> Result<AsyncPgConnection, ConnectFailure> {
    let setup = |error: ConnectionError| ConnectFailure::Setup(error.to_string());
    let mut connection = if server.get_ssl_mode() == SslMode::Disable {
        let (client, driver) = server.connect(NoTls).await.map_err(ConnectFailure::Server)?;
        AsyncPgConnection::try_from_client_and_connection(client, driver).await.map_err(setup)?
    } else {
        let tls = if server.get_ssl_mode() == SslMode::Prefer {
            tls::opportunistic()
        } else {
            tls::verified()
        };
        let tls = tls.map_err(ConnectFailure::Tls)?;
        let (client, driver) = server.connect(tls).await.map_err(ConnectFailure::Server)?;
        AsyncPgConnection::try_from_client_and_connection(client, driver).await.map_err(setup)?
    };
    if let Some(statement) = statement {
        // The server cancels a statement when this program does, so that no lock outlasts its
        // waiter.
        let limit = format!("SET statement_timeout = {}", statement.as_millis());
        diesel_async::SimpleAsyncConnection::batch_execute(&mut connection, &limit)
            .await
            .map_err(|error| ConnectFailure::Setup(error.to_string()))?;
    }
    Ok(connection)
}

/// Applies the migrations that are missing.
///
/// # Errors
///
/// [`OpenError::Newer`] for a database of a newer version, [`OpenError::Migrations`] if one fails.
pub(super) fn migrate<B: Backend>(
    connection: &mut impl MigrationHarness<B>,
    known: EmbeddedMigrations,
) -> Result<(), OpenError>
where
    EmbeddedMigrations: diesel::migration::MigrationSource<B>,
{
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| OpenError::Migrations {
        cause: error.to_string(),
    };
    let migrations: Vec<Box<dyn Migration<B>>> = known.migrations().map_err(failed)?;
    let names: Vec<String> =
        migrations.iter().map(|migration| migration.name().version().to_string()).collect();
    // The latest migration comes first.
    let applied = connection.applied_migrations().map_err(failed)?;
    let unknown = applied.iter().map(ToString::to_string).rfind(|name| !names.contains(name));
    if let Some(migration) = unknown {
        return Err(OpenError::Newer { migration });
    }
    connection.run_pending_migrations(known).map_err(failed)?;
    Ok(())
}

/// Runs blocking work on a thread for it: migrations are synchronous, and refuse to run on the
/// threads of actors.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, OpenError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, OpenError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(migrations_failed(&ended)),
    }
}

fn manager<C: PoolableConnection + 'static>(
    recycling_method: RecyclingMethod<C>,
    url: String,
    setup: impl Fn(&str) -> futures_util::future::BoxFuture<'_, diesel::ConnectionResult<C>>
    + Send
    + Sync
    + 'static,
) -> AsyncDieselConnectionManager<C> {
    let mut config = ManagerConfig::default();
    config.recycling_method = recycling_method;
    config.custom_setup = Box::new(setup);
    AsyncDieselConnectionManager::new_with_config(url, config)
}

fn pool<C>(
    manager: AsyncDieselConnectionManager<C>,
    size: usize,
    settings: &Settings,
) -> Result<Pool<C>, OpenError>
where
    C: PoolableConnection + Send + 'static,
    AsyncDieselConnectionManager<C>: deadpool::managed::Manager<Type = C>,
{
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.statement_timeout()))
        .create_timeout(Some(settings.connect_timeout()))
        .recycle_timeout(Some(settings.statement_timeout()))
        .build()
        .map_err(|error| OpenError::Unreachable { cause: error.to_string() })
}

fn migrations_failed(error: &dyn std::error::Error) -> OpenError {
    OpenError::Migrations { cause: chain(error) }
}

fn not_made(cause: impl ToString) -> ConnectionError {
    ConnectionError::BadConnection(cause.to_string())
}

/// Formats an error with its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
