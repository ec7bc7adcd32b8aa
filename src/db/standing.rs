//! The state of a database before a server of this version opens it: its migrations and its users.
//!
//! Nothing here writes to the database, and no query needs a table or a column that the first
//! migration did not create, unless the database has it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamp};
use diesel::sqlite::Sqlite;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;

use super::Settings;
use super::open::{self, OpenError, POSTGRES, SQLITE};

/// The database that the settings name, before a server opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The file, if the database is one.
    pub file: Option<PathBuf>,
    /// The size in bytes.
    pub bytes: u64,
    /// The migrations that were applied, by number.
    pub applied: Vec<String>,
    /// The migrations that a server of this version applies at its start, in their order.
    pub pending: Vec<String>,
    /// The applied migrations that this version does not know. A server refuses such a database.
    pub unknown: Vec<String>,
    /// The nodes that have ever used it, the most recently seen first.
    pub nodes: Vec<NodeSeen>,
    /// The sessions that have not ended, with the node of each.
    pub sessions: Vec<Live>,
    /// The runs that have not ended, with the node of each.
    pub runs: Vec<Live>,
}

/// A node as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// The id of the node.
    pub id: String,
    /// The name of its machine, for people.
    pub hostname: String,
    /// The version that it last started; empty if that version recorded none.
    pub version: String,
    /// The time of its last sign of life.
    pub seen_at: DateTime<Utc>,
}

/// A session or a run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Live {
    /// The id of the session or run.
    #[diesel(sql_type = Text)]
    pub id: String,
    /// The node that it lives on.
    #[diesel(sql_type = Text)]
    pub node_id: String,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct NodeRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Timestamp)]
    seen_at: NaiveDateTime,
}

impl From<NodeRow> for NodeSeen {
    fn from(NodeRow { id, hostname, version, seen_at }: NodeRow) -> Self {
        Self { id, hostname, version, seen_at: seen_at.and_utc() }
    }
}

/// The table of applied migrations, as `diesel` names it.
const MIGRATIONS: &str = "__diesel_schema_migrations";

/// The migration that creates the tables read here, and the one that records the version of nodes.
const GROUND: &str = "20261122000000";
const NODE_VERSIONS: &str = "20261130100000";

const SESSIONS: &str = "SELECT id, node_id FROM browser_sessions \
    WHERE status IN ('created', 'running', 'retry') ORDER BY created_at, id";
const RUNS: &str = "SELECT id, node_id FROM workflow_runs \
    WHERE status IN ('created', 'queued', 'running', 'paused') ORDER BY created_at, id";

