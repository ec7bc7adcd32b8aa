//! Disconnection of everything that was opened with an API key, once the key is revoked.
//!
//! A key is revoked in the database, by this server, another one or a command. Once a second the
//! keys in use are looked up. Work that outlasts a request (sockets, streams, long polls) selects
//! on the [`Revocation`] of its key. Tokens of pages count as the key that they were made with.
//! While the database is unavailable, no revocation is noticed, and nothing is disconnected.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::ApiKeyId;

/// The interval between two look-ups of the keys in use.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// The possible revocation of one key. Clones share it.
#[derive(Debug, Clone)]
pub struct Revocation(Arc<CancellationToken>);

impl Revocation {
    /// Resolves when the key has been revoked.
    pub async fn revoked(&self) {
        self.0.cancelled().await;
    }

    /// True if the key has been revoked.
    pub fn is_revoked(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// The keys for which something waits on their revocation.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<DashMap<ApiKeyId, Weak<CancellationToken>>>);

impl InUse {
    /// Returns the revocation of a key. The key is looked up for as long as the revocation is kept.
    pub(super) fn watch(&self, key: ApiKeyId) -> Revocation {
        let mut entry = self.0.entry(key).or_default();
        let token = entry.upgrade().unwrap_or_else(|| {
            let token = Arc::new(CancellationToken::new());
            *entry = Arc::downgrade(&token);
            token
        });
        Revocation(token)
    }

    /// Returns the keys to look up.
    pub(super) fn keys(&self) -> Vec<ApiKeyId> {
        self.0.retain(|_, token| token.strong_count() > 0);
        self.0.iter().map(|entry| *entry.key()).collect()
    }

    /// Resolves the revocations of a key.
    pub(super) fn revoke(&self, key: ApiKeyId) {
        if let Some((_, token)) = self.0.remove(&key)
            && let Some(token) = token.upgrade()
        {
            token.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_open_with_a_revoked_key_ends_and_other_keys_are_not_touched() {
        let keys = InUse::default();
        let (one, other) = (ApiKeyId::from(1), ApiKeyId::from(2));
        let (first, second, foreign) = (keys.watch(one), keys.watch(one), keys.watch(other));
        keys.revoke(one);
        tokio::join!(first.revoked(), second.revoked());
        let waited = tokio::time::timeout(Duration::from_millis(10), foreign.revoked()).await;
        assert!(waited.is_err());
        assert_eq!(keys.keys(), [other]);
        drop(foreign);
        assert_eq!(keys.keys(), []);
    }
}
