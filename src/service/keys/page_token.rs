//! Tokens of pages, valid for an hour in place of the key that made them.
//!
//! A token is signed for its key and not stored. It ends at its time or with its key, and no token
//! lives for longer than an hour, whatever it says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::actors::secrets::KeySigner;
use crate::domain::ids::{ApiKeyId, OrganizationId};

/// The prefix that distinguishes a token from a key.
const PREFIX: &str = "ui_";
/// The maximum life of a token.
pub const LIFETIME: chrono::Duration = chrono::Duration::minutes(60);
/// The maximum by which the clock that signed may be ahead of the clock that checks.
pub const CLOCK_SKEW: chrono::Duration = chrono::Duration::minutes(1);

/// The signed contents of a token: the key that made it, and its end.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The organization of the key.
    pub organization: OrganizationId,
    /// The key that made the token.
    pub key: ApiKeyId,
    /// The end of the token, in seconds since 1970.
    pub expires_at: i64,
}

/// True if the text has the form of a token; its signature is not checked.
pub fn is_page_token(text: &str) -> bool {
    text.starts_with(PREFIX) && text.contains('.')
}

impl Claims {
    /// Returns the token with these contents.
    pub fn signed(&self, signer: &KeySigner) -> String {
        let claims = serde_json::to_vec(self).unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let signature = signer.sign(&format!("ui-session {claims}"));
        format!("{PREFIX}{claims}.{signature}")
    }
}

/// A parsed token. Its claims are trusted only if [`holds`](Self::holds) is true.
#[derive(Debug)]
pub struct PageToken<'a> {
    /// The contents of the token.
    pub claims: Claims,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> PageToken<'a> {
    /// Splits a token into its parts; `None` if it is malformed.
    pub fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(signed).ok()?;
        let claims = serde_json::from_slice(&claims).ok()?;
        Some(Self { claims, signed, signature })
    }

    /// True if the signer of the token's key has signed it, and it is valid at `now`.
    pub fn holds(&self, signer: &KeySigner, now: DateTime<Utc>) -> bool {
        let longest = (now + LIFETIME + CLOCK_SKEW).timestamp();
        let is_signed = signer.has_signed(&format!("ui-session {}", self.signed), self.signature);
        is_signed && self.claims.expires_at > now.timestamp() && self.claims.expires_at <= longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::secrets::Secrets;

    #[test]
    fn a_token_is_valid_until_its_time_for_an_hour_at_most_and_only_with_its_key() {
        let (ours, theirs) = (Secrets::new([1; 32]), Secrets::new([2; 32]));
        let signer = ours.for_key("ab");
        let (organization, key) = (OrganizationId::from(1), ApiKeyId::from(2));
        let token = Claims { organization, key, expires_at: 10_000 }.signed(&signer);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let holds = |token: &str, signer: &KeySigner, seconds| {
            PageToken::read(token).is_some_and(|token| token.holds(signer, at(seconds)))
        };
        assert!(is_page_token(&token));
        assert_eq!(PageToken::read(&token).unwrap().claims.key, key);
        assert!(holds(&token, &signer, 9_999));
        assert!(!holds(&token, &signer, 10_000));
        assert!(holds(&token, &signer, 10_000 - 3_600));
        assert!(!holds(&token, &signer, 10_000 - 3_661));
        assert!(!holds(&token, &ours.for_key("cd"), 9_999));
        assert!(!holds(&token, &theirs.for_key("ab"), 9_999));
        let (head, signature) = token.split_once('.').unwrap();
        assert!(!holds(&format!("{head}x.{signature}"), &signer, 9_999));
    }
}
