//! The complete files in a session's own folder for downloads.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use super::ledger::{FileKey, Ledger};
use crate::system::beneath::Tree;

/// The most unrecorded files that one scan of the folder collects.
const MOST_FOUND: usize = 1_000;

/// True if the session's folder has complete files that are neither stored nor refused.
///
/// `stored` is the path of the record of stored downloads.
pub(in crate::system::desktop) fn any_left(folder: &Path, stored: &Path) -> bool {
    let ledger = Ledger::read(stored);
    let found = complete_in(folder, Duration::ZERO).unwrap_or_default();
    found.iter().any(|(_, key)| !ledger.knows(*key))
}

/// False for the name of a file that the browser is still writing.
pub(super) fn is_complete(name: &str) -> bool {
    !name.ends_with(".crdownload") && !name.starts_with('.')
}

/// The complete regular files with one link in a folder, except those that are still being written
/// and those that have changed within the time `unchanged`.
pub(super) fn complete_in(
    folder: &Path,
    unchanged: Duration,
) -> io::Result<Vec<(PathBuf, FileKey)>> {
    let mut found = Vec::new();
    for entry in Tree::open(folder)?.each()? {
        if found.len() >= MOST_FOUND {
            break;
        }
        let entry = entry?;
        let is_complete = entry.is_plain() && is_complete(&entry.name.to_string_lossy());
        if is_complete && age(&entry.stat) >= unchanged {
            found.push((folder.join(&entry.name), FileKey::of_entry(&entry.stat)));
        }
    }
    Ok(found)
}

/// The time since a file was last changed or renamed.
pub(super) fn age(stat: &Stat) -> Duration {
    let seconds = u64::try_from(stat.st_ctime).unwrap_or_default();
    let nanoseconds = u32::try_from(stat.st_ctime_nsec).unwrap_or_default();
    let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    SystemTime::now().duration_since(changed).unwrap_or_default()
}
