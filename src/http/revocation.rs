//! The end of what was opened with an API key, once the key is revoked.
//!
//! A key is revoked in the database, by this server, another one or a command. Once a second the keys
//! that are in use here are looked up; whatever lasts selects on the [`Revocation`] of its key: sockets,
//! streams, long polls. Tokens of pages count as the key that they were made with. While the database
//! is away, nothing is known to be revoked, and nothing ends.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::ApiKeyId;

/// How often the keys in use are looked up.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// The revocation of one key, which may come or not. Clones are the same.
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

/// The keys with which something lasting is open.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<DashMap<ApiKeyId, Weak<CancellationToken>>>);

impl InUse {
    /// The revocation of a key, which is looked up as long as this is kept.
    pub(super) fn watch(&self, key: ApiKeyId) -> Revocation {
        let mut entry = self.0.entry(key).or_default();
        let token = entry.upgrade().unwrap_or_else(|| {
            let token = Arc::new(CancellationToken::new());
            *entry = Arc::downgrade(&token);
            token
        });
        Revocation(token)
    }

    /// The keys to look up.
    pub(super) fn keys(&self) -> Vec<ApiKeyId> {
        self.0.retain(|_, token| token.strong_count() > 0);
        self.0.iter().map(|entry| *entry.key()).collect()
    }

    /// Ends what is open with a key.
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
