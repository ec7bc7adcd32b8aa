//! Errors of services, which `http` converts to answers.

use std::fmt::Display;

use crate::actors::ask::Unanswered;
use crate::actors::registry::{RegistryError, RouteError};
use crate::db::DbError;
use crate::domain::ids::Id;

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

impl ServiceError {
    /// Makes the error for an id that names nothing in the organization.
    pub fn unknown<I: Id + Display>(id: I) -> Self {
        Self::Unknown { prefix: I::PREFIX, id: id.to_string() }
    }
}
