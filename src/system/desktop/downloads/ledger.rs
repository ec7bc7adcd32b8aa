//! The record of a session's files that have been stored.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

/// The identity of a file in its complete state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
}

impl FileKey {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let modified = i128::from(metadata.mtime()) * 1_000_000_000;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: modified + i128::from(metadata.mtime_nsec()),
        }
    }

    /// The key of a directory entry.
    pub(super) fn of_entry(stat: &Stat) -> Self {
        let modified = i128::from(stat.st_mtime) * 1_000_000_000;
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: modified + i128::from(stat.st_mtime_nsec),
        }
    }

    pub(super) fn size(self) -> u64 {
        self.size
    }

    fn line(self) -> String {
        format!("{} {} {} {}", self.device, self.inode, self.size, self.modified)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let device = parts.next()?.parse().ok()?;
        let inode = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok()?;
        let modified = parts.next()?.parse().ok()?;
        Some(Self { device, inode, size, modified })
    }
}

/// The files that are stored, one line each in a file; and those that are being copied or stored.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    stored: BTreeSet<FileKey>,
    coming: BTreeSet<FileKey>,
    bytes: u64,
}

impl Ledger {
    /// Reads the ledger in `path`; it is empty if the file does not exist.
    pub(super) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let stored: BTreeSet<FileKey> = text.lines().filter_map(FileKey::parse).collect();
        let bytes = stored.iter().map(|key| key.size).sum();
        Self { path: path.to_owned(), stored, coming: BTreeSet::new(), bytes }
    }

    pub(super) fn knows(&self, key: FileKey) -> bool {
        self.stored.contains(&key) || self.coming.contains(&key)
    }

    /// Adds a file to those being stored. Returns false if it is already known.
    pub(super) fn admit(&mut self, key: FileKey) -> bool {
        !self.stored.contains(&key) && self.coming.insert(key)
    }

    /// Removes a file that will not be kept.
    pub(super) fn forget(&mut self, key: FileKey) {
        self.coming.remove(&key);
    }

    /// Records that a file is stored.
    pub(super) fn note(&mut self, key: FileKey, size: u64) {
        self.coming.remove(&key);
        if !self.stored.insert(key) {
            return;
        }
        self.bytes = self.bytes.saturating_add(size);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&self.path);
        let noted = file.and_then(|mut file| writeln!(file, "{}", key.line()));
        if let Err(cause) = noted {
            tracing::warn!(error = %cause, "a stored download is not on record");
        }
    }

    /// The number of files, stored or coming, and their total bytes.
    pub(super) fn totals(&self) -> (usize, u64) {
        let coming: u64 = self.coming.iter().map(|key| key.size).sum();
        (self.stored.len() + self.coming.len(), self.bytes.saturating_add(coming))
    }
}
