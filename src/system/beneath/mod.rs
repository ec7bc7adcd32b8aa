//! Safe access to files that untrusted programs wrote, beneath one directory.
//!
//! A program of a session owns its directories. At any moment it can replace a file by a symbolic
//! link, a pipe or a hard link to another file. Therefore the kernel resolves each path in one step
//! (`openat2`) and follows no symbolic link. The opened file is checked by its descriptor: it must
//! be a regular file with one link. Opening never blocks, not even on a pipe.

mod remove;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid};
use rustix::io::Errno;

pub use walk::{Entry, MOST_NAMES, Walk, is_plain};

use super::confine::spec::User;

/// The number of attempts to resolve a path that changes meanwhile.
const TRIES: u32 = 32;

/// A directory whose content belongs to a program. The handle stays valid when the directory is
/// renamed or its name is reused.
#[derive(Debug)]
pub struct Tree {
    descriptor: OwnedFd,
    owner: Option<User>,
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Tree {
    /// Opens a directory whose parents belong to the server. Its own name must not be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self { descriptor: rustix::fs::open(path, flags, Mode::empty())?, owner: None })
    }

    /// Returns the same directory, in which new files belong to `owner` instead of the server's user.
    #[must_use]
    pub fn owned_by(self, owner: Option<User>) -> Self {
        Self { owner, ..self }
    }

    fn hand_over(&self, made: impl AsFd) -> io::Result<()> {
        let Some(User { uid, gid }) = self.owner else { return Ok(()) };
        Ok(rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
    }

    /// The uid of the directory's owner.
    pub fn user(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.descriptor)?.st_uid)
    }

    /// Opens a directory below this one.
    pub fn folder(&self, path: &Path) -> io::Result<Self> {
        let descriptor = self.resolve(path, OFlags::DIRECTORY | OFlags::RDONLY, 0)?;
        Ok(Self { descriptor, owner: self.owner })
    }

    /// Opens a regular file for reading.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        plain(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?, path)
    }

    /// Reads a whole regular file of at most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
            return Err(named(io::ErrorKind::FileTooLarge, path, "is too large"));
        }
        Ok(bytes)
    }

    /// Creates a file that must not exist yet, readable for its owner only.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.resolve(path, flags, 0o600)?;
        self.hand_over(&file)?;
        Ok(file.into())
    }

    /// Replaces a file atomically. A symbolic link of that name is replaced, not followed.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        let part = PathBuf::from(format!("{}.part", name.display()));
        folder.remove_file(&part)?;
        let mut file = folder.create(&part)?;
        file.write_all(bytes)?;
        rustix::fs::renameat(&folder.descriptor, &part, &folder.descriptor, &name)?;
        Ok(())
    }

    /// Writes over the beginning of a plain file. It stays the same file, with its owner and with the rules that
    /// name it.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        plain(self.resolve(path, flags, 0)?, path)?.write_all(bytes)
    }

    /// Creates a directory, for its owner only, and opens it. An existing directory is opened.
    pub fn make_folder(&self, path: &Path) -> io::Result<Self> {
        let (folder, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&folder.descriptor, &name, Mode::RWXU) {
            Ok(()) => {
                let made = folder.folder(&name)?;
                self.hand_over(&made)?;
                Ok(made)
            }
            Err(Errno::EXIST) => folder.folder(&name),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Renames a file or directory beneath this directory. The new name must be free. A symbolic
    /// link itself is moved.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_folder, old) = self.parent(from)?;
        let (new_folder, new) = self.parent(to)?;
        let free = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(
            &old_folder.descriptor,
            &old,
            &new_folder.descriptor,
            &new,
            free,
        )?;
        Ok(())
    }

    /// Removes a file of any type, if it exists. Of a symbolic link, the link is removed.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = match self.parent(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        match rustix::fs::unlinkat(&folder.descriptor, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// The directory that contains `path`, and the last component of `path`.
    fn parent(&self, path: &Path) -> io::Result<(Self, PathBuf)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(named(io::ErrorKind::InvalidInput, path, "names no file"));
        };
        let here = parent.as_os_str().is_empty();
        let folder = self.folder(if here { Path::new(".") } else { parent })?;
        Ok((folder, name.into()))
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.descriptor, path, flags, Mode::from_raw_mode(mode), how)
            {
                // A concurrent rename kept the kernel from resolving the path reliably.
                Err(Errno::AGAIN) => (),
                Err(cause) => return Err(cause.into()),
                Ok(opened) => return Ok(opened),
            }
        }
        Err(named(io::ErrorKind::ResourceBusy, path, "changes continuously"))
    }
}

/// Accepts only a regular file with one link.
fn plain(opened: OwnedFd, path: &Path) -> io::Result<File> {
    let stat = rustix::fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(named(io::ErrorKind::PermissionDenied, path, "is not a plain file"));
    }
    if stat.st_nlink > 1 {
        return Err(named(io::ErrorKind::PermissionDenied, path, "has a second link"));
    }
    Ok(opened.into())
}

fn named(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{} {what}", path.display()))
}
