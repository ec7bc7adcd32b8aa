//! Lease tokens, and signatures that only this server can have made.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;

use crate::domain::ids::SessionId;
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::RunnableId;
use crate::domain::sealing::Vault;

/// The server's own secret, which outlives a restart.
#[derive(Clone)]
pub struct Secrets {
    key: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// The secrets of a server whose key is these 32 unpredictable bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Returns 32 unpredictable bytes.
    pub fn random() -> [u8; 32] {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }

    /// A new secret that its holder presents as it is: `prefix`, and 256 random bits as 43 characters
    /// of base64url.
    pub fn fresh_text(prefix: &str) -> String {
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(Self::random()))
    }

    /// The hash under which such a secret is kept. It has 256 random bits, so a fast hash is as good
    /// as a slow one.
    pub fn hash(text: &str) -> [u8; 32] {
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// A new, random lease token, for each begin.
    pub fn fresh_lease(&self) -> LeaseToken {
        LeaseToken::new(Self::random())
    }

    /// A vault that seals stored values with this secret.
    pub fn vault(&self) -> Vault {
        Vault::new(self.key)
    }

    /// The signer of an API key, derived from the stored hash of the key. Without that hash, the
    /// server's secret alone signs for no key.
    pub fn for_key(&self, key_hash: &str) -> KeySigner {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(format!("api key\0{key_hash}").as_bytes());
        KeySigner { key: *hasher.finalize().as_bytes() }
    }
}

/// A signer for one API key, derived from the server's secret and the stored hash of that key. Its
/// signatures are valid for as long as the key is.
#[derive(Clone, Copy)]
pub struct KeySigner {
    key: [u8; 32],
}

impl std::fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySigner(…)")
    }
}

impl KeySigner {
    /// The lease token of a begin that carries an `Idempotency-Key`. Repeating the same begin with
    /// the same API key within `period` yields the same token. So a client whose answer was lost is
    /// recognized, although only the hash of the token was stored.
    pub fn lease_for(
        &self,
        session: SessionId,
        occupant: &RunnableId,
        idempotency_key: &str,
        period: i64,
    ) -> LeaseToken {
        let what = format!("lease\0{session}\0{occupant}\0{period}\0{idempotency_key}");
        LeaseToken::new(*self.mac(&what).as_bytes())
    }

    /// A signature of `what`, as 64 hexadecimal digits.
    pub fn sign(&self, what: &str) -> String {
        self.signature(what).to_hex().to_string()
    }

    /// True if [`sign`](Self::sign) made this signature of `what`; compares in constant time.
    pub fn has_signed(&self, what: &str, signature: &str) -> bool {
        blake3::Hash::from_hex(signature).is_ok_and(|given| given == self.signature(what))
    }

    fn signature(&self, what: &str) -> blake3::Hash {
        self.mac(&format!("signature\0{what}"))
    }

    fn mac(&self, what: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.key, what.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_with_this_secret_and_this_key_is_known() {
        let (ours, theirs) = (Secrets::new([1; 32]), Secrets::new([2; 32]));
        let signer = ours.for_key("ab");
        let signature = signer.sign("a_1");
        assert!(ours.for_key("ab").has_signed("a_1", &signature));
        assert!(!signer.has_signed("a_2", &signature));
        assert!(!ours.for_key("cd").has_signed("a_1", &signature));
        assert!(!theirs.for_key("ab").has_signed("a_1", &signature));
        assert!(!signer.has_signed("a_1", "not a signature"));
    }

    #[test]
    fn a_begin_gets_its_lease_again_with_the_same_key_and_in_the_same_period_only() {
        let secrets = Secrets::new([1; 32]);
        let occupant: RunnableId = "ann".parse().unwrap();
        let lease = |key: &str, idempotency_key: &str, period| {
            secrets.for_key(key).lease_for(1.into(), &occupant, idempotency_key, period)
        };
        let first = lease("ab", "k", 7);
        assert_eq!(lease("ab", "k", 7), first);
        for other in [lease("cd", "k", 7), lease("ab", "l", 7), lease("ab", "k", 8)] {
            assert_ne!(other, first);
        }
    }
}
