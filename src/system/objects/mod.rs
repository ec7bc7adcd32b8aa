//! The store of files that outlive sessions: artifacts, recordings, archives of profiles.
//!
//! [`Objects`] is the only way to them. It keeps them in the data directory, or in a bucket of a
//! service that speaks S3, by the settings `storage`. A key is `artifacts/<organization>/<run or
//! session>/<file>` or `profiles/<organization>/…`; in a directory it is also the path of the file.
//!
//! ```text
//! put_file, put_bytes  -->  store               fails while the store is away
//! deposit              -->  outbox  -->  store  succeeds; sent when the store is back
//! ```
//!
//! Invariants:
//!
//! 1. An object is whole or absent, also after `kill -9` at any time.
//! 2. Each operation ends within its deadline, and a failure names the store and the cause.
//! 3. Until a deposited file is in the store it is in the outbox, and read from there.

mod bucket;
mod directory;
mod error;
mod key;
mod object;
mod outbox;
mod reading;
mod settings;
mod tending;
#[cfg(test)]
mod tests;
mod work;

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::io::ReaderStream;

use self::bucket::Bucket;
use self::directory::{Directory, Partial};
pub use self::error::ObjectError;
pub use self::object::{ARTIFACTS, ObjectInfo, PROFILES, Transfer};
use self::outbox::Outbox;
pub use self::reading::Reading;
use self::reading::checked;
pub use self::settings::{Settings, StoreKind};
use self::work::{
    LOCAL, change, directory_name, list_in, local, missing, put_in, transfer_deadline, within,
};

/// The number of objects that are removed at once.
const REMOVED_AT_ONCE: usize = 8;

/// The outcome of a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deposit {
    /// The file is in the store.
    Stored,
    /// The file is in the outbox: it is read from there, and sent when the store is back.
    Queued,
}

/// The state of a store, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Unknown,
    Good,
    Failing(ObjectError),
}

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct Objects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Backend,
    health: watch::Sender<Health>,
    /// The key of the object that checks write, one check at a time. No other server has the same.
    check_key: Mutex<String>,
    /// Notified when the store fails, or when the outbox gets a file that is not sent at once.
    attention: Notify,
}

#[derive(Debug)]
enum Backend {
    Directory(Directory),
    Bucket { bucket: Bucket, outbox: Outbox },
}

impl Objects {
    /// The store of these settings. Nothing is sent to it yet; requests will be made on the runtime
    /// of this call.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Misconfigured`].
    pub fn open(settings: &Settings, data: &Path) -> Result<Self, ObjectError> {
        settings
            .check_together()
            .map_err(|cause| ObjectError::Misconfigured { cause: cause.to_owned() })?;
        let place = match settings.kind {
            StoreKind::Directory => Backend::Directory(Directory::new(data.to_owned())),
            StoreKind::S3 => {
                let outbox = Outbox::new(data.join(outbox::FOLDER));
                Backend::Bucket { bucket: Bucket::open(settings)?, outbox }
            }
        };
        Ok(Self::of(place))
    }

    /// The store in a directory.
    pub fn in_directory(data: &Path) -> Self {
        Self::of(Backend::Directory(Directory::new(data.to_owned())))
    }

    fn of(place: Backend) -> Self {
        let health = watch::channel(Health::Unknown).0;
        let random = RandomState::new().build_hasher().finish();
        let check_key = Mutex::new(format!("{ARTIFACTS}/.check-{random:016x}"));
        Self(Arc::new(Inner { place, health, check_key, attention: Notify::new() }))
    }

    /// The store's kind and address, for people.
    pub fn name(&self) -> String {
        match &self.0.place {
            Backend::Directory(directory) => directory_name(directory),
            Backend::Bucket { bucket, .. } => bucket.name().to_owned(),
        }
    }

    /// True if every server of the database has the same objects.
    pub fn is_shared(&self) -> bool {
        matches!(self.0.place, Backend::Bucket { .. })
    }

    /// The address of an object, for people: a path or `s3://…`.
    pub fn address(&self, key: &str) -> String {
        match &self.0.place {
            Backend::Directory(directory) => directory.path(key).display().to_string(),
            Backend::Bucket { bucket, .. } => bucket.url(key),
        }
    }

