//! The file of an SQLite database, and whether it is still the one at its path.
//!
//! SQLite goes on with a file that was removed or replaced: what it stores there is acknowledged, and
//! gone with the last connection. So each write looks first.

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
    /// The file at `path`, of which this is known.
    pub(super) fn new(path: PathBuf, known: &Metadata) -> Self {
        Self { path, device: known.dev(), inode: known.ino() }
    }

    /// Checks that the path names the file that was opened.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] when it names another one, or none.
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
