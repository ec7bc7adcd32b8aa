//! Packing of a profile into an archive.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use tar::{EntryType, Header};
use zstd::stream::write::Encoder;

use super::left_out::is_left_out;
use super::manifest::{BrowserVersion, FORMAT, Manifest};
use super::reading::{Entries, Entry};
use super::refusal::UnpackError;
use super::{
    BLOCK, BUFFER, Excess, LARGEST_EXTRA, LARGEST_EXTRAS, Limits, MANIFEST, MOST_EXTRAS, OURS,
    PROFILE, is_extra_name, padding, shown,
};
use crate::domain::checksum::Checksum;
use crate::system::beneath::Tree;

/// The level of compression. A running browser stands still meanwhile: the default of zstd, 3, takes three
/// times as long and saves 7 percent.
const LEVEL: i32 = 1;

/// The file in which Chromium records its version at each start.
const LAST_VERSION: &str = "Last Version";

/// The most bytes of [`LAST_VERSION`].
const LONGEST_VERSION: u64 = 64;

/// The number of skipped entries that are named.
const NAMED: usize = 10;

/// The values of a manifest that the profile does not have.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// The present time, in printable ASCII.
    pub created_at: &'a str,
    /// The version of the browser, for a profile that does not record it.
    pub browser_version: Option<BrowserVersion>,
}

/// An archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The size of the archive.
    pub bytes: u64,
    /// The SHA-256 hash of the archive, in hexadecimal digits.
    pub sha256: String,
    /// The number of files of the profile.
    pub files: u64,
    /// The size of these files together.
    pub unpacked_bytes: u64,
    /// The browser that last wrote the profile, if known.
    pub browser_version: Option<BrowserVersion>,
    /// The number of entries that were skipped because they are no plain files or folders of the
    /// session's user, or cannot be opened.
    pub skipped: u64,
    /// The paths of the first skipped entries, escaped.
    pub skipped_names: Vec<String>,
    /// The number of files that were written to while they were read.
    pub changed: u64,
}

