//! Copies of files that others may change, replace or remove at any time.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Settings;
use super::ledger::FileKey;
use crate::domain::checksum::Checksum;
use crate::system::beneath::Tree;
use crate::system::desktop::Directory;

/// The number of attempts to read a file that changes meanwhile.
const TRIES: usize = 3;

/// The bytes that are read at a time.
const PIECE: usize = 256 * 1024;

/// The reason for which a file is not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum CopyError {
    #[error("{reason}")]
    Refused { reason: String },
    #[error("it is not a regular file with a single name")]
    NoFile,
    #[error("the browser reported a file outside of the session's folders")]
    Elsewhere,
    #[error("the file cannot be read: {cause}")]
    Unreadable { cause: String },
    #[error("the file changed while it was read")]
    Changes,
    #[error("the file could not be stored: {cause}")]
    NotWritten { cause: String },
    #[error(
        "{free} MB are free on the disk, and {least} have to stay free (desktop.downloads.min_free_megabytes)"
    )]
    DiskFull { free: u64, least: u64 },
}

/// A copied file, with its size in bytes and its checksum.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) file: PathBuf,
    pub(super) size: u64,
    pub(super) checksum: String,
}

/// Opens a regular file that the browser reports. It must be below a directory of the session's
/// programs. If programs are not confined and `is_anywhere`, a driver's own folder is allowed too.
/// No symbolic link is followed, the file must have one link, and opening does not block on a pipe.
pub(super) fn open(
    path: &Path,
    directory: &Directory,
    is_anywhere: bool,
) -> Result<File, CopyError> {
    let unreadable = |cause: io::Error| {
        let is_link = Errno::from_io_error(&cause) == Some(Errno::LOOP);
        if is_link || cause.kind() == io::ErrorKind::PermissionDenied {
            return CopyError::NoFile;
        }
        CopyError::Unreadable { cause: cause.to_string() }
    };
    let folders = [directory.downloads(), directory.home(), directory.profile()];
    for folder in folders.into_iter().chain([directory.temporary()]) {
        if let Ok(within) = path.strip_prefix(&folder) {
            return Tree::open(&folder).and_then(|tree| tree.file(within)).map_err(unreadable);
        }
    }
    if !is_anywhere {
        return Err(CopyError::Elsewhere);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(CopyError::NoFile);
    };
    // A driver's folder may be reached by links, but must not be in the server's data directory.
    let real = folder.canonicalize().map_err(unreadable)?;
    let data = directory.path().parent().and_then(Path::parent);
    if data.and_then(|data| data.canonicalize().ok()).is_some_and(|data| real.starts_with(data)) {
        return Err(CopyError::Elsewhere);
    }
    Tree::open(&real).and_then(|tree| tree.file(Path::new(name))).map_err(unreadable)
}

fn metadata(file: &File) -> Result<Metadata, CopyError> {
    file.metadata().map_err(|cause| CopyError::Unreadable { cause: cause.to_string() })
}

/// Copies an open file into `folder`. This blocks.
pub(super) fn copy(file: &File, folder: &Path, settings: &Settings) -> Result<Copy, CopyError> {
    room(folder, settings.min_free_megabytes)?;
    let target = folder.join(format!("{:016x}", rand::random::<u64>()));
    for _ in 0..TRIES {
        let before = FileKey::of(&metadata(file)?);
        let copied = copy_once(file, &target, settings);
        let unchanged = FileKey::of(&metadata(file)?) == before;
        match copied {
            Ok(copy) if unchanged => return Ok(copy),
            Ok(_) => {}
            Err(cause) => {
                let _ = fs::remove_file(&target); // A partial file is useless.
                return Err(cause);
            }
        }
    }
    let _ = fs::remove_file(&target);
    Err(CopyError::Changes)
}

fn copy_once(file: &File, target: &Path, settings: &Settings) -> Result<Copy, CopyError> {
    let unreadable = |cause: io::Error| CopyError::Unreadable { cause: cause.to_string() };
    let not_written = |cause: io::Error| CopyError::NotWritten { cause: cause.to_string() };
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(not_written)?;
    }
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut written = options.open(target).map_err(not_written)?;
    let mut source = file;
    io::Seek::rewind(&mut source).map_err(unreadable)?;
    let mut reader = BufReader::with_capacity(PIECE, source);
    let mut checksum = Checksum::default();
    let mut piece = vec![0; PIECE];
    let most = settings.max_megabytes << 20;
    let mut size: u64 = 0;
    loop {
        let count = reader.read(&mut piece).map_err(unreadable)?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if size > most {
            let reason = format!("the file has more than {most} bytes");
            return Err(CopyError::Refused { reason });
        }
        checksum.update(read);
        written.write_all(read).map_err(not_written)?;
    }
    written.sync_all().map_err(not_written)?;
    Ok(Copy { file: target.to_owned(), size, checksum: checksum.finish() })
}

fn room(folder: &Path, least: u64) -> Result<(), CopyError> {
    const MEGABYTE: u64 = 1024 * 1024;
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    // A file system that does not report its free space counts as having enough.
    let Ok(disk) = rustix::fs::statvfs(there) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) / MEGABYTE;
    if free < least { Err(CopyError::DiskFull { free, least }) } else { Ok(()) }
}
