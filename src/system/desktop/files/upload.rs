//! Files that clients and blocks put into a session, within the limits of `desktop.uploads`.
//!
//! A file is written under a name of its own and renamed when it is complete: it is there whole or
//! not at all. A part that a former server left is removed by the next upload.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use dashmap::DashMap;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{SessionFiles, Settings};
use crate::domain::checksum::Checksum;
use crate::domain::file_name::{file_name, numbered};
use crate::domain::ids::SessionId;
use crate::system::beneath::{Tree, Walk, is_plain};
use crate::system::desktop::downloads::Content;
use crate::system::desktop::downloads::ledger::{FileKey, Ledger};

/// The most uploads of one session at once.
const AT_ONCE: usize = 8;

/// The most names that are tried for one file.
const MOST_NAMES: u32 = 1_000;

/// The bytes after which the free space of the disk is read again.
const DISK_EVERY: u64 = 16 << 20;

const MIB: u64 = 1 << 20;

const PART_PREFIX: &str = ".upload-";
const PART_SUFFIX: &str = ".part";

/// A number that distinguishes the parts of this process from those of a former one.
static OURS: LazyLock<u64> = LazyLock::new(rand::random);

/// The reason why a file was not taken. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file exceeds `max_file_mib`.
    #[error("the file has more than {0} MiB (desktop.uploads.max_file_mib)")]
    TooLarge(u64),
    /// The session has `max_files`.
    #[error("the session has {0} uploaded files (desktop.uploads.max_files): delete some")]
    TooMany(usize),
    /// The files of the session would exceed `max_total_mib`.
    #[error(
        "the session's uploaded files would have more than {0} MiB \
         (desktop.uploads.max_total_mib): delete some"
    )]
    TooMuch(u64),
    /// Other uploads of the session are in progress.
    #[error("{AT_ONCE} uploads into this session are in progress: wait for one of them")]
    TooManyAtOnce,
    /// The disk is too full.
    #[error(
        "{free} MiB are free on the disk, and {least} have to stay free (desktop.uploads.min_free_mib)"
    )]
    DiskFull {
        /// The free space in MiB.
        free: u64,
        /// The space that must stay free, in MiB.
        least: u64,
    },
    /// The disk is full, or the quota of its user is reached.
    #[error("the disk is full: free some space")]
    NoSpace,
    /// The session has no folders: its browser has not started, or they were cleared meanwhile.
    #[error("the session has no folder for uploads now")]
    NoFolder,
    /// The system refused the operation.
    #[error("the file could not be written: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for UploadError {
    fn from(cause: io::Error) -> Self {
        let is = |kind| cause.kind() == kind;
        if is(io::ErrorKind::NotFound) {
            Self::NoFolder
        } else if is(io::ErrorKind::StorageFull) || is(io::ErrorKind::QuotaExceeded) {
            Self::NoSpace
        } else {
            Self::Failed(cause)
        }
    }
}

/// The limits of uploads and the uploads in progress. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Uploads {
    settings: Settings,
    sessions: Arc<DashMap<SessionId, Arc<Mutex<Counts>>>>,
}

impl PartialEq for Uploads {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && Arc::ptr_eq(&self.sessions, &other.sessions)
    }
}

impl Eq for Uploads {}

/// The files of a session while uploads are in progress. Files that are deleted meanwhile count.
#[derive(Debug, Default)]
struct Counts {
    active: usize,
    files: usize,
    bytes: u64,
}

impl Uploads {
    /// Makes the limits that these settings ask for.
    pub fn new(settings: Settings) -> Self {
        Self { settings, sessions: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Counts one more file of a session. `folder` has those so far.
    fn claim(&self, session: SessionId, folder: &Tree) -> Result<Claim, UploadError> {
        let counts = Arc::clone(&self.sessions.entry(session).or_default());
        let claim = Claim { uploads: self.clone(), session, counts, bytes: 0, state: State::Idle };
        claim.begun(folder)
    }
}

/// The count that a claim has.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Idle,
    Active,
    Kept,
}

/// One file within the limits of its session.
#[derive(Debug)]
struct Claim {
    uploads: Uploads,
    session: SessionId,
    counts: Arc<Mutex<Counts>>,
    bytes: u64,
    state: State,
}

impl Claim {
    fn begun(mut self, folder: &Tree) -> Result<Self, UploadError> {
        let Settings { max_files, .. } = self.uploads.settings;
        {
            let mut counts = self.counts.lock();
            if counts.active == 0 {
                (counts.files, counts.bytes) = measured(folder)?;
            }
            if counts.active >= AT_ONCE {
                return Err(UploadError::TooManyAtOnce);
            }
            if counts.files >= max_files {
                return Err(UploadError::TooMany(max_files));
            }
            counts.active += 1;
            counts.files += 1;
        }
        self.state = State::Active;
        Ok(self)
    }

