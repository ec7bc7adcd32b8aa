//! Conversions between columns and domain values.

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SubsecRound as _, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::query::DbError;
use crate::domain::hmac::Signer;
use crate::domain::sealing::is_sealed;

diesel::define_sql_function! {
    /// Converts to lower case; SQLite leaves letters outside of ASCII unchanged.
    fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

diesel::define_sql_function! {
    /// Returns the first argument that is not null.
    fn coalesce(
        first: diesel::sql_types::Nullable<diesel::sql_types::Timestamp>,
        second: diesel::sql_types::Nullable<diesel::sql_types::Timestamp>,
    ) -> diesel::sql_types::Nullable<diesel::sql_types::Timestamp>;
}

/// A part of a list: a page with a number from 1, or what follows a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The number of the page.
    pub number: u32,
    /// The number of rows on a page.
    pub size: u32,
    /// The position after which the part begins, in place of the number.
    pub after: Option<Mark>,
}

/// The position of a row in a list that has the newest rows first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The time at which the row was stored.
    pub at: DateTime<Utc>,
    /// The id of the row.
    pub id: String,
    /// True for a row that had not ended, in a list that has those first.
    pub live: bool,
}

impl Page {
    /// The first page, of this size.
    pub const fn first(size: u32) -> Self {
        Self { number: 1, size, after: None }
    }

    pub(super) fn limit(&self) -> i64 {
        i64::from(self.size)
    }

    pub(super) fn offset(&self) -> i64 {
        match self.after {
            Some(_) => 0,
            None => i64::from(self.number.saturating_sub(1)) * i64::from(self.size),
        }
    }
}

/// Converts to UTC and whole microseconds, which both databases can store.
pub(super) fn stored(at: DateTime<Utc>) -> NaiveDateTime {
    at.naive_utc().trunc_subsecs(6)
}

/// Returns the present time in its stored form.
pub(super) fn now() -> NaiveDateTime {
    stored(Utc::now())
}

/// Returns a pattern for `LIKE … ESCAPE '\'` that matches `needle` anywhere.
pub(super) fn containing(needle: &str) -> String {
    let escaped = needle.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    format!("%{escaped}%")
}

/// Converts a value to JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Value {
    // The stored types have neither keys that are not text nor numbers that JSON cannot express.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Reads the columns of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) row: &'a str,
}

impl Reader<'_> {
    pub(super) fn corrupt(self, column: &'static str) -> DbError {
        DbError::Corrupt { column, row: self.row.to_owned() }
    }

    pub(super) fn parse<T: FromStr>(self, column: &'static str, text: &str) -> Result<T, DbError> {
        text.parse().map_err(|_unknown| self.corrupt(column))
    }

    pub(super) fn parse_some<T: FromStr>(
        self,
        column: &'static str,
        text: Option<&str>,
    ) -> Result<Option<T>, DbError> {
        text.map(|text| self.parse(column, text)).transpose()
    }

    /// Parses a signer; one that could not be opened becomes the placeholder of a lost signer.
    pub(super) fn signer(self, column: &'static str, text: &str) -> Result<Signer, DbError> {
        if is_sealed(text) { Ok(Signer::lost()) } else { self.parse(column, text) }
    }

    pub(super) fn json<T: DeserializeOwned>(
        self,
        column: &'static str,
        value: Option<Value>,
    ) -> Result<Option<T>, DbError> {
        value.map(serde_json::from_value).transpose().map_err(|_shape| self.corrupt(column))
    }

    pub(super) fn some<T>(self, column: &'static str, value: Option<T>) -> Result<T, DbError> {
        value.ok_or_else(|| self.corrupt(column))
    }
}

/// A count of rows.
pub(super) fn counted(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

/// Inserts a row unless its id has one. A repeated insert finds its own row, in which the columns
/// given last are the same; any other row is a [`DbError::Rejected`].
macro_rules! insert_once {
    ($db:expr, $table:ident, $row:expr, |$known:ident| $same:expr) => {{
        let row = $row;
        $crate::db::query::on!($db, write, |c| {
            $crate::db::values::insert_by!(c, $table, row, |$known| $same)
        })
        .await
    }};
}

/// [`insert_once!`] by a connection `c` that is there, such as that of a transaction.
macro_rules! insert_by {
    ($c:ident, $table:ident, $row:expr, |$known:ident| $same:expr) => {{
        let $known = $row;
        let id = $known.id.clone();
        let same = $same;
        let insert = diesel::insert_into($table::table).values($known);
        if insert.on_conflict($table::id).do_nothing().execute($c).await? > 0 {
            Ok(())
        } else {
            let ours = $table::table.filter($table::id.eq(id.clone())).filter(same);
            match ours.count().get_result::<i64>($c).await? {
                0 => Err($crate::db::query::DbError::id_taken(stringify!($table), &id)),
                _ => Ok(()),
            }
        }
    }};
}

/// The rows of a table that follow a position in a list of its newest rows.
macro_rules! older {
    ($table:ident, $mark:expr) => {{
        let mark: $crate::db::values::Mark = $mark;
        let at = $crate::db::values::stored(mark.at);
        $table::created_at.lt(at).or($table::created_at.eq(at).and($table::id.lt(mark.id)))
    }};
}

pub(super) use {insert_by, insert_once, older};

/// Converts rows to values, or fails with the row that cannot be read.
pub(super) fn all<R, T>(rows: Vec<R>) -> Result<Vec<T>, DbError>
where
    T: TryFrom<R, Error = DbError>,
{
    rows.into_iter().map(T::try_from).collect()
}

/// Converts a row to a value, if there is one.
pub(super) fn one<R, T>(row: Option<R>) -> Result<Option<T>, DbError>
where
    T: TryFrom<R, Error = DbError>,
{
    row.map(T::try_from).transpose()
}
