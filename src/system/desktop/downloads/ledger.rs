//! The record of a session's files that have been stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use crate::domain::ids::ArtifactId;

/// The identity of a file in its complete state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::system::desktop) struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
}

impl FileKey {
    pub(in crate::system::desktop) fn of(metadata: &Metadata) -> Self {
        let modified = i128::from(metadata.mtime()) * 1_000_000_000;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: modified + i128::from(metadata.mtime_nsec()),
        }
    }

    /// The key of a directory entry.
    pub(in crate::system::desktop) fn of_entry(stat: &Stat) -> Self {
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

    fn parse<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let device = parts.next()?.parse().ok()?;
        let inode = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok()?;
        let modified = parts.next()?.parse().ok()?;
        Some(Self { device, inode, size, modified })
    }
}

/// The content of a file on record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The hash of the content, unless an older server has recorded the file.
    pub checksum: Option<String>,
    /// The artifact that has the content, if it is stored as one.
    pub artifact: Option<ArtifactId>,
}

impl Content {
    fn line(&self) -> String {
        let checksum = self.checksum.as_deref().unwrap_or("-");
        let artifact = self.artifact.map_or_else(|| "-".to_owned(), |id| id.to_string());
        format!("{checksum} {artifact}")
    }

    fn parse<'a>(mut parts: impl Iterator<Item = &'a str>) -> Self {
        let checksum = parts.next().filter(|text| *text != "-").map(str::to_owned);
        Self { checksum, artifact: parts.next().and_then(|text| text.parse().ok()) }
    }
}

/// The files that are stored, one line each in a file; and those that are being copied or stored.
#[derive(Debug)]
pub(in crate::system::desktop) struct Ledger {
    path: PathBuf,
    stored: BTreeMap<FileKey, Content>,
    coming: BTreeSet<FileKey>,
    bytes: u64,
}

impl Ledger {
    /// Reads the ledger in `path`; it is empty if the file does not exist.
    pub(in crate::system::desktop) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let entry = |line: &str| {
            let mut parts = line.split(' ');
            Some((FileKey::parse(&mut parts)?, Content::parse(&mut parts)))
        };
        let stored: BTreeMap<FileKey, Content> = text.lines().filter_map(entry).collect();
        let bytes = stored.keys().map(|key| key.size).sum();
        Self { path: path.to_owned(), stored, coming: BTreeSet::new(), bytes }
    }

    pub(super) fn knows(&self, key: FileKey) -> bool {
        self.stored.contains_key(&key) || self.coming.contains(&key)
    }

    /// The content of a file; none if it is not stored.
    pub(in crate::system::desktop) fn content(&self, key: FileKey) -> Option<&Content> {
        self.stored.get(&key)
    }

    /// The number of files on record.
    pub(in crate::system::desktop) fn len(&self) -> usize {
        self.stored.len()
    }

    /// Adds a file to those being stored. Returns false if it is already known.
    pub(super) fn admit(&mut self, key: FileKey) -> bool {
        !self.stored.contains_key(&key) && self.coming.insert(key)
    }

    /// Removes a file that will not be kept.
    pub(super) fn forget(&mut self, key: FileKey) {
        self.coming.remove(&key);
    }

    /// Records that a file is stored.
    pub(in crate::system::desktop) fn note(&mut self, key: FileKey, content: Content) {
        self.coming.remove(&key);
        if self.stored.contains_key(&key) {
            return;
        }
        self.bytes = self.bytes.saturating_add(key.size);
        let line = format!("{} {}", key.line(), content.line());
        self.stored.insert(key, content);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&self.path);
        let noted = file.and_then(|mut file| writeln!(file, "{line}"));
        if let Err(cause) = noted {
            tracing::warn!(error = %cause, "a stored file is not on record");
        }
    }

    /// Removes the record, and adds the files again that still exist.
    pub(in crate::system::desktop) fn compact(&mut self, exists: impl Fn(FileKey) -> bool) {
        let stored = std::mem::take(&mut self.stored);
        let _ = fs::remove_file(&self.path); // It may not exist.
        self.bytes = 0;
        for (key, content) in stored.into_iter().filter(|(key, _)| exists(*key)) {
            self.note(key, content);
        }
    }

    /// The number of files, stored or coming, and their total bytes.
    pub(super) fn totals(&self) -> (usize, u64) {
        let coming: u64 = self.coming.iter().map(|key| key.size).sum();
        (self.stored.len() + self.coming.len(), self.bytes.saturating_add(coming))
    }
}
