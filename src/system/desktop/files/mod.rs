//! The files of a live session: those that its browser has downloaded, and those that were uploaded
//! for it.
//!
//! Programs of the session own both folders. So [`Tree`] opens each file in one step, and only plain
//! files with one name exist here. `upload` writes files, for clients and for blocks of runs alike.
//! The files of a run are in a folder of the run, and are not listed.

mod archive;
mod settings;
#[cfg(test)]
mod tests;
mod upload;

use upload::is_part;

pub use settings::Settings;
pub use upload::{Upload, UploadError, Uploaded, Uploads};

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::directory::Directory;
use super::downloads::Content;
use super::downloads::ledger::{FileKey, Ledger};
use crate::domain::ids::SessionId;
use crate::domain::shown_name::{named, shown};
use crate::system::beneath::{Entry, Tree, is_plain};

/// The most files of one folder that are listed.
const MOST_LISTED: usize = 1_000;

/// The suffix of the names of downloads in progress.
const INCOMPLETE: &str = ".crdownload";

/// A folder of a session whose files clients reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// The files that the browser has downloaded.
    Downloads,
    /// The files that clients have uploaded.
    Uploads,
}

impl Folder {
    /// Both folders, in the order of lists.
    pub const ALL: [Self; 2] = [Self::Downloads, Self::Uploads];

    /// The name of the folder in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downloads => "downloads",
            Self::Uploads => "uploads",
        }
    }

    /// The folder with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|folder| folder.as_str() == name)
    }
}

/// A file of a session, as it was when its folder was listed.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// The folder that contains it.
    pub folder: Folder,
    /// The name as a text, see [`shown`].
    pub name: String,
    /// The path on the server's machine, which the session's browser reads too.
    pub path: PathBuf,
    /// The size in bytes.
    pub size: u64,
    /// The time of the last change of its content, in seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// False for a download in progress.
    pub is_complete: bool,
    /// The content, as far as it is known.
    pub content: Content,
}

/// The files of one session.
#[derive(Debug, Clone)]
pub struct SessionFiles {
    session: SessionId,
    directory: Directory,
    uploads: Uploads,
}

/// The reason why a file was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// Another file has the name.
    #[error("another file has this name")]
    Taken,
    /// The file does not exist, or the system refused the change.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl SessionFiles {
    pub(super) fn new(session: SessionId, directory: Directory, uploads: Uploads) -> Self {
        Self { session, directory, uploads }
    }

    /// The path of a folder.
    pub fn folder(&self, folder: Folder) -> PathBuf {
        match folder {
            Folder::Downloads => self.directory.downloads(),
            Folder::Uploads => self.directory.uploads(),
        }
    }

    /// Lists the files of both folders by name, at most 1000 of each, of the first 10,000 names that the system
    /// has. A folder that does not exist yet has no files. This blocks.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut files = Vec::new();
        for folder in Folder::ALL {
            let path = self.folder(folder);
            let tree = match Tree::open(&path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            let ledger = Ledger::read(&self.record(folder));
            let mut listed = 0;
            for entry in tree.each()? {
                let entry = entry?;
                if !entry.is_plain() || is_part(&entry.name) {
                    continue;
                }
                files.push(described(folder, &path, entry, &ledger));
                listed += 1;
                if listed >= MOST_LISTED {
                    break;
                }
            }
        }
        Ok(files)
    }

    /// Returns one file as it is now. `name` is the text of a list, or the name itself. This blocks.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn entry(&self, folder: Folder, name: &str) -> io::Result<FileEntry> {
        let path = self.folder(folder);
        let tree = Tree::open(&path)?;
        let name = resolved(&tree, name)?;
        let stat = tree.stat(&name)?.ok_or(io::ErrorKind::NotFound)?;
        let ledger = Ledger::read(&self.record(folder));
        Ok(described(folder, &path, Entry { name, stat }, &ledger))
    }

    /// The record of the contents of a folder's files.
    fn record(&self, folder: Folder) -> PathBuf {
        match folder {
            Folder::Downloads => self.directory.downloaded(),
            Folder::Uploads => self.directory.uploaded(),
        }
    }

    /// Opens a file for reading, and returns its real name. `name` is the text of a list, or the
    /// name itself. This blocks.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no plain file of this name; those of the system.
    pub fn open(&self, folder: Folder, name: &str) -> io::Result<(File, OsString)> {
        let tree = Tree::open(&self.folder(folder))?;
        let name = resolved(&tree, name)?;
        Ok((tree.file(Path::new(&name))?, name))
    }

    /// Returns the path of an uploaded file for the session's browser. This blocks.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn path_of_upload(&self, name: &str) -> io::Result<PathBuf> {
        let (_file, name) = self.open(Folder::Uploads, name)?;
        Ok(self.folder(Folder::Uploads).join(name))
    }

    /// Renames a file within its folder. This blocks.
    ///
    /// # Errors
    ///
    /// [`RenameError::Taken`] if the new name is in use; those of [`open`](Self::open).
    pub fn rename(&self, folder: Folder, name: &str, to: &str) -> Result<(), RenameError> {
        let tree = Tree::open(&self.folder(folder))?;
        let name = resolved(&tree, name)?;
        if name == OsStr::new(to) {
            return Ok(());
        }
        tree.rename(Path::new(&name), Path::new(to)).map_err(|cause| {
            if Errno::from_io_error(&cause) == Some(Errno::EXIST) {
                return RenameError::Taken;
            }
            RenameError::Failed(cause)
        })
    }

    /// Deletes a file, and returns its name as a text. A copy that is stored as an artifact stays.
    /// This blocks.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn delete(&self, folder: Folder, name: &str) -> io::Result<String> {
        let tree = Tree::open(&self.folder(folder))?;
        let name = resolved(&tree, name)?;
        tree.remove_file(Path::new(&name))?;
        Ok(shown(name.as_bytes()))
    }
}

/// Describes an entry of the folder at `path`.
fn described(folder: Folder, path: &Path, entry: Entry, ledger: &Ledger) -> FileEntry {
    let content = ledger.content(FileKey::of_entry(&entry.stat)).cloned();
    FileEntry {
        folder,
        name: shown(entry.name.as_bytes()),
        path: path.join(&entry.name),
        size: u64::try_from(entry.stat.st_size).unwrap_or_default(),
        modified: modified(&entry.stat),
        is_complete: !entry.name.as_bytes().ends_with(INCOMPLETE.as_bytes()),
        content: content.unwrap_or_default(),
    }
}

/// Returns the real name of the plain file that a text names.
fn resolved(tree: &Tree, text: &str) -> io::Result<OsString> {
    for bytes in [named(text), text.as_bytes().to_vec()] {
        let name = OsString::from_vec(bytes);
        if is_component(&name)
            && !is_part(&name)
            && tree.stat(&name)?.is_some_and(|stat| is_plain(&stat))
        {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// True for a name that leads to no other folder.
fn is_component(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..")
        && bytes.len() <= 255
        && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn modified(stat: &Stat) -> (i64, u32) {
    (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default())
}
