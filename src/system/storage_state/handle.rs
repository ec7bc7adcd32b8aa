//! The storage of a desktop's browser, for one client at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{Applied, Mode, Selection, StorageError, StorageState, apply, capture, capture_whole};
use crate::system::cdp::Devtools;

/// The longest wait for the watchdog to store the cookies.
const REMEMBERS: Duration = Duration::from_secs(5);

/// The most changes of one browser's storage that wait or are under way.
pub const MOST_CHANGES: usize = 4;

/// Asks the watchdog of a browser to read and store its cookies now, instead of half a second later.
#[derive(Debug, Clone)]
pub struct Remember(mpsc::Sender<oneshot::Sender<()>>);

impl Remember {
    /// The requests that may wait for a watchdog that is not connected.
    const WAITING: usize = 8;

    /// Creates a sender, and the receiver of the watchdog.
    pub fn channel() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (sender, receiver) = mpsc::channel(Self::WAITING);
        (Self(sender), receiver)
    }

    /// Resolves when the cookies are stored, or when the watchdog does not do so in time.
    async fn now(&self) {
        let (answer, stored) = oneshot::channel();
        if self.0.try_send(answer).is_ok() {
            let _ = timeout(REMEMBERS, stored).await;
        }
    }
}

#[derive(Debug)]
struct Inner {
    devtools: Devtools,
    profile: PathBuf,
    remember: Remember,
    turn: Arc<Mutex<()>>,
    changes: Arc<Semaphore>,
}

/// The storage of a desktop's browser. Clones share it.
#[derive(Debug, Clone)]
pub struct Storage(Option<Arc<Inner>>);

/// The turn of a client to change the storage. Other clients wait until it is dropped.
#[derive(Debug)]
pub struct ChangeTurn {
    inner: Arc<Inner>,
    _turn: OwnedMutexGuard<()>,
    _place: OwnedSemaphorePermit,
}

/// A storage that no client changes until this is dropped.
#[derive(Debug)]
pub struct HeldStorage {
    inner: Arc<Inner>,
    _turn: OwnedMutexGuard<()>,
}

impl Storage {
    /// A storage that cannot be reached.
    pub fn none() -> Self {
        Self(None)
    }

    pub(in crate::system) fn new(devtools: Devtools, profile: PathBuf, remember: Remember) -> Self {
        let (turn, changes) = (Arc::default(), Arc::new(Semaphore::new(MOST_CHANGES)));
        Self(Some(Arc::new(Inner { devtools, profile, remember, turn, changes })))
    }

    /// Reads the state. A change of it that is under way is completed first.
    ///
    /// # Errors
    ///
    /// Those of [`capture`].
    pub async fn capture(&self, selection: &Selection) -> Result<StorageState, StorageError> {
        self.hold().await?.capture(selection).await
    }

    /// Waits until no change of the storage is under way.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unanswered`] without a browser.
    pub async fn hold(&self) -> Result<HeldStorage, StorageError> {
        let inner = self.reachable()?;
        let turn = Arc::clone(&inner.turn).lock_owned().await;
        Ok(HeldStorage { inner: Arc::clone(inner), _turn: turn })
    }

    /// Waits for the turn to change the storage.
    ///
    /// # Errors
    ///
    /// [`StorageError::TooManyChanges`] if as many changes wait as may; [`StorageError::Unanswered`] without a
    /// browser.
    pub async fn turn(&self) -> Result<ChangeTurn, StorageError> {
        let inner = self.reachable()?;
        let place = Arc::clone(&inner.changes).try_acquire_owned();
        let place = place.map_err(|_full| StorageError::TooManyChanges)?;
        let turn = Arc::clone(&inner.turn).lock_owned().await;
        Ok(ChangeTurn { inner: Arc::clone(inner), _turn: turn, _place: place })
    }

    fn reachable(&self) -> Result<&Arc<Inner>, StorageError> {
        self.0.as_ref().ok_or(StorageError::Unanswered)
    }
}

impl HeldStorage {
    /// Reads the state of the browser.
    ///
    /// # Errors
    ///
    /// Those of [`capture`].
    pub async fn capture(&self, selection: &Selection) -> Result<StorageState, StorageError> {
        capture(&self.inner.devtools, &self.inner.profile, selection).await
    }

    /// Reads the state as [`capture`](Self::capture) does, with the origins whose `localStorage` is
    /// complete in it.
    ///
    /// # Errors
    ///
    /// Those of [`capture`].
    pub(in crate::system) async fn capture_whole(
        &self,
        selection: &Selection,
    ) -> Result<(StorageState, BTreeSet<String>), StorageError> {
        capture_whole(&self.inner.devtools, &self.inner.profile, selection).await
    }
}

impl ChangeTurn {
    /// Writes a state, and resolves when it outlives the browser.
    ///
    /// # Errors
    ///
    /// Those of [`apply`].
    pub async fn apply(&self, state: &StorageState, mode: Mode) -> Result<Applied, StorageError> {
        let Inner { devtools, profile, remember, .. } = &*self.inner;
        let applied = apply(devtools, profile, state, mode).await;
        remember.now().await;
        applied
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn few_changes_wait_for_their_turn_and_one_that_is_given_up_leaves_its_place() {
        let devtools =
            Devtools { address: ([127, 0, 0, 1], 1).into(), path: String::new(), inside: None };
        let storage = Storage::new(devtools, PathBuf::new(), Remember::channel().0);
        let first = storage.turn().await.unwrap();
        let mut waiting: Vec<_> = (1..MOST_CHANGES).map(|_| Box::pin(storage.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let refused = storage.turn().await.map(drop);
        assert_eq!(refused, Err(StorageError::TooManyChanges));
        drop(waiting.pop());
        let mut last = Box::pin(storage.turn());
        assert!((&mut last).now_or_never().is_none());
        drop((first, waiting));
        last.await.unwrap();
    }
}
