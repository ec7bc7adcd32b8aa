//! Where lease tokens come from.

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
}
