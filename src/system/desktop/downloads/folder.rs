//! The complete files in a session's own folder for downloads.

use std::io;
use std::path::{Path, PathBuf};

use super::ledger::{FileKey, Ledger};
use crate::system::beneath::Tree;

/// The most unrecorded files that one scan of the folder collects.
const MOST_FOUND: usize = 1_000;

/// True if the session's folder has complete files that are neither stored nor refused.
///
/// `stored` is the path of the record of stored downloads.
pub(in crate::system::desktop) fn any_left(folder: &Path, stored: &Path) -> bool {
    let ledger = Ledger::read(stored);
    let found = complete_in(folder).unwrap_or_default();
    found.iter().any(|(_, key)| !ledger.knows(*key))
}

/// False for the name of a file that the browser is still writing.
pub(super) fn is_complete(name: &str) -> bool {
    !name.ends_with(".crdownload") && !name.starts_with('.')
}

/// The complete regular files with one link in a folder, except those that are still being written.
pub(super) fn complete_in(folder: &Path) -> io::Result<Vec<(PathBuf, FileKey)>> {
    let mut found = Vec::new();
    for entry in Tree::open(folder)?.each()? {
        if found.len() >= MOST_FOUND {
            break;
        }
        let entry = entry?;
        if entry.is_plain() && is_complete(&entry.name.to_string_lossy()) {
            found.push((folder.join(&entry.name), FileKey::of_entry(&entry.stat)));
        }
    }
    Ok(found)
}