    /// Counts further bytes of the file.
    fn add(&mut self, bytes: u64) -> Result<(), UploadError> {
        let Settings { max_file_mib, max_total_mib, .. } = self.uploads.settings;
        let size = self.bytes.saturating_add(bytes);
        if size > max_file_mib.saturating_mul(MIB) {
            return Err(UploadError::TooLarge(max_file_mib));
        }
        let mut counts = self.counts.lock();
        let all = counts.bytes.saturating_add(bytes);
        if all > max_total_mib.saturating_mul(MIB) {
            return Err(UploadError::TooMuch(max_total_mib));
        }
        counts.bytes = all;
        self.bytes = size;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.state != State::Idle {
            let mut counts = self.counts.lock();
            counts.active = counts.active.saturating_sub(1);
            if self.state == State::Active {
                counts.files = counts.files.saturating_sub(1);
                counts.bytes = counts.bytes.saturating_sub(self.bytes);
            }
        }
        // The map and this claim: nobody else counts.
        let sessions = &self.uploads.sessions;
        sessions.remove_if(&self.session, |_, counts| Arc::strong_count(counts) <= 2);
    }
}

/// The number of files in a folder and below, and their bytes.
fn measured(folder: &Tree) -> io::Result<(usize, u64)> {
    let (mut files, mut bytes) = (0_usize, 0_u64);
    folder.walk(&mut |entry: Walk<'_>| {
        let stat = rustix::fs::fstat(entry.descriptor)?;
        if is_plain(&stat) {
            files = files.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
        }
        Ok(())
    })?;
    Ok((files, bytes))
}

/// True for the name of an upload that is not complete.
pub(super) fn is_part(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.starts_with(PART_PREFIX.as_bytes()) && bytes.ends_with(PART_SUFFIX.as_bytes())
}

