//! Objects that are files below a directory. Everything here blocks.
//!
//! The library's store of local files is not used: it cannot move a file in, it follows symbolic
//! links, and it refuses names that end in `#1`, which downloads may have.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::object::{ObjectInfo, Transfer};

/// The last parts of the name of a file that is being written, around a number. After a crash it stays,
/// and counts as an object without a row.
const PARTIAL: [&str; 2] = [".greenroom-", ".part"];

/// A directory whose files are objects; the paths of the files are their keys.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of an object's file, whether or not it exists.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Stores a regular file, whole or not at all. A moved file is gone afterwards.
    pub(super) fn put_file(
        &self,
        key: &str,
        source: &Path,
        transfer: Transfer,
    ) -> Result<u64, PutError> {
        let mut file = open_plain(source).map_err(PutError::Source)?;
        let size = file.metadata().map_err(PutError::Source)?.len();
        let target = self.path(key);
        let folder = parent(&target);
        fs::create_dir_all(folder).map_err(PutError::Store)?;
        match transfer {
            Transfer::Move => {
                file.sync_all().map_err(PutError::Store)?;
                match fs::rename(source, &target) {
                    Ok(()) => sync_folder(folder).map_err(PutError::Store)?,
                    // Another file system.
                    Err(cause) if cause.kind() == io::ErrorKind::CrossesDevices => {
                        write_beside(&target, |to| copy(&mut file, to, size))?;
                        fs::remove_file(source).map_err(PutError::Source)?;
                    }
                    Err(cause) => return Err(PutError::Store(cause)),
                }
            }
            Transfer::Copy => write_beside(&target, |to| copy(&mut file, to, size))?,
        }
        Ok(size)
    }

    /// Stores bytes, whole or not at all.
    pub(super) fn put_bytes(&self, key: &str, bytes: &[u8]) -> Result<(), PutError> {
        let target = self.path(key);
        fs::create_dir_all(parent(&target)).map_err(PutError::Store)?;
        write_beside(&target, |to| to.write_all(bytes).map_err(PutError::Store))
    }

    pub(super) fn open(&self, key: &str) -> io::Result<(File, ObjectInfo)> {
        let file = open_plain(&self.path(key))?;
        let info = info(key.to_owned(), &file.metadata()?);
        Ok((file, info))
    }

    /// Removes an object. A missing one is no error.
    pub(super) fn delete(&self, key: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.path(key)))
    }

    /// The state of an object's file; none if there is no such file.
    pub(super) fn version(&self, key: &str) -> io::Result<Option<FileVersion>> {
        match fs::symlink_metadata(self.path(key)) {
            Ok(it) => Ok(Some(FileVersion {
                device: it.dev(),
                inode: it.ino(),
                changed: (it.ctime(), it.ctime_nsec()),
            })),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Removes all objects below a prefix.
    pub(super) fn delete_prefix(&self, prefix: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(self.path(prefix)))
    }

    /// The objects below a prefix, in no order.
    pub(super) fn list(&self, prefix: &str) -> io::Result<Vec<ObjectInfo>> {
        let mut found = Vec::new();
        let mut folders = vec![(self.path(prefix), prefix.to_owned())];
        while let Some((folder, key)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(cause),
            };
            for entry in entries {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let key = format!("{key}/{name}");
                // The kind of the entry itself: links are neither followed nor objects.
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => folders.push((entry.path(), key)),
                    Ok(metadata) if metadata.is_file() => found.push(info(key, &metadata)),
                    Ok(_) => {}
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                    Err(cause) => return Err(cause),
                }
            }
        }
        Ok(found)
    }
}

/// The state of a file, which differs once another file has taken its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileVersion {
    device: u64,
    inode: u64,
    /// The time of the last change, in seconds and nanoseconds.
    changed: (i64, i64),
}

/// The side on which a transfer failed.
#[derive(Debug)]
pub(super) enum PutError {
    Source(io::Error),
    Store(io::Error),
}

/// Opens a regular file, and no link.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Writes a file beside its final place, makes it durable, and renames it.
pub(super) fn write_beside(
    target: &Path,
    write: impl FnOnce(&mut File) -> Result<(), PutError>,
) -> Result<(), PutError> {
    let partial = Partial::of(target);
    let mut file = File::create(partial.path()).map_err(PutError::Store)?;
    write(&mut file)?;
    file.sync_all().map_err(PutError::Store)?;
    fs::rename(partial.path(), target).map_err(PutError::Store)?;
    sync_folder(parent(target)).map_err(PutError::Store)
}

/// The path at which one writer writes a file before it is complete. On drop the file is removed,
/// unless it was renamed.
#[derive(Debug)]
pub(super) struct Partial(PathBuf);

impl Partial {
    pub(super) fn of(target: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [begin, end] = PARTIAL;
        let mut name = target.as_os_str().to_owned();
        name.push(format!("{begin}{}-{number}{end}", process::id()));
        Self(PathBuf::from(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// True for the key of a file that a writer has not completed.
    pub(super) fn is_named_by(key: &str) -> bool {
        let [begin, end] = PARTIAL;
        let digits = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        };
        key.strip_suffix(end)
            .and_then(|rest| rest.rsplit_once(begin))
            .is_some_and(|(_, number)| digits(number))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // It is gone after a success.
    }
}

/// Makes renames within a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Copies a file that must not change its length meanwhile.
fn copy(from: &mut File, to: &mut File, size: u64) -> Result<(), PutError> {
    const PIECE: usize = 256 * 1024;
    let mut buffer = vec![0; PIECE];
    let mut copied = 0_u64;
    loop {
        let length = from.read(&mut buffer).map_err(PutError::Source)?;
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { break };
        to.write_all(piece).map_err(PutError::Store)?;
        copied = copied.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
    if copied != size {
        let cause = io::Error::other("its length changed while it was copied");
        return Err(PutError::Source(cause));
    }
    Ok(())
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => removed,
    }
}

fn info(key: String, metadata: &fs::Metadata) -> ObjectInfo {
    // The time of the rename into its place, which does not change the time of modification.
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    let stored = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    ObjectInfo { key, size: metadata.len(), stored }
}