/// The reason for which no archive was written. The file has an unusable part of one.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The profile exceeds a limit.
    #[error("the profile is too large to store: it has {0}")]
    TooLarge(Excess),
    /// The caller's extras break the rules of the format.
    #[error("{name} cannot be stored with a profile: {what}")]
    BadExtra {
        /// The name of the extra, escaped.
        name: String,
        /// The rule that it breaks.
        what: &'static str,
    },
    /// A file of the profile could not be read.
    #[error("the profile could not be read: {path}")]
    NotRead {
        /// The path in the profile, escaped.
        path: String,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
    /// The archive could not be written.
    #[error("the profile's archive could not be written")]
    NotWritten(#[source] io::Error),
}

/// Packs a user data directory, which a hostile program may own and write to meanwhile. The archive
/// is appended to `into`; the caller syncs the file. Extras are stored beside the profile.
///
/// A file that grows meanwhile is cut at the size that it had when it was opened. A file that shrinks
/// is filled up with zero bytes. A file that disappears is left out.
///
/// # Errors
///
/// Fails if the profile is too large or cannot be read, or if the archive cannot be written. Then
/// the file contains a part of an archive.
pub fn pack(
    profile: &Path,
    meta: &Meta<'_>,
    extras: &[(&str, &[u8])],
    into: &mut File,
) -> Result<Packed, PackError> {
    pack_within(Limits::default(), profile, meta, extras, into)
}

/// Packs a user data directory as [`pack()`] does, unless another thread sets `stop` meanwhile.
///
/// # Errors
///
/// As [`pack()`]; [`PackError::NotWritten`] soon after `stop` was set.
pub fn pack_unless(
    stop: &AtomicBool,
    profile: &Path,
    meta: &Meta<'_>,
    extras: &[(&str, &[u8])],
    into: &mut File,
) -> Result<Packed, PackError> {
    pack_while(Some(stop), Limits::default(), profile, meta, extras, into)
}

/// Packs a user data directory within other limits.
pub(super) fn pack_within(
    limits: Limits,
    profile: &Path,
    meta: &Meta<'_>,
    extras: &[(&str, &[u8])],
    into: &mut File,
) -> Result<Packed, PackError> {
    pack_while(None, limits, profile, meta, extras, into)
}

fn pack_while(
    stop: Option<&AtomicBool>,
    limits: Limits,
    profile: &Path,
    meta: &Meta<'_>,
    extras: &[(&str, &[u8])],
    into: &mut File,
) -> Result<Packed, PackError> {
    let extras = sorted(extras)?;
    let unread = |cause| PackError::NotRead { path: shown(profile.as_os_str().as_bytes()), cause };
    let tree = Tree::open(profile).map_err(unread)?;
    let owner = tree.user().map_err(unread)?;
    let browser_version = recorded_version(&tree).or(meta.browser_version);
    let manifest = Manifest {
        format: FORMAT,
        browser_version,
        created_at: meta.created_at.to_owned(),
        extras: extras.iter().map(|(name, _)| (*name).to_owned()).collect(),
    };
    let mut packing = Packing::begin(limits, owner, &manifest, &extras, into)?;
    packing.stop = stop;
    packing.walk(&tree, b"", 1)?;
    packing.finish(browser_version)
}

pub(super) fn not_written(cause: io::Error) -> PackError {
    PackError::NotWritten(cause)
}

/// The extras, sorted by name, if they keep to the rules.
pub(super) fn sorted<'a>(
    extras: &[(&'a str, &'a [u8])],
) -> Result<Vec<(&'a str, &'a [u8])>, PackError> {
    let mut extras = extras.to_vec();
    extras.sort_unstable_by_key(|(name, _)| *name);
    let refused =
        |name: &str, what| Err(PackError::BadExtra { name: shown(name.as_bytes()), what });
    let (mut former, mut total) = ("", 0_u64);
    for (name, bytes) in &extras {
        let size = length(bytes.len());
        total = total.saturating_add(size);
        if !is_extra_name(name) {
            return refused(name, "a name has at most 64 characters a-z, 0-9, '.', '_' and '-'");
        }
        if *name == former {
            return refused(name, "there are two of this name");
        }
        if size > LARGEST_EXTRA || total > LARGEST_EXTRAS {
            return refused(name, "the limit is 64 MiB, and 128 MiB for all");
        }
        former = name;
    }
    match extras.get(MOST_EXTRAS) {
        Some((name, _)) => refused(name, "the limit is 16 extras"),
        None => Ok(extras),
    }
}

