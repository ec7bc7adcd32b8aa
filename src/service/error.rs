//! Errors of services, which `http` converts to answers.

use std::fmt::Display;

use tracing::warn;

use crate::actors::ask::Unanswered;
use crate::actors::registry::{RegistryError, RouteError};
use crate::db::DbError;
use crate::db::store::StoreError;
use crate::domain::ids::{Id, ProfileId, SessionId};
use crate::system::objects::ObjectError;
use crate::system::profile::{StateError, UnpackError};

/// The reason why a service failed or rejected a request.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no such thing in the organization.
    #[error("{id} does not exist")]
    Unknown {
        /// The prefix of its kind of ids, such as `pbs`.
        prefix: &'static str,
        /// The id in the request.
        id: String,
    },
    /// Several servers replace a debug session at the same time.
    #[error("other requests are replacing this debug session at the same time: try again")]
    Contended,
    /// No profile was stored from the session.
    #[error(
        "no profile was stored from session {0}: create sessions with `generate_browser_profile`, or          store the profile while the session lives"
    )]
    NoProfile(SessionId),
    /// The organization has as many profiles as it may have.
    #[error(
        "the organization has {limit} browser profiles, which is the limit of sessions.max_profiles: \
         delete one"
    )]
    TooManyProfiles {
        /// The value of `sessions.max_profiles`.
        limit: u64,
    },
    /// A session that has not ended may write to the profile.
    #[error("session {by} may write to the profile {id}: close it first")]
    ProfileInUse {
        /// The profile to be removed or changed.
        id: ProfileId,
        /// The session that may write to it.
        by: SessionId,
    },
    /// Other requests change the profile at the same time.
    #[error("other requests change the profile {0} at the same time: try again")]
    ProfileChanged(ProfileId),
    /// The archive of a profile's version is damaged, missing or unreadable.
    #[error("{message}")]
    ProfileUnusable {
        /// The code of the cause in the API.
        code: &'static str,
        /// The cause and the remedy.
        message: String,
    },
    /// The storage state of a profile is larger than one that a client may send.
    #[error("{0}")]
    StateTooLarge(String),
    /// A failed operation of the object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A failed write of the database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A failed message to a session.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A failed message to the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry did not answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A failed query of the database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<StateError> for ServiceError {
    fn from(error: StateError) -> Self {
        let message = error.to_string();
        match error {
            StateError::TooLarge => Self::StateTooLarge(message),
            StateError::Unpack(UnpackError::NotWritten { what, cause }) => {
                warn!("the state of a profile is not read or written: {what}: {cause}");
                let message =
                    "the profile's archive cannot be used: try again, or see the server's log"
                        .to_owned();
                Self::ProfileUnusable { code: "profile_not_written", message }
            }
            StateError::Unpack(cause) => Self::ProfileUnusable { code: cause.code(), message },
            StateError::Pack(cause) => {
                warn!("the state of a profile is not written: {cause:?}");
                Self::ProfileUnusable { code: "profile_not_packed", message }
            }
        }
    }
}

impl ServiceError {
    /// Returns the error for clients, without texts of the database.
    pub fn for_clients(&self) -> String {
        let text = match self {
            Self::Db(DbError::Corrupt { .. }) => {
                "the stored data cannot be read; the server's log names the row"
            }
            Self::Db(DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Conflict) => {
                "the database is unavailable: try again"
            }
            Self::Objects(_) => "the storage is unavailable: try again",
            Self::Store(_) => "the change could not be stored: try again",
            Self::Unknown { .. }
            | Self::NoProfile(_)
            | Self::TooManyProfiles { .. }
            | Self::ProfileInUse { .. }
            | Self::ProfileChanged(_)
            | Self::ProfileUnusable { .. }
            | Self::StateTooLarge(_)
            | Self::Contended
            | Self::Route(_)
            | Self::Registry(_)
            | Self::Unanswered(_) => return self.to_string(),
        };
        text.to_owned()
    }

    /// Makes the error for an id that names nothing in the organization.
    pub fn unknown<I: Id + Display>(id: I) -> Self {
        Self::Unknown { prefix: I::PREFIX, id: id.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Outage;

    #[test]
    fn clients_get_no_text_of_the_database() {
        let driver = "could not connect to db.internal:5432";
        let outage = ServiceError::from(DbError::Unavailable(Outage::new(driver)));
        assert!(outage.to_string().contains(driver));
        assert_eq!(outage.for_clients(), "the database is unavailable: try again");
        let corrupt = DbError::Corrupt { column: "runs.status", row: "wr_1".to_owned() };
        assert!(!ServiceError::from(corrupt).for_clients().contains("runs.status"));
        let unknown = ServiceError::unknown(SessionId::from(1));
        assert_eq!(unknown.for_clients(), "pbs_1 does not exist");
    }
}