/// Removes the parts that a former server left.
fn remove_former(folder: &Tree) -> io::Result<()> {
    let ours = format!("{PART_PREFIX}{:016x}-", *OURS);
    for name in folder.names()? {
        if is_part(&name) && !name.as_bytes().starts_with(ours.as_bytes()) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

/// An upload that is complete.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The name of the file, which may differ from the requested one.
    pub name: String,
    /// The path of the file, which the session's browser reads.
    pub path: PathBuf,
    /// The size in bytes.
    pub size: u64,
    /// The hash of the content.
    pub checksum: String,
}

/// A file that is being written. Dropped before [`finish`](Self::finish), nothing of it is left.
#[derive(Debug)]
pub struct Upload {
    files: SessionFiles,
    /// The folder of the file, with its path.
    folder: Tree,
    path: PathBuf,
    /// True if the folder is the session's own, and not one of a run.
    is_listed: bool,
    name: String,
    part: PathBuf,
    file: File,
    checksum: Checksum,
    claim: Claim,
    /// The size at which the disk is looked at next.
    check_at: u64,
}

impl SessionFiles {
    /// Checks the size that a client announces for a file.
    ///
    /// # Errors
    ///
    /// [`UploadError::TooLarge`].
    pub fn admits(&self, bytes: u64) -> Result<(), UploadError> {
        let most = self.uploads.settings.max_file_mib;
        if bytes > most.saturating_mul(MIB) { Err(UploadError::TooLarge(most)) } else { Ok(()) }
    }

    /// Begins to write a file, for the session's user. `within` names folders below the folder for
    /// uploads, which are created. `name` is made safe, see [`file_name`]. This blocks.
    ///
    /// # Errors
    ///
    /// [`UploadError`], by the limits and the system.
    pub fn upload(&self, within: &[&str], name: &str) -> Result<Upload, UploadError> {
        let mut path = self.directory.uploads();
        let (Some(parent), Some(own)) = (path.parent(), path.file_name()) else {
            return Err(UploadError::NoFolder);
        };
        let parent = Tree::open(parent)?.owned_by(self.directory.user());
        let mut folder = parent.make_folder(Path::new(own))?;
        remove_former(&folder)?;
        let claim = self.uploads.claim(self.session, &folder)?;
        for name in within {
            folder = folder.make_folder(Path::new(name))?;
            path.push(name);
        }
        let part =
            format!("{PART_PREFIX}{:016x}-{:016x}{PART_SUFFIX}", *OURS, rand::random::<u64>());
        let part = PathBuf::from(part);
        let file = folder.create(&part)?;
        let upload = Upload {
            files: self.clone(),
            folder,
            path,
            is_listed: within.is_empty(),
            name: file_name(name),
            part,
            file,
            checksum: Checksum::default(),
            claim,
            check_at: 0,
        };
        upload.room()?;
        Ok(upload)
    }
}

impl Upload {
    /// Checks the free space of the disk.
    fn room(&self) -> Result<(), UploadError> {
        let least = self.files.uploads.settings.min_free_mib;
        // A file system that does not report its free space counts as having enough.
        let Ok(disk) = rustix::fs::fstatvfs(&self.file) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) / MIB;
        if free < least { Err(UploadError::DiskFull { free, least }) } else { Ok(()) }
    }

    /// Writes the next bytes. This blocks.
    ///
    /// # Errors
    ///
    /// [`UploadError`], by the limits and the system.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.claim.add(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        if self.claim.bytes >= self.check_at {
            self.room()?;
            self.check_at = self.claim.bytes.saturating_add(DISK_EVERY);
        }
        self.checksum.update(bytes);
        Ok(self.file.write_all(bytes)?)
    }

    /// Stores the file under its name, or with a number if another file has that name. This blocks.
    ///
    /// # Errors
    ///
    /// [`UploadError`], by the system.
    pub fn finish(mut self) -> Result<Uploaded, UploadError> {
        self.file.sync_all()?;
        let name = self.placed()?;
        let metadata = self.file.metadata()?;
        let key = FileKey::of(&metadata);
        // The folder may have been replaced by a new one while the file was written.
        let there = Tree::open(&self.path)?.stat(OsStr::new(&name))?;
        if there.is_none_or(|stat| FileKey::of_entry(&stat) != key) {
            return Err(UploadError::NoFolder);
        }
        self.claim.state = State::Kept;
        let checksum = std::mem::take(&mut self.checksum).finish();
        if self.is_listed {
            self.record(key, &checksum);
        }
        Ok(Uploaded { path: self.path.join(&name), name, size: metadata.len(), checksum })
    }

    /// Gives the file its name.
    fn placed(&self) -> Result<String, UploadError> {
        for number in 0..MOST_NAMES {
            let name = numbered(&self.name, number);
            match self.folder.rename(&self.part, Path::new(&name)) {
                Ok(()) => return Ok(name),
                Err(cause) if Errno::from_io_error(&cause) == Some(Errno::EXIST) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        Err(UploadError::Failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Remembers the checksum of the file.
    fn record(&self, key: FileKey, checksum: &str) {
        let counts = self.claim.counts.lock(); // Uploads of a session write it in turns.
        let mut ledger = Ledger::read(&self.files.directory.uploaded());
        ledger.note(key, Content { checksum: Some(checksum.to_owned()), artifact: None });
        if ledger.len() > self.files.uploads.settings.max_files.saturating_mul(2) {
            let entries = self.folder.entries().unwrap_or_default();
            let keys: Vec<_> = entries.iter().map(|it| FileKey::of_entry(&it.stat)).collect();
            ledger.compact(|key| keys.contains(&key));
        }
        drop(counts);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.claim.state != State::Kept {
            // A part that cannot be removed now is removed with its folder.
            let _ = self.folder.remove_file(&self.part);
        }
    }
}
