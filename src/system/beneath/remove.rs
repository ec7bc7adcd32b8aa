//! Removal of files that programs wrote.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{MOST_NAMES, Tree};

/// The number of attempts to empty a directory that a living program refills meanwhile.
const ROUNDS: u32 = 8;

impl Tree {
    /// Removes a directory whose parents belong to the server, with its content. No symbolic link
    /// is followed. A missing directory is no error.
    pub fn remove_all(path: &Path) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(super::named(io::ErrorKind::InvalidInput, path, "names no directory"));
        };
        match Self::open(parent) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened?.remove(name),
        }
    }

    /// Removes an entry of this directory of any type, if it exists. Works iteratively and not by
    /// recursion: a program can nest directories deeper than this process has stack or descriptors.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(self.as_fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => (),
            Err(cause) => return Err(cause.into()),
        }
        for _ in 0..ROUNDS {
            let folder = match self.opened(name) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => return Ok(()),
                // The entry was replaced by something else meanwhile.
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    rustix::fs::unlinkat(self.as_fd(), name, AtFlags::empty())?;
                    return Ok(());
                }
                Err(cause) => return Err(cause.into()),
            };
            self.empty(folder)?;
            match rustix::fs::unlinkat(self.as_fd(), name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY) => (),
                Err(cause) => return Err(cause.into()),
            }
        }
        Err(super::named(io::ErrorKind::DirectoryNotEmpty, Path::new(name), "is filled anew"))
    }

    /// Empties a directory. Nested directories are moved up one level until none contains another.
    fn empty(&self, folder: Self) -> io::Result<()> {
        let mut serial = 0_u64;
        loop {
            let names = folder.names()?;
            let mut is_empty = names.len() < MOST_NAMES; // Else there may be more.
            for name in names {
                match rustix::fs::unlinkat(folder.as_fd(), &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR | Errno::PERM) => (),
                    Err(cause) => return Err(cause.into()),
                }
                match rustix::fs::unlinkat(folder.as_fd(), &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::NOTEMPTY) => is_empty = false,
                    Err(cause) => return Err(cause.into()),
                }
                let inner = folder.opened(&name)?;
                for below in inner.names()? {
                    match rustix::fs::unlinkat(inner.as_fd(), &below, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => continue,
                        Err(Errno::ISDIR | Errno::PERM) => (),
                        Err(cause) => return Err(cause.into()),
                    }
                    serial = serial.saturating_add(1);
                    let up = format!(".removed-{}-{serial}", std::process::id());
                    rustix::fs::renameat(inner.as_fd(), &below, folder.as_fd(), &up)?;
                }
            }
            if is_empty {
                return Ok(());
            }
        }
    }

    /// Opens a directory to empty it, even if its mode forbids that. A program that runs as the
    /// server's user could protect its directories that way.
    fn opened(&self, name: &OsStr) -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let itself = rustix::fs::openat(self.as_fd(), name, flags | OFlags::PATH, Mode::empty())?;
        let mode = rustix::fs::fstat(&itself)?.st_mode;
        if mode & 0o700 != 0o700 {
            let descriptor = format!("/proc/self/fd/{}", itself.as_raw_fd());
            rustix::fs::chmod(descriptor, Mode::RWXU)?;
        }
        let descriptor = rustix::fs::openat(&itself, ".", flags, Mode::empty())?;
        Ok(Self { descriptor, owner: self.owner })
    }
}