    /// The key of an object with this address.
    pub fn key_of<'a>(&self, address: &'a str) -> Option<&'a str> {
        let key = match &self.0.place {
            Backend::Directory(directory) => {
                let root = directory.root().to_str()?;
                address.strip_prefix(root)?.strip_prefix('/')
            }
            Backend::Bucket { bucket, .. } => address.strip_prefix(&bucket.url("")),
        };
        key.filter(|key| key::check(key).is_ok())
    }

    /// The file of this machine that has the object's content, if there is one. A file of the
    /// outbox may be gone a moment later; the store then has it.
    pub fn local_file(&self, key: &str) -> Option<PathBuf> {
        key::check(key).ok()?;
        match &self.0.place {
            Backend::Directory(directory) => Some(directory.path(key)),
            Backend::Bucket { outbox, .. } => Some(outbox.path(key)).filter(|file| file.exists()),
        }
    }

    /// Stores a regular file, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ObjectError`]; the source is unchanged then.
    pub async fn put_file(
        &self,
        key: &str,
        source: &Path,
        transfer: Transfer,
    ) -> Result<u64, ObjectError> {
        key::check(key)?;
        let stored = match &self.0.place {
            Backend::Directory(directory) => {
                let size = tokio::fs::metadata(source).await.map_or(0, |it| it.len());
                let (owned, path) = (key.to_owned(), source.to_owned());
                let work =
                    put_in(directory, key, source, transfer_deadline(LOCAL, size), move |it| {
                        it.put_file(&owned, &path, transfer)
                    });
                work.await
            }
            Backend::Bucket { bucket, .. } => {
                let size = tokio::fs::metadata(source).await.map_or(0, |it| it.len());
                let limit = transfer_deadline(bucket.pause(), size);
                let put = within(bucket.name(), limit, bucket.put_file(key, source)).await;
                if put.is_ok() && transfer == Transfer::Move {
                    let removed = tokio::fs::remove_file(source).await;
                    removed.map_err(|cause| ObjectError::file(source, &cause))?;
                }
                put
            }
        };
        self.noted(stored)
    }

    /// Stores bytes, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<(), ObjectError> {
        key::check(key)?;
        let stored = match &self.0.place {
            Backend::Directory(directory) => {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let (owned, file) = (key.to_owned(), directory.path(key));
                put_in(directory, key, &file, transfer_deadline(LOCAL, size), move |it| {
                    it.put_bytes(&owned, &bytes)
                })
                .await
            }
            Backend::Bucket { bucket, .. } => bucket.put_bytes(key, bytes).await,
        };
        self.noted(stored)
    }

    /// The size and the time of an object.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, ObjectError> {
        key::check(key)?;
        let info = match self.open_local(key).await? {
            Some((_, info)) => Ok(info),
            None => match &self.0.place {
                Backend::Directory(directory) => Err(missing(directory, key)),
                Backend::Bucket { bucket, .. } => bucket.head(key).await,
            },
        };
        self.noted(info)
    }

    /// The content of an object.
    ///
    /// # Errors
    ///
    /// [`ObjectError`]; the stream may fail later.
    pub async fn read(&self, key: &str) -> Result<Reading, ObjectError> {
        self.read_some(key, None).await
    }

    /// A range of the content of an object. It must not be empty, and begin within the object.
    ///
    /// # Errors
    ///
    /// [`ObjectError`]; the stream may fail later.
    pub async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Reading, ObjectError> {
        self.read_some(key, Some(range)).await
    }

    async fn read_some(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Reading, ObjectError> {
        key::check(key)?;
        let reading = match self.open_local(key).await? {
            Some((file, info)) => self.read_file(key, file, info.size, range).await,
            None => match &self.0.place {
                Backend::Directory(directory) => Err(missing(directory, key)),
                Backend::Bucket { bucket, .. } => bucket.read(key, range).await,
            },
        };
        self.noted(reading)
    }

    /// Opens the file of this machine that has the object's content.
    async fn open_local(&self, key: &str) -> Result<Option<(File, ObjectInfo)>, ObjectError> {
        let directory = match &self.0.place {
            Backend::Directory(directory) => directory.clone(),
            Backend::Bucket { outbox, .. } => outbox.directory(),
        };
        let (owned, name) = (key.to_owned(), directory_name(&directory));
        let opened = local(&name, LOCAL, move || directory.open(&owned)).await?;
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(ObjectError::of_directory(&name, key, &cause)),
        }
    }

    async fn read_file(
        &self,
        key: &str,
        file: File,
        size: u64,
        range: Option<Range<u64>>,
    ) -> Result<Reading, ObjectError> {
        /// The bytes that are read at once.
        const PIECE: usize = 64 * 1024;
        let (name, owned) = (self.name(), key.to_owned());
        let range = range.map_or(0..size, |range| range.start.min(size)..range.end.min(size));
        let length = range.end.saturating_sub(range.start);
        let failure = move |cause: io::Error| ObjectError::of_directory(&name, &owned, &cause);
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(&failure)?;
        let pieces = ReaderStream::with_capacity(file.take(length), PIECE).boxed();
        let bytes = checked(self.name(), pieces, length, LOCAL, failure);
        Ok(Reading { size, range, bytes })
    }

    /// The whole content of an object of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub async fn read_bytes(&self, key: &str, limit: u64) -> Result<Bytes, ObjectError> {
        let Reading { size, mut bytes, .. } = self.read(key).await?;
        if size > limit {
            return Err(ObjectError::TooLarge { key: key.to_owned(), size, limit });
        }
        let all = async {
            let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            while let Some(piece) = bytes.try_next().await? {
                whole.extend_from_slice(&piece);
            }
            Ok(Bytes::from(whole))
        };
        let read = within(&self.name(), transfer_deadline(LOCAL, size), all).await;
        self.noted(read)
    }

    /// Writes the content of an object to a file, whole or not at all. Returns its size.
    ///
    /// # Errors
    ///
    /// [`ObjectError`]; there is no file then, or the former one.
    pub async fn fetch_to(&self, key: &str, target: &Path) -> Result<u64, ObjectError> {
        let Reading { size, mut bytes, .. } = self.read(key).await?;
        let partial = Arc::new(Partial::of(target));
        let failed = |cause: io::Error| ObjectError::file(target, &cause);
        let write = async {
            // A caller that leaves does not stop the creation of the file, which keeps it removable therefore.
            let created = Arc::clone(&partial);
            let create = move || std::fs::File::create(created.path());
            let file = local(&self.name(), LOCAL, create).await?.map_err(failed)?;
            let mut file = tokio::fs::File::from_std(file);
            while let Some(piece) = bytes.try_next().await? {
                file.write_all(&piece).await.map_err(failed)?;
            }
            file.flush().await.map_err(failed)?;
            file.sync_all().await.map_err(failed)?;
            // On this thread: a caller that has left would not know of a file that appears afterwards.
            std::fs::rename(partial.path(), target).map_err(failed)?;
            Ok(size)
        };
        let written = within(&self.name(), transfer_deadline(LOCAL, size), write).await;
        self.noted(written)
    }

    /// Removes an object. A missing one is no error.
    ///
    /// # Errors
    ///
    /// [`ObjectError`]; the object may be there or not.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        key::check(key)?;
        let deleted = match &self.0.place {
            Backend::Directory(directory) => {
                let owned = key.to_owned();
                change(directory, key, move |it| it.delete(&owned)).await
            }
            Backend::Bucket { bucket, outbox } => match outbox.delete(key).await {
                Ok(()) => bucket.delete(key).await,
                Err(cause) => Err(cause),
            },
        };
        self.noted(deleted)
    }

    /// The objects below a prefix of whole parts, in no order.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        key::check(prefix)?;
        let listed = match &self.0.place {
            Backend::Directory(directory) => list_in(directory, prefix).await,
            Backend::Bucket { bucket, outbox } => {
                // The outbox first: what is sent in between is then found twice, and not missed.
                let queued = list_in(&outbox.directory(), prefix).await;
                match queued {
                    Ok(found) => bucket
                        .list(prefix)
                        .await
                        .map(|stored| {
                            let all = found.into_iter().chain(stored);
                            all.map(|it| (it.key.clone(), it)).collect::<HashMap<_, _>>()
                        })
                        .map(|all| all.into_values().collect()),
                    Err(cause) => Err(cause),
                }
            }
        };
        self.noted(listed)
    }

    /// Removes all objects below a prefix of whole parts.
    ///
    /// # Errors
    ///
    /// [`ObjectError`]; some objects may be left.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<(), ObjectError> {
        key::check(prefix)?;
        if let Backend::Directory(directory) = &self.0.place {
            let owned = prefix.to_owned();
            let deleted = change(directory, prefix, move |it| it.delete_prefix(&owned)).await;
            return self.noted(deleted);
        }
        let found = self.list(prefix).await?;
        let deleted = stream::iter(found)
            .map(|info| async move { self.delete(&info.key).await })
            .buffer_unordered(REMOVED_AT_ONCE);
        deleted.try_collect::<()>().await
    }

    /// Stores a regular file that must not be lost while the store is away. It is gone from its
    /// place when this returns.
    ///
    /// # Errors
    ///
    /// [`ObjectError`], of this machine only if the store is a bucket; the source is unchanged.
    pub async fn deposit(&self, key: &str, source: &Path) -> Result<Deposit, ObjectError> {
        key::check(key)?;
        match &self.0.place {
            Backend::Directory(_) => {
                self.put_file(key, source, Transfer::Move).await.map(|_size| Deposit::Stored)
            }
            Backend::Bucket { outbox, .. } => {
                outbox.take(key, source).await?;
                Ok(self.send_soon(key).await)
            }
        }
    }

    /// Stores bytes that must not be lost while the store is away.
    ///
    /// # Errors
    ///
    /// [`ObjectError`], of this machine only if the store is a bucket.
    pub async fn deposit_bytes(&self, key: &str, bytes: Bytes) -> Result<Deposit, ObjectError> {
        key::check(key)?;
        match &self.0.place {
            Backend::Directory(_) => self.put_bytes(key, bytes).await.map(|()| Deposit::Stored),
            Backend::Bucket { outbox, .. } => {
                outbox.write(key, bytes).await?;
                Ok(self.send_soon(key).await)
            }
        }
    }

    /// Notes whether the store works, for [`health`](Self::health).
    fn noted<T>(&self, result: Result<T, ObjectError>) -> Result<T, ObjectError> {
        match &result {
            Err(cause) if cause.is_outage() => {
                self.set_health(Health::Failing(cause.clone()));
                self.0.attention.notify_one();
            }
            Ok(_) | Err(_) => {}
        }
        result
    }
}
