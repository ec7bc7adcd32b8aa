//! The outbox: files of this machine that are on their way to a bucket.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::directory::{Directory, FileVersion, Partial, PutError};
use super::error::ObjectError;
use super::object::{ObjectInfo, Transfer};
use super::work::{LOCAL, change, list_in, put_in, transfer_deadline};

/// The folder of the outbox in the data directory.
pub(super) const FOLDER: &str = "outbox";

/// Files that are not in the store yet, by the keys that they will have there.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    directory: Directory,
    under_way: Arc<Mutex<HashSet<String>>>,
    /// Held while a file is replaced, and while a sent one is compared and removed.
    replacing: Arc<Mutex<()>>,
}

/// The outcome of the removal of a file that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The file that was sent is not there any more.
    Removed,
    /// Another file has taken its place, and is not sent yet.
    Replaced,
    /// It was deleted while it was sent.
    Gone,
}

/// The right to send a file, for one task at a time.
#[derive(Debug)]
pub(super) struct Sending {
    key: String,
    under_way: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.key);
    }
}

impl Outbox {
    pub(super) fn new(root: PathBuf) -> Self {
        let directory = Directory::new(root);
        Self { directory, under_way: Arc::default(), replacing: Arc::default() }
    }

    pub(super) fn directory(&self) -> Directory {
        self.directory.clone()
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.directory.path(key)
    }

    /// Moves a file in.
    pub(super) async fn take(&self, key: &str, source: &Path) -> Result<(), ObjectError> {
        let size = tokio::fs::metadata(source).await.map_or(0, |it| it.len());
        let (owned, path) = (key.to_owned(), source.to_owned());
        let limit = transfer_deadline(LOCAL, size);
        let put = put_in(&self.directory, key, source, limit, move |it| {
            it.put_file(&owned, &path, Transfer::Move)
        });
        put.await.map(drop)
    }

    pub(super) async fn write(&self, key: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let (owned, file) = (key.to_owned(), self.path(key));
        let replacing = Arc::clone(&self.replacing);
        let write = move |it: &Directory| -> Result<(), PutError> {
            let _replacing = replacing.lock();
            it.put_bytes(&owned, &bytes)
        };
        put_in(&self.directory, key, &file, LOCAL, write).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let owned = key.to_owned();
        change(&self.directory, key, move |it| it.delete(&owned)).await
    }

    /// The state of the file of a key; none if it is not here.
    pub(super) async fn version(&self, key: &str) -> Result<Option<FileVersion>, ObjectError> {
        let owned = key.to_owned();
        change(&self.directory, key, move |it| it.version(&owned)).await
    }

    /// Removes the file of a key if it still is the one that was sent.
    pub(super) async fn remove_sent(
        &self,
        key: &str,
        sent: FileVersion,
    ) -> Result<Sent, ObjectError> {
        let (owned, replacing) = (key.to_owned(), Arc::clone(&self.replacing));
        let remove = move |it: &Directory| {
            let _replacing = replacing.lock();
            match it.version(&owned)? {
                None => Ok(Sent::Gone),
                Some(present) if present != sent => Ok(Sent::Replaced),
                Some(_) => it.delete(&owned).map(|()| Sent::Removed),
            }
        };
        change(&self.directory, key, remove).await
    }

    /// The files that wait. Those that are being written are left out.
    pub(super) async fn list(&self, area: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let mut found = list_in(&self.directory, area).await?;
        found.retain(|info| !Partial::is_named_by(&info.key));
        Ok(found)
    }

    /// The right to send the file of a key, unless another task has it.
    pub(super) fn sending(&self, key: &str) -> Option<Sending> {
        let under_way = Arc::clone(&self.under_way);
        let is_first = under_way.lock().insert(key.to_owned());
        is_first.then(|| Sending { key: key.to_owned(), under_way })
    }
}