/// The version that the browser recorded in its profile.
fn recorded_version(tree: &Tree) -> Option<BrowserVersion> {
    let bytes = tree.read(Path::new(LAST_VERSION), LONGEST_VERSION).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The file of the archive, with the count and the checksum of what was written.
struct Output<'a> {
    file: &'a mut File,
    checksum: Checksum,
    bytes: u64,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.checksum.update(bytes.get(..written).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(length(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The outcome of opening an entry that a program can replace at any moment.
enum Opened<T> {
    /// A plain file or folder.
    Found(T),
    /// The entry was removed meanwhile.
    Gone,
    /// Something else, or protected.
    Refused,
}

fn opened<T>(result: io::Result<T>) -> io::Result<Opened<T>> {
    let cause = match result {
        Ok(found) => return Ok(Opened::Found(found)),
        Err(cause) => cause,
    };
    if cause.kind() == io::ErrorKind::NotFound {
        return Ok(Opened::Gone);
    }
    // Others, such as a lack of descriptors, would silently lose a part of the profile.
    let refusals = [
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::NXIO,
        Errno::NODEV,
        Errno::XDEV,
        Errno::OPNOTSUPP,
    ];
    let of_system = Errno::from_io_error(&cause).is_some_and(|errno| refusals.contains(&errno));
    let of_beneath =
        matches!(cause.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy);
    if of_system || of_beneath { Ok(Opened::Refused) } else { Err(cause) }
}

/// An archive in the making.
pub(super) struct Packing<'a> {
    encoder: Encoder<'static, Output<'a>>,
    buffer: Vec<u8>,
    limits: Limits,
    /// The uid to which the profile belongs. Files of others are skipped.
    owner: u32,
    /// The number of names in the folders that were listed.
    listed: u64,
    files: u64,
    bytes: u64,
    skipped: u64,
    skipped_names: Vec<String>,
    changed: u64,
    /// The flag that another thread sets to stop the packing.
    stop: Option<&'a AtomicBool>,
}

impl<'a> Packing<'a> {
    /// Begins an archive with its manifest and these extras, which are sorted.
    pub(super) fn begin(
        limits: Limits,
        owner: u32,
        manifest: &Manifest,
        extras: &[(&str, &[u8])],
        into: &'a mut File,
    ) -> Result<Self, PackError> {
        let manifest = serde_json::to_vec(manifest).map_err(|cause| not_written(cause.into()))?;
        if Manifest::parse(&manifest).is_err() {
            return Err(not_written(io::ErrorKind::InvalidInput.into()));
        }
        let output = Output { file: into, checksum: Checksum::default(), bytes: 0 };
        let mut encoder = Encoder::new(output, LEVEL).map_err(not_written)?;
        encoder.include_checksum(true).map_err(not_written)?;
        let mut packing = Self {
            encoder,
            buffer: vec![0; BUFFER],
            limits,
            owner,
            listed: 0,
            files: 0,
            bytes: 0,
            skipped: 0,
            skipped_names: Vec::new(),
            changed: 0,
            stop: None,
        };
        packing.extra(MANIFEST, &manifest).map_err(not_written)?;
        for (name, bytes) in extras {
            packing.extra(name, bytes).map_err(not_written)?;
        }
        Ok(packing)
    }

    /// Ends the archive, and returns its size, its checksum and the counts of its files.
    pub(super) fn finish(
        self,
        browser_version: Option<BrowserVersion>,
    ) -> Result<Packed, PackError> {
        let Self { mut encoder, files, bytes, skipped, skipped_names, changed, .. } = self;
        encoder.write_all(&[0; 2 * BLOCK]).map_err(not_written)?;
        let output = encoder.finish().map_err(not_written)?;
        Ok(Packed {
            bytes: output.bytes,
            sha256: output.checksum.finish(),
            files,
            unpacked_bytes: bytes,
            browser_version,
            skipped,
            skipped_names,
            changed,
        })
    }

    /// Copies an entry of the profile from another archive.
    pub(super) fn copy(&mut self, entries: &mut Entries, entry: &Entry) -> Result<(), UnpackError> {
        let unwritten = |cause| UnpackError::NotWritten {
            what: format!("{} could not be written", shown(&entry.path)),
            cause,
        };
        if entry.is_folder {
            return self.header(&entry.path, EntryType::Directory, 0).map_err(unwritten);
        }
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(entry.size);
        self.header(&entry.path, EntryType::Regular, entry.size).map_err(unwritten)?;
        entries.copy(entry, &mut self.encoder)?;
        self.pad(entry.size).map_err(unwritten)
    }

    fn unless_stopped(&self) -> io::Result<()> {
        let is_set = self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if is_set { Err(io::Error::other("it was stopped")) } else { Ok(()) }
    }

    /// Adds what is in a folder, sorted. `place` is its path in the profile, and `depth` the number of
    /// names in the paths of its entries.
    fn walk(&mut self, folder: &Tree, place: &[u8], depth: usize) -> Result<(), PackError> {
        let names = self.names(folder, place)?;
        if depth > self.limits.depth && !names.is_empty() {
            let (found, most) = (length(depth), length(self.limits.depth));
            return Err(PackError::TooLarge(Excess { what: "levels of folders", found, most }));
        }
        for name in names {
            self.unless_stopped().map_err(not_written)?;
            let path = if place.is_empty() { name.clone() } else { [place, b"/", &name].concat() };
            if is_left_out(&path) {
                continue;
            }
            let unread = |cause| PackError::NotRead { path: shown(&path), cause };
            let name = Path::new(std::ffi::OsStr::from_bytes(&name));
            let kind = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(cause) => return Err(unread(cause.into())),
            };
            if kind == FileType::Directory {
                match opened(folder.folder(name)).map_err(unread)? {
                    Opened::Found(inner) if inner.user().map_err(unread)? == self.owner => {
                        let full = full(&path);
                        self.header(&full, EntryType::Directory, 0).map_err(not_written)?;
                        self.walk(&inner, &path, depth.saturating_add(1))?;
                    }
                    Opened::Found(_) | Opened::Refused => self.skip(&path),
                    Opened::Gone => (),
                }
            } else if kind == FileType::RegularFile {
                match opened(folder.file(name)).map_err(unread)? {
                    Opened::Found(file) => {
                        let before = file.metadata().map_err(unread)?;
                        if before.uid() == self.owner {
                            self.file(&path, file, &before)?;
                        } else {
                            self.skip(&path);
                        }
                    }
                    Opened::Refused => self.skip(&path),
                    Opened::Gone => (),
                }
            } else {
                self.skip(&path);
            }
        }
        Ok(())
    }

    fn skip(&mut self, path: &[u8]) {
        self.skipped = self.skipped.saturating_add(1);
        if self.skipped_names.len() < NAMED {
            self.skipped_names.push(shown(path));
        }
    }

    /// The names in a folder, sorted. Stops at the limit: a program can fill a folder with millions.
    fn names(&mut self, folder: &Tree, place: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
        let unread = |cause: Errno| PackError::NotRead { path: shown(place), cause: cause.into() };
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.listed = self.listed.saturating_add(1);
            let (found, most) = (self.listed, self.limits.entries);
            if found > most {
                return Err(PackError::TooLarge(Excess { what: "files and folders", found, most }));
            }
            names.push(name.to_vec());
        }
        names.sort_unstable();
        // A file that is renamed meanwhile may be listed twice.
        names.dedup();
        Ok(names)
    }

    /// Adds a file with exactly the number of bytes that it had when it was opened.
    fn file(&mut self, path: &[u8], mut file: File, before: &Metadata) -> Result<(), PackError> {
        let unread = |cause| PackError::NotRead { path: shown(path), cause };
        let size = before.len();
        self.bytes = self.bytes.saturating_add(size);
        let (found, most) = (self.bytes, self.limits.bytes);
        if found > most {
            return Err(PackError::TooLarge(Excess { what: "bytes", found, most }));
        }
        self.files = self.files.saturating_add(1);
        self.header(&full(path), EntryType::Regular, size).map_err(not_written)?;
        let mut left = size;
        while left > 0 {
            self.unless_stopped().map_err(not_written)?;
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let room = self.buffer.get_mut(..wanted).unwrap_or_default();
            let read = match file.read(room) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(unread)?,
            };
            if read == 0 {
                break;
            }
            let bytes = self.buffer.get(..read).unwrap_or_default();
            self.encoder.write_all(bytes).map_err(not_written)?;
            left = left.saturating_sub(length(read));
        }
        io::copy(&mut io::repeat(0).take(left), &mut self.encoder).map_err(not_written)?;
        self.pad(size).map_err(not_written)?;
        let after = file.metadata().map_err(unread)?;
        let state = |of: &Metadata| (of.len(), of.mtime(), of.mtime_nsec());
        if left > 0 || state(&after) != state(before) {
            self.changed = self.changed.saturating_add(1);
        }
        Ok(())
    }

    /// Adds the manifest or an extra.
    fn extra(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = format!("{OURS}/{name}");
        self.header(path.as_bytes(), EntryType::Regular, length(bytes.len()))?;
        self.encoder.write_all(bytes)?;
        self.pad(length(bytes.len()))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.encoder.write_all([0; BLOCK].get(..padding(size)).unwrap_or_default())
    }

    /// Writes the header of an entry. A path that does not fit comes before it, as GNU tar does it.
    fn header(&mut self, path: &[u8], kind: EntryType, size: u64) -> io::Result<()> {
        let header = header(path, kind, size);
        if path.len() > header.as_old().name.len() {
            let size = length(path.len()).saturating_add(1);
            let long = self::header(b"././@LongLink", EntryType::GNULongName, size);
            self.encoder.write_all(long.as_bytes())?;
            self.encoder.write_all(path)?;
            self.encoder.write_all(&[0])?;
            self.pad(size)?;
        }
        self.encoder.write_all(header.as_bytes())
    }
}

/// The path of an entry of the profile in the archive.
fn full(path: &[u8]) -> Vec<u8> {
    [PROFILE.as_bytes(), b"/", path].concat()
}

/// A header with the beginning of a path, and without owner and time: the same profile gives the same
/// archive.
fn header(path: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    for (slot, byte) in header.as_old_mut().name.iter_mut().zip(path) {
        *slot = *byte;
    }
    header.set_mode(if kind == EntryType::Directory { 0o700 } else { 0o600 });
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}
