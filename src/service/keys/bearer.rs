//! A valid API key: the caller that it belongs to, and what it opens.

use std::sync::Arc;

use crate::actors::secrets::KeySigner;
use crate::db::DbError;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::tenancy::KeyRole;

/// The caller: the organization whose key the request carries.
///
/// The key comes in the header `x-api-key`. WebSockets and pictures cannot set headers, and may
/// send it as `apikey` in the query. A page's token may also come as `Authorization: Bearer …`, and
/// as `token` in the query.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The organization that the key belongs to.
    pub organization: OrganizationId,
    /// The id of the key.
    pub key: ApiKeyId,
    /// Signs on behalf of the key.
    pub signer: KeySigner,
}

/// The reason why a key does not open what a request names.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is unknown, has expired or was revoked.
    #[error("the key is not valid")]
    Invalid,
    /// An operator has suspended the organization of the key.
    #[error("the organization of this key is suspended")]
    Suspended,
    /// The key opens less than the request needs.
    #[error("this key does not permit the request: {why}")]
    Insufficient {
        /// The role of the key.
        role: KeyRole,
        /// The right that the key lacks.
        why: String,
    },
    /// The key is limited to some sessions, and this one is not among them.
    #[error("{0} does not exist")]
    OtherSession(SessionId),
    /// A failed query of the database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A key that came with a request, and what it opens.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// The caller that the key belongs to.
    pub caller: Caller,
    /// The extent of its power.
    pub role: KeyRole,
    /// The sessions that it is limited to.
    pub sessions: Option<Arc<[SessionId]>>,
}

impl Bearer {
    /// The caller, if the key opens everything of its organization.
    ///
    /// # Errors
    ///
    /// [`KeyError::Insufficient`] if it does not.
    pub fn whole(self) -> Result<Caller, KeyError> {
        self.at_least(KeyRole::Organization)?;
        if self.sessions.is_some() {
            return Err(self.insufficient("it is limited to some sessions"));
        }
        Ok(self.caller)
    }

    /// The caller, if the key opens this much of the session that a path names.
    ///
    /// # Errors
    ///
    /// [`KeyError::Insufficient`] if its role does not suffice; [`KeyError::OtherSession`] for a
    /// session that it is not for, which looks like one that does not exist.
    pub fn of_session(&self, role: KeyRole, named: &str) -> Result<Caller, KeyError> {
        self.at_least(role)?;
        let Some(sessions) = &self.sessions else { return Ok(self.caller) };
        match named.parse::<SessionId>() {
            Ok(session) if sessions.contains(&session) => Ok(self.caller),
            Ok(session) => Err(KeyError::OtherSession(session)),
            Err(_) => Err(self.insufficient("it is limited to some sessions")),
        }
    }

    /// Checks that the key's role is at least this one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Insufficient`] if it is not.
    pub fn at_least(&self, role: KeyRole) -> Result<(), KeyError> {
        if self.role >= role {
            return Ok(());
        }
        Err(self.insufficient(&format!("its role is `{}`", self.role.as_str())))
    }

    /// Makes the error for a request that needs more than the key opens.
    pub fn insufficient(&self, why: &str) -> KeyError {
        KeyError::Insufficient { role: self.role, why: why.to_owned() }
    }

    /// True if the key opens this session.
    pub fn sees(&self, session: SessionId) -> bool {
        self.sessions.as_ref().is_none_or(|sessions| sessions.contains(&session))
    }
}
