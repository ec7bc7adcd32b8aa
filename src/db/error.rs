//! Errors of queries: an outage, which is temporary, or a refusal, which is permanent.
//!
//! Both keep the database's message as their source. Diesel reports neither the result codes of
//! SQLite nor any SQLSTATE beyond those of constraints, so the rest is classified by the message.
//! The messages of SQLite are constants of its library; those of PostgreSQL are the English ones.
//! An unknown message counts as an outage, after which no data is discarded.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel_async::pooled_connection::PoolError as ConnectError;

use super::store::StoreError;
use crate::domain::sealing::SealError;

/// The reason why a query failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A row with the same unique columns exists. Nothing was written.
    #[error("the row exists already")]
    Conflict,
    /// The database did not respond, so it is unknown whether a write took effect. The same query
    /// may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] Outage),
    /// The database refuses the values in the query. Nothing was written, and a repetition fails
    /// too.
    #[error("the database rejected the statement: {0}")]
    Rejected(#[source] Rejection),
    /// A row contains values that this program never writes, and cannot be read.
    #[error("column {column} of row {row} cannot be read")]
    Corrupt {
        /// The table and the column that cannot be read.
        column: &'static str,
        /// The id of the row.
        row: String,
    },
}

/// The error of the database, its pool or its driver.
#[derive(Debug, Clone)]
struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    fn of(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

/// The reason why the database did not respond.
#[derive(Debug, Clone)]
pub struct Outage {
    disk_full: bool,
    cause: Cause,
}

impl Outage {
    /// Creates an outage with this cause.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disk_full: false, cause: Cause::of(cause) }
    }

    /// True if the disk of the database is full, so that an operator has to free space.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.0.fmt(f)
    }
}

impl Error for Outage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.0.source()
    }
}

/// The kind of a [`Rejection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A value that a column cannot hold.
    Data,
    /// A constraint of the tables, for example a reference to a row that does not exist.
    Constraint,
    /// Another row has the id. A repetition with a new id succeeds.
    IdTaken,
}

/// The reason why the database refuses a query.
#[derive(Debug, Clone)]
pub struct Rejection {
    reason: Reason,
    cause: Cause,
}

impl Rejection {
    /// Creates a rejection with this cause.
    pub fn new(reason: Reason, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason, cause: Cause::of(cause) }
    }

    /// Returns the kind of the rejection.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.0.fmt(f)
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.0.source()
    }
}

impl DbError {
    pub(super) fn late(patience: Duration) -> Self {
        Self::Unavailable(Outage::new(format!("no answer within {} ms", patience.as_millis())))
    }

    /// Creates the error for a secret that could not be sealed, so that nothing was written.
    pub(super) fn not_sealed(cause: SealError) -> Self {
        Self::Unavailable(Outage::new(cause))
    }

    /// Creates the error for an insert without effect, because a different row has the id.
    pub(super) fn id_taken(table: &str, id: &str) -> Self {
        let cause = format!("another row of {table} has the id {id}");
        Self::Rejected(Rejection::new(Reason::IdTaken, cause))
    }
}

/// The classification of a query's error.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Conflict,
    Outage { disk_full: bool },
    Rejected(Reason),
}

const OUTAGE: Fate = Fate::Outage { disk_full: false };

/// Messages for a full disk: one of SQLite, and one of the system, which PostgreSQL repeats.
const DISK_FULL: &[&str] = &["database or disk is full", "No space left on device"];

/// Messages for values that no column can hold: two of SQLite, then those of PostgreSQL.
const BAD_DATA: &[&str] = &[
    "string or blob too big",
    "datatype mismatch",
    "invalid byte sequence for encoding",
    "unsupported Unicode escape sequence",
    "index row size",
    "index row requires",
    "value too long for type",
    "out of range",
    "invalid memory alloc request size",
];

fn fate(error: &QueryError) -> Fate {
    match error {
        QueryError::DatabaseError(kind, said) => match kind {
            DatabaseErrorKind::UniqueViolation => Fate::Conflict,
            DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ExclusionViolation => Fate::Rejected(Reason::Constraint),
            DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ReadOnlyTransaction
            | DatabaseErrorKind::ClosedConnection => OUTAGE,
            DatabaseErrorKind::Unknown => fate_by_message(said.message()),
            _ => OUTAGE,
        },
        QueryError::InvalidCString(_)
        | QueryError::QueryBuilderError(_)
        | QueryError::DeserializationError(_)
        | QueryError::SerializationError(_)
        | QueryError::IntegerConversion(_) => Fate::Rejected(Reason::Data),
        QueryError::NotFound => Fate::Rejected(Reason::Constraint),
        QueryError::RollbackErrorOnCommit { commit_error, .. } => fate(commit_error),
        QueryError::RollbackTransaction
        | QueryError::AlreadyInTransaction
        | QueryError::NotInTransaction
        | QueryError::BrokenTransactionManager => OUTAGE,
        _ => OUTAGE,
    }
}

fn fate_by_message(message: &str) -> Fate {
    let says = |signs: &[&str]| signs.iter().any(|sign| message.contains(sign));
    if says(DISK_FULL) {
        Fate::Outage { disk_full: true }
    } else if says(BAD_DATA) {
        Fate::Rejected(Reason::Data)
    } else {
        OUTAGE
    }
}

impl From<QueryError> for DbError {
    fn from(error: QueryError) -> Self {
        match fate(&error) {
            Fate::Conflict => Self::Conflict,
            Fate::Outage { disk_full } => {
                Self::Unavailable(Outage { disk_full, cause: Cause::of(error) })
            }
            Fate::Rejected(reason) => Self::Rejected(Rejection::new(reason, error)),
        }
    }
}

impl From<deadpool::managed::PoolError<ConnectError>> for DbError {
    fn from(error: deadpool::managed::PoolError<ConnectError>) -> Self {
        Self::Unavailable(Outage::new(error))
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(outage) => Self::Unavailable(outage),
            DbError::Rejected(rejection) => Self::Rejected(rejection),
            DbError::Conflict | DbError::Corrupt { .. } => {
                Self::Rejected(Rejection::new(Reason::Constraint, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: DatabaseErrorKind, message: &str, expected: Fate) {
        let error = QueryError::DatabaseError(kind, Box::new(message.to_owned()));
        assert_eq!(fate(&error), expected, "{message}");
        let DbError::Unavailable(outage) = DbError::from(error) else { return };
        assert_eq!(outage.to_string(), message, "the cause is kept");
    }

    #[test]
    fn an_outage_a_full_disk_and_refused_data_are_distinguished() {
        use DatabaseErrorKind::{CheckViolation, ForeignKeyViolation, SerializationFailure};
        use DatabaseErrorKind::{UniqueViolation, Unknown};
        let data = || Fate::Rejected(Reason::Data);
        check(Unknown, "database or disk is full", Fate::Outage { disk_full: true });
        let extend = "could not extend file \"base/1/2\": No space left on device";
        check(Unknown, extend, Fate::Outage { disk_full: true });
        check(Unknown, "database is locked", OUTAGE);
        check(Unknown, "canceling statement due to statement timeout", OUTAGE);
        check(Unknown, "invalid byte sequence for encoding \"UTF8\": 0x00", data());
        check(Unknown, "string or blob too big", data());
        check(SerializationFailure, "could not serialize access", OUTAGE);
        check(CheckViolation, "check", Fate::Rejected(Reason::Constraint));
        check(ForeignKeyViolation, "reference", Fate::Rejected(Reason::Constraint));
        check(UniqueViolation, "unique", Fate::Conflict);
    }
}
