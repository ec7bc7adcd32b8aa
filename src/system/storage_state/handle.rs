//! The storage of a desktop's browser, for one client at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::{Applied, Mode, Selection, StorageError, StorageState, apply, capture, capture_whole};
use crate::system::cdp::Devtools;

/// The longest wait for the watchdog to store the cookies.
const REMEMBERS: Duration = Duration::from_secs(5);

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
    turn: Mutex<()>,
}

/// The storage of a desktop's browser. Clones share it.
#[derive(Debug, Clone)]
pub struct Storage(Option<Arc<Inner>>);

impl Storage {
    /// A storage that cannot be reached.
    pub fn none() -> Self {
        Self(None)
    }

    pub(in crate::system) fn new(devtools: Devtools, profile: PathBuf, remember: Remember) -> Self {
        Self(Some(Arc::new(Inner { devtools, profile, remember, turn: Mutex::new(()) })))
    }

    /// Reads the state. A change of it that is under way is completed first.
    ///
    /// # Errors
    ///
    /// Those of [`capture`].
    pub async fn capture(&self, selection: &Selection) -> Result<StorageState, StorageError> {
        let Inner { devtools, profile, turn, .. } = &**self.reachable()?;
        let _turn = turn.lock().await;
        capture(devtools, profile, selection).await
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
        let Inner { devtools, profile, turn, .. } = &**self.reachable()?;
        let _turn = turn.lock().await;
        capture_whole(devtools, profile, selection).await
    }

    /// Writes a state, and resolves when it outlives the browser.
    ///
    /// # Errors
    ///
    /// Those of [`apply`].
    pub async fn apply(&self, state: &StorageState, mode: Mode) -> Result<Applied, StorageError> {
        let Inner { devtools, profile, remember, turn } = &**self.reachable()?;
        let _turn = turn.lock().await;
        let applied = apply(devtools, profile, state, mode).await;
        remember.now().await;
        applied
    }

    fn reachable(&self) -> Result<&Arc<Inner>, StorageError> {
        self.0.as_ref().ok_or(StorageError::Unanswered)
    }
}
