//! The requests with an `Idempotency-Key` that this server is handling.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::db::idempotency::Key;

/// The keys of the requests that this server is handling.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Mutex<HashSet<Key>>>);

impl UnderWay {
    /// Marks a key as in use until the guard is dropped; returns `None` if it is marked already.
    pub(super) fn enter(&self, key: &Key) -> Option<Entered> {
        self.0.lock().insert(key.clone()).then(|| Entered { all: self.clone(), key: key.clone() })
    }
}

/// The mark of a request that this server is handling.
pub(super) struct Entered {
    all: UnderWay,
    key: Key,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.key);
    }
}
