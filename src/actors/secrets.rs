//! Where lease tokens come from, and what only this server can have signed.

use rand::RngCore as _;

use crate::domain::ids::SessionId;
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::RunnableId;

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
    /// With 32 bytes that nobody can guess.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// 32 bytes that nobody can guess.
    pub fn random() -> [u8; 32] {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }

    /// A token of its own for every begin.
    pub fn fresh_lease(&self) -> LeaseToken {
        LeaseToken::new(Self::random())
    }

    /// The token of a begin that names an idempotency key. The same begin gets the same token
    /// again, so that a client whose answer was lost is known by it; only its hash was kept.
    pub fn lease_for(
        &self,
        session: SessionId,
        occupant: &RunnableId,
        idempotency_key: &str,
    ) -> LeaseToken {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(format!("lease\0{session}\0{occupant}\0{idempotency_key}").as_bytes());
        LeaseToken::new(*hasher.finalize().as_bytes())
    }
    /// A signature of `what`, as 64 hexadecimal digits.
    pub fn sign(&self, what: &str) -> String {
        self.signature(what).to_hex().to_string()
    }

    /// Whether [`sign`](Self::sign) made this signature of `what`, in constant time.
    pub fn has_signed(&self, what: &str, signature: &str) -> bool {
        blake3::Hash::from_hex(signature).is_ok_and(|given| given == self.signature(what))
    }

    fn signature(&self, what: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(format!("signature\0{what}").as_bytes());
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_with_this_secret_is_known() {
        let (ours, theirs) = (Secrets::new([1; 32]), Secrets::new([2; 32]));
        let signature = ours.sign("a_1");
        assert!(ours.has_signed("a_1", &signature));
        assert!(!ours.has_signed("a_2", &signature));
        assert!(!theirs.has_signed("a_1", &signature));
        assert!(!ours.has_signed("a_1", "not a signature"));
    }
}
