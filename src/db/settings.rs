//! The settings of the database.

use std::convert::Infallible;
use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// Settings of the section `database`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The database, `postgres://…` or `sqlite:<path>`; by default `greenroom.db` in the data
    /// directory.
    pub url: Option<DatabaseUrl>,
    /// The number of connections that read, with SQLite. One more connection writes.
    pub sqlite_readers: NonZeroUsize,
    /// The most connections, with PostgreSQL.
    pub postgres_connections: NonZeroUsize,
    /// The longest time for making a connection.
    pub connect_timeout_seconds: NonZeroU64,
    /// The longest time for waiting for a connection, and then again for a statement.
    pub statement_timeout_seconds: NonZeroU64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            sqlite_readers: NonZeroUsize::MIN.saturating_add(3),
            postgres_connections: NonZeroUsize::MIN.saturating_add(7),
            connect_timeout_seconds: NonZeroU64::MIN.saturating_add(9),
            statement_timeout_seconds: NonZeroU64::MIN.saturating_add(4),
        }
    }
}

impl Settings {
    /// Returns the longest time for making a connection.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds.get())
    }

    /// Returns the longest time for a statement.
    pub fn statement_timeout(&self) -> Duration {
        Duration::from_secs(self.statement_timeout_seconds.get())
    }
}

/// The address of a database, often with a password. The password is never printed: it is shown and
/// serialized as `***`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(SecretString);

impl DatabaseUrl {
    /// Returns the address in clear text, only for opening the database.
    pub(super) fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the address with `***` instead of the password.
    fn masked(&self) -> String {
        let text = self.reveal();
        if text.starts_with("sqlite:") {
            return text.to_owned();
        }
        let Ok(mut url) = Url::parse(text) else { return "***".to_owned() };
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return "***".to_owned();
        }
        if url.query_pairs().any(|(name, _value)| name == "password") {
            url.set_query(Some("***"));
        }
        url.into()
    }
}

impl FromStr for DatabaseUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.reveal() == other.reveal()
    }
}

impl Eq for DatabaseUrl {}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.masked(), f)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print_wherever_it_stands() {
        for text in [
            "postgres://ann:hunter2@db.example/greenroom?sslmode=require",
            "postgres://db.example/greenroom?user=ann&password=hunter2",
            "host=db.example user=ann password=hunter2",
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            let shown = format!("{url} {url:?} {}", serde_json::to_string(&url).unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(url.reveal(), text);
        }
    }

    #[test]
    fn zero_and_unknown_keys_are_refused() {
        for text in [r#"{"sqlite_readers": 0}"#, r#"{"pool": 3}"#] {
            assert!(serde_json::from_str::<Settings>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    }
}
