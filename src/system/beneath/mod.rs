//! Access to files that programs wrote, beneath one directory, whatever they put there.
//!
//! A program of a session owns its directories: it can replace any file by a link, a pipe or a second
//! name of another file, at any moment. So each path is resolved by the kernel in one step
//! (`openat2`), no symbolic link is followed anywhere in it, and what is opened is looked at by its
//! descriptor: a plain file with one name. Opening never waits, not even for a pipe.

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

pub use walk::{Entry, Walk};

use super::confine::spec::User;

/// How often a path is tried again that changes while it is resolved.
const TRIES: u32 = 32;

/// A directory whose content belongs to a program. It stays the same one when its name is given to
/// another.
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
    /// Opens a directory whose parents belong to the server; its own name may not be a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self { descriptor: rustix::fs::open(path, flags, Mode::empty())?, owner: None })
    }

    /// The same, in which what is made belongs to this user, and not to the server's.
    #[must_use]
    pub fn owned_by(self, owner: Option<User>) -> Self {
        Self { owner, ..self }
    }

    fn hand_over(&self, made: impl AsFd) -> io::Result<()> {
        let Some(User { uid, gid }) = self.owner else { return Ok(()) };
        Ok(rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
    }

    /// The number of the user that the directory belongs to.
    pub fn user(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.descriptor)?.st_uid)
    }

    /// Opens a directory below this one.
    pub fn folder(&self, path: &Path) -> io::Result<Self> {
        let descriptor = self.resolve(path, OFlags::DIRECTORY | OFlags::RDONLY, 0)?;
        Ok(Self { descriptor, owner: self.owner })
    }

    /// Opens a plain file for reading.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        plain(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?, path)
    }

    /// Reads a plain file whole, if it is not larger than `limit`.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
            return Err(named(io::ErrorKind::FileTooLarge, path, "is too large"));
        }
        Ok(bytes)
    }

    /// Makes a file that must not be there yet, readable for its owner only.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.resolve(path, flags, 0o600)?;
        self.hand_over(&file)?;
        Ok(file.into())
    }

    /// Replaces a file whole. A link of that name is replaced, not followed.
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

    /// Makes a directory, for its owner only, and opens it; one that is there is opened.
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

    /// Gives a file or directory another name beneath this directory, which must be free. A link is
    /// moved itself.
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

    /// Removes a file of any type, if there is one; of a link, the link.
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

    /// The directory that `path` is in, and its name there.
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
                // A rename went on elsewhere, and the kernel could not be sure.
                Err(Errno::AGAIN) => (),
                Err(cause) => return Err(cause.into()),
                Ok(opened) => return Ok(opened),
            }
        }
        Err(named(io::ErrorKind::ResourceBusy, path, "changes all the time"))
    }
}

/// Passes a plain file with one name.
fn plain(opened: OwnedFd, path: &Path) -> io::Result<File> {
    let stat = rustix::fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(named(io::ErrorKind::PermissionDenied, path, "is no plain file"));
    }
    if stat.st_nlink > 1 {
        return Err(named(io::ErrorKind::PermissionDenied, path, "has a second name"));
    }
    Ok(opened.into())
}

fn named(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{} {what}", path.display()))
}
