//! The file of an SQLite database, and the check that it is still the one at its path.
//!
//! SQLite continues with a file that was removed or replaced: it acknowledges writes that are lost
//! when the last connection closes. Therefore each write checks the file first.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::error::{DbError, Outage};

/// A file that was opened.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl File {
    /// Creates the value for the opened file at `path` with this metadata.
    pub(super) fn new(path: PathBuf, known: &Metadata) -> Self {
        Self { path, device: known.dev(), inode: known.ino() }
    }

    /// Checks that the path names the file that was opened.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if the path names another file, or none.
    pub(super) fn check(&self) -> Result<(), DbError> {
        let path = self.path.display();
        let cause = match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => return Ok(()),
            Ok(_) => format!("{path} was replaced while the server runs: restart it"),
            Err(cause) => format!("{path} was removed while the server runs: {cause}"),
        };
        Err(DbError::Unavailable(Outage::new(cause)))
    }
}
