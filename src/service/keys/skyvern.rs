//! API keys of a Skyvern server, which stay valid here.
//!
//! Such a key is a JSON Web Token (RFC 7519) signed with HS256 (RFC 7518 §3.2) and the `SECRET_KEY`
//! of that server; `sub` is the organization's id. At its first use it becomes a key of this
//! server, stored by its hash like any other: it is listed, its last use is recorded, and it can be
//! revoked.

use std::fmt;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use crate::domain::ids::OrganizationId;
use crate::domain::secret::Secret;

/// The latest end of a key: the last second of the year 9999.
const LATEST: i64 = 253_402_300_799;

/// A verifier of the API keys that one secret has signed.
pub struct SkyvernKeys {
    secret: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for SkyvernKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SkyvernKeys(…)")
    }
}

/// The contents of a key with a valid signature and an end in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SkyvernKey {
    /// The id of the key's organization, which is the same on both servers.
    pub organization: OrganizationId,
    /// The time at which the key expires.
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: OrganizationId,
    exp: i64,
    token_type: Option<String>,
}

impl SkyvernKeys {
    /// Makes a verifier of the keys signed with this `SECRET_KEY`.
    ///
    /// # Errors
    ///
    /// Fails if the secret is unsuitable as a key.
    pub fn new(secret: &Secret) -> Result<Self, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        let secret = DecodingKey::from_secret(secret.expose().as_bytes())?;
        Ok(Self { secret, validation })
    }

    /// Returns the contents of a key; `None` if it is not signed with the secret, has expired, or
    /// is a token of another kind, such as that of a page.
    pub(super) fn read(&self, key: &str) -> Option<SkyvernKey> {
        let claims = decode::<Claims>(key, &self.secret, &self.validation).ok()?.claims;
        let is_key = claims.token_type.is_none_or(|kind| kind == "api");
        // The databases compare times whose years have four digits.
        let end = claims.exp.min(LATEST);
        let expires_at = DateTime::from_timestamp(end, 0).filter(|_time| is_key)?;
        Some(SkyvernKey { organization: claims.sub, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "the secret of that server";

    fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
        encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    #[test]
    fn a_key_is_read_only_if_it_is_signed_with_the_secret_and_has_not_expired() {
        let keys = SkyvernKeys::new(&Secret::from(SECRET)).unwrap();
        let now = Utc::now().timestamp();
        let claims = json!({ "sub": "o_12", "exp": now + 60 });
        let right = signed(Algorithm::HS256, SECRET, &claims);
        let read = keys.read(&right).unwrap();
        assert_eq!(read.organization, OrganizationId::from(12));
        assert_eq!(read.expires_at.timestamp(), now + 60);

        let far = json!({ "sub": "o_12", "exp": 400_000_000_000_i64 });
        let far = keys.read(&signed(Algorithm::HS256, SECRET, &far)).unwrap();
        assert_eq!(far.expires_at.timestamp(), LATEST);

        let none = right.split('.').nth(1).unwrap();
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{none}.");
        for wrong in [
            signed(Algorithm::HS256, "PLACEHOLDER", &claims),
            signed(Algorithm::HS512, SECRET, &claims),
            signed(Algorithm::HS256, SECRET, &json!({ "sub": "o_12", "exp": now - 1 })),
            signed(Algorithm::HS256, SECRET, &json!({ "sub": "o_12" })),
            signed(
                Algorithm::HS256,
                SECRET,
                &json!({ "sub": "o_12", "exp": now + 60, "nbf": now + 30 }),
            ),
            signed(Algorithm::HS256, SECRET, &json!({ "sub": "ann", "exp": now + 60 })),
            signed(
                Algorithm::HS256,
                SECRET,
                &json!({ "sub": "o_12", "exp": now + 60, "token_type": "ui_session" }),
            ),
            unsigned,
            right.replace('.', ""),
            String::new(),
        ] {
            assert_eq!(keys.read(&wrong), None, "{wrong}");
        }
    }
}
