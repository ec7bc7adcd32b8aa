//! The secret that proves the right to act for an occupancy.
//!
//! A [`LeaseToken`] is returned once, by begin. Only its [`LeaseHash`] is kept, so that neither a
//! copy of the database nor a log can act for an occupant.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq as _;

use super::ids::{ApiKeyId, OrganizationId, SessionId};
use super::occupancy::Generation;

/// The secret of a lease: 256 bits, written as `lt_` and 43 characters of base64url.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseToken([u8; 32]);

/// Returns the path of the DevTools endpoint for the holder of this lease, valid as long as the
/// lease. The path contains the secret.
pub fn devtools_path(session: SessionId, generation: Generation, token: &LeaseToken) -> String {
    let token = token.reveal();
    format!("/v1/browser_sessions/{session}/cdp?generation={generation}&lease_token={token}")
}

/// The stored form of a [`LeaseToken`]: its BLAKE3 hash.
#[derive(Clone, Copy, Eq)]
pub struct LeaseHash([u8; 32]);

/// The lease of a session, and the credential with which it was taken. The lease ends with that credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenLease {
    /// The session that is held.
    pub session: SessionId,
    /// The organization that owns the session.
    pub organization: OrganizationId,
    /// The hash of the lease token.
    pub lease: LeaseHash,
    /// The key that the client had, or that its ticket was made with.
    pub key: ApiKeyId,
    /// The end of the ticket with which the lease was taken.
    pub ends_at: Option<DateTime<Utc>>,
}

/// A text that is not a lease token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the lease token from begin, `lt_` and 43 characters")]
pub struct NotALeaseToken;

impl LeaseToken {
    /// Creates a token from 32 unpredictable bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Returns the hash, which may be stored.
    pub fn hash(&self) -> LeaseHash {
        LeaseHash(*blake3::hash(&self.0).as_bytes())
    }

    /// Returns the token in clear text, only for the response to its owner.
    pub fn reveal(&self) -> String {
        format!("lt_{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for LeaseToken {
    type Err = NotALeaseToken;

    fn from_str(text: &str) -> Result<Self, NotALeaseToken> {
        let encoded = text.strip_prefix("lt_").ok_or(NotALeaseToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_malformed| NotALeaseToken)?;
        Ok(Self(bytes.try_into().map_err(|_length| NotALeaseToken)?))
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(…)")
    }
}

impl LeaseHash {
    /// Formats the hash as 64 hexadecimal digits, for a column.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Parses the form written by [`to_hex`](Self::to_hex).
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl PartialEq for LeaseHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for LeaseHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_its_hash_is_stable() {
        let token = LeaseToken::new([7; 32]);
        let again: LeaseToken = token.reveal().parse().unwrap();
        assert_eq!(again, token);
        assert_eq!(LeaseHash::from_hex(&again.hash().to_hex()), Some(token.hash()));
    }

    #[test]
    fn a_token_does_not_print() {
        let token = LeaseToken::new([7; 32]);
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&token.reveal()[3..9]));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "lt_", "lt_abc", "xx_AAAA", "lt_!!!!"] {
            assert_eq!(text.parse::<LeaseToken>(), Err(NotALeaseToken), "{text}");
        }
    }
}
