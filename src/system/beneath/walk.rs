//! Listings of files that untrusted programs wrote.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, DirEntry, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Tree;

/// The deepest nesting that is walked, because each level holds a descriptor.
const DEEPEST: usize = 128;

/// The most names of a directory that are listed: a program can fill one with millions.
pub const MOST_NAMES: usize = 10_000;

/// An entry of a directory, as it was when the directory was listed.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: OsString,
    /// The metadata; for a symbolic link, that of the link itself.
    pub stat: Stat,
}

impl Entry {
    /// True for a regular file with one link. Only such a file can be [opened](Tree::file).
    pub fn is_plain(&self) -> bool {
        is_plain(&self.stat)
    }
}

/// True for a regular file with one link.
pub fn is_plain(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

/// An entry that [`Tree::walk`] visits. The descriptor refers to the entry itself and is opened
/// with `O_PATH`, so it gives no access to the content.
#[derive(Debug)]
pub struct Walk<'a> {
    /// The path relative to the directory that is walked.
    pub path: &'a Path,
    /// The entry itself; for a symbolic link, the link.
    pub descriptor: BorrowedFd<'a>,
}

impl Tree {
    /// The entries of this directory, sorted by name, of which up to [`MOST_NAMES`] are read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        self.each()?.collect()
    }

    /// The same entries, whose metadata is read one by one.
    pub fn each(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        let entry = |name: OsString| {
            let stat = self.stat(&name).transpose()?;
            Some(stat.map(|stat| Entry { name, stat }))
        };
        Ok(self.names()?.into_iter().filter_map(entry))
    }

    /// The paths of all regular files with one link in this directory and below.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        self.walk(&mut |entry: Walk<'_>| {
            if is_plain(&rustix::fs::fstat(entry.descriptor)?) {
                files.push(entry.path.to_owned());
            }
            Ok(())
        })?;
        Ok(files)
    }

    /// Calls `visit` for every entry below this directory. A directory comes after its content.
    /// Entries that disappear meanwhile are skipped.
    pub fn walk(&self, visit: &mut dyn FnMut(Walk<'_>) -> io::Result<()>) -> io::Result<()> {
        self.walk_in(Path::new(""), DEEPEST, visit)
    }

    fn walk_in(
        &self,
        place: &Path,
        depth: usize,
        visit: &mut dyn FnMut(Walk<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        // Not as a list: the directory may have any number of entries.
        for name in self.all_names()? {
            let name = name?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = match rustix::fs::openat(self.as_fd(), &name, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                opened => opened?,
            };
            let path = place.join(&name);
            let stat = rustix::fs::fstat(&entry)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let Some(left) = depth.checked_sub(1) else {
                    return Err(super::named(io::ErrorKind::InvalidData, &path, "is too deep"));
                };
                // Opened through its own descriptor, because the name may refer to another entry by now.
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
                let descriptor = rustix::fs::openat(&entry, ".", flags, Mode::empty())?;
                let folder = Tree { descriptor, owner: self.owner };
                folder.walk_in(&path, left, visit)?;
            }
            visit(Walk { path: &path, descriptor: entry.as_fd() })?;
        }
        Ok(())
    }

    /// The names in this directory, sorted, of which up to [`MOST_NAMES`] are read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = self.all_names()?.take(MOST_NAMES).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// The names in this directory, as they are read.
    fn all_names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        // A separate open file description, because duplicates share their position.
        let listing = rustix::fs::openat(self.as_fd(), ".", flags, Mode::empty())?;
        let name = |entry: Result<DirEntry, Errno>| match entry {
            Ok(entry) => {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                (name != "." && name != "..").then(|| Ok(name.to_owned()))
            }
            Err(cause) => Some(Err(cause.into())),
        };
        Ok(Dir::new(listing)?.filter_map(name))
    }

    /// The metadata of an entry, itself if it is a symbolic link; none if there is no such entry.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        let itself = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(self.as_fd(), name, itself) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }
}