/// Reads the standing through a connection of either database; their query traits differ in types only.
macro_rules! read {
    ($connection:expr, $is_there:expr, $bytes:expr, $known:expr, $file:expr) => {{
        let connection = $connection;
        let failed = |error: diesel::result::Error| OpenError::Unreachable { cause: error.to_string() };
        let is_there = diesel::sql_query($is_there).get_result::<Number>(connection).map_err(failed)?;
        let applied: Vec<String> = if is_there.number == 0 {
            Vec::new()
        } else {
            let query = format!("SELECT version FROM {MIGRATIONS} ORDER BY version");
            let rows = diesel::sql_query(query).load::<Version>(connection).map_err(failed)?;
            rows.into_iter().map(|row| row.version).collect()
        };
        let has = |migration: &str| applied.iter().any(|one| one == migration);
        let (mut nodes, mut sessions, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        if has(GROUND) {
            let version = if has(NODE_VERSIONS) { "version" } else { "''" };
            let query = format!(
                "SELECT id, hostname, {version} AS version, seen_at FROM nodes ORDER BY seen_at DESC, id"
            );
            let rows = diesel::sql_query(query).load::<NodeRow>(connection).map_err(failed)?;
            nodes = rows.into_iter().map(NodeSeen::from).collect();
            sessions = diesel::sql_query(SESSIONS).load::<Live>(connection).map_err(failed)?;
            runs = diesel::sql_query(RUNS).load::<Live>(connection).map_err(failed)?;
        }
        let bytes = diesel::sql_query($bytes).get_result::<Number>(connection).map_err(failed)?;
        let known: Vec<String> = $known;
        Ok(Standing {
            file: $file,
            bytes: u64::try_from(bytes.number).unwrap_or_default(),
            pending: known.iter().filter(|one| !has(one)).cloned().collect(),
            unknown: applied.iter().filter(|one| !known.contains(one)).cloned().collect(),
            applied,
            nodes,
            sessions,
            runs,
        })
    }};
}

/// Returns the standing of the database; none if it is a file that does not exist. Writes nothing.
///
/// # Errors
///
/// Returns an [`OpenError`] if the database cannot be reached or read.
pub async fn standing(settings: &Settings, data_dir: &Path) -> Result<Option<Standing>, OpenError> {
    match open::location(settings, data_dir)? {
        open::Location::File(path) if !path.exists() => Ok(None),
        open::Location::File(path) => open::blocking(move || of_file(path)).await.map(Some),
        open::Location::Server(url) => {
            let connection = open::first_connection(settings, &url).await?;
            let statement = settings.statement_timeout();
            open::blocking(move || of_server(connection, statement)).await.map(Some)
        }
    }
}

fn of_file(path: PathBuf) -> Result<Standing, OpenError> {
    let connection = &mut open_to_read(&path)?;
    let is_there = format!(
        "SELECT COUNT(*) AS number FROM sqlite_master WHERE type = 'table' AND name = '{MIGRATIONS}'"
    );
    let bytes =
        "SELECT page_count * page_size AS number FROM pragma_page_count(), pragma_page_size()";
    let known = numbers(MigrationSource::<Sqlite>::migrations(&SQLITE))?;
    read!(connection, is_there, bytes, known, Some(path))
}

fn of_server(connection: AsyncPgConnection, statement: Duration) -> Result<Standing, OpenError> {
    let connection = &mut AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
    let setup = format!(
        "SET statement_timeout = {}; SET default_transaction_read_only = on",
        statement.as_millis()
    );
    let failed = |error: diesel::result::Error| OpenError::Unreachable { cause: error.to_string() };
    connection.batch_execute(&setup).map_err(failed)?;
    let is_there =
        format!("SELECT (to_regclass('{MIGRATIONS}') IS NOT NULL)::int::bigint AS number");
    let bytes = "SELECT pg_database_size(current_database()) AS number";
    let known = numbers(MigrationSource::<Pg>::migrations(&POSTGRES))?;
    read!(connection, is_there, bytes, known, None)
}

/// Opens an existing file, in which no statement can change anything. What a killed server has left in the log
/// beside it is moved into it by the last connection that closes, as always.
fn open_to_read(path: &Path) -> Result<SqliteConnection, OpenError> {
    let mut connection = opened(path)?;
    connection.batch_execute("PRAGMA query_only = ON").map_err(|error| OpenError::Unreachable {
        cause: format!("the file {} cannot be read: {error}", path.display()),
    })?;
    Ok(connection)
}

fn opened(path: &Path) -> Result<SqliteConnection, OpenError> {
    let unreadable = |cause: String| OpenError::Unreachable {
        cause: format!("the file {} cannot be read: {cause}", path.display()),
    };
    let name = path.to_str().ok_or_else(|| unreadable("its path is not UTF-8".to_owned()))?;
    let mut connection =
        SqliteConnection::establish(name).map_err(|error| unreadable(error.to_string()))?;
    connection
        .batch_execute("PRAGMA busy_timeout = 5000")
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(connection)
}

/// The numbers of the migrations that this version has, in their order.
fn numbers<B: diesel::backend::Backend>(
    found: diesel::migration::Result<Vec<Box<dyn Migration<B>>>>,
) -> Result<Vec<String>, OpenError> {
    let found = found.map_err(|error| OpenError::Migrations { cause: error.to_string() })?;
    let mut numbers: Vec<String> =
        found.iter().map(|migration| migration.name().version().to_string()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Applies the pending migrations to a copy of an SQLite file, which is made as `copy` and is the
/// caller's to remove. Returns the time that the migrations took, without that of the copy.
///
/// # Errors
///
/// Returns an [`OpenError`] if the copy cannot be made, or a migration fails.
pub async fn try_migrations(file: PathBuf, copy: PathBuf) -> Result<Duration, OpenError> {
    open::blocking(move || {
        let failed = |cause: String| OpenError::Migrations { cause };
        let Some(target) = copy.to_str() else {
            return Err(failed("the path of the copy is not UTF-8".to_owned()));
        };
        diesel::sql_query("VACUUM INTO ?")
            .bind::<Text, _>(target)
            .execute(&mut opened(&file)?)
            .map_err(|error| failed(format!("the copy cannot be made: {error}")))?;
        let mut copied =
            SqliteConnection::establish(target).map_err(|error| failed(error.to_string()))?;
        copied
            .batch_execute("PRAGMA foreign_keys = ON")
            .map_err(|error| failed(error.to_string()))?;
        let begun = Instant::now();
        open::migrate::<Sqlite>(&mut copied, SQLITE)?;
        Ok(begun.elapsed())
    })
    .await
}
