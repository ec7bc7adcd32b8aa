//! Validation and unpacking of an archive that anyone may have written.
//!
//! Everything is checked while it is read, and in one pass with constant memory but for the extras.
//! The entries must be in the order in which `pack` writes them. So one look at the former entry
//! proves that a path is new and that its folder is in the archive.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::left_out::{is_left_out, is_lock};
use super::manifest::{BadManifest, BrowserVersion, Manifest};
use super::reading::{Entries, Entry};
use super::refusal::{UnpackError, damaged, refused};
use super::{
    BUFFER, Excess, LARGEST_EXTRA, LARGEST_EXTRAS, LONGEST_NAME, Limits, MANIFEST, MOST_EXTRAS,
    OURS, PROFILE, is_extra_name, shown,
};
use crate::domain::checksum::Checksum;
use crate::system::beneath::{MOST_NAMES, Tree};
use crate::system::confine::spec::User;

/// The most bytes of a manifest.
const LARGEST_MANIFEST: u64 = 64 * 1024;

/// The bytes by which an archive may be larger than the limit of its content: headers and extras.
const OVERHEAD: u64 = 512 * 1024 * 1024;

/// The manifest and the extras of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    pub manifest: Manifest,
    /// The content of each extra by its name.
    pub extras: BTreeMap<String, Vec<u8>>,
}

/// An archive without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub manifest: Manifest,
    /// The size of the archive.
    pub bytes: u64,
    /// The SHA-256 hash of the archive, in hexadecimal digits.
    pub sha256: String,
    /// The number of files of the profile.
    pub files: u64,
    /// The size of these files together.
    pub unpacked_bytes: u64,
}

/// Restores a profile into an empty folder whose parents belong to the server. The files belong to
/// `owner`, or to the server's user if there is none. What `pack` leaves out is not restored if an
/// archive has it nevertheless.
///
/// # Errors
///
/// Refuses an archive with another checksum than `expected_sha256`, one that breaks a rule of the
/// format, and one of a newer major version of Chromium than `newest`. Then the folder is empty again.
pub fn unpack(
    archive: File,
    expected_sha256: Option<&str>,
    newest: &BrowserVersion,
    into: &Path,
    owner: Option<User>,
) -> Result<Unpacked, UnpackError> {
    unpack_within(Limits::default(), archive, expected_sha256, newest, into, owner)
}

/// Restores a profile within other limits.
pub(super) fn unpack_within(
    limits: Limits,
    mut archive: File,
    expected_sha256: Option<&str>,
    newest: &BrowserVersion,
    into: &Path,
    owner: Option<User>,
) -> Result<Unpacked, UnpackError> {
    let unwritten = |cause| UnpackError::NotWritten {
        what: format!("{} cannot be used", shown(into.as_os_str().as_bytes())),
        cause,
    };
    let (_, checksum) = hashed(&mut archive, limits)?;
    if expected_sha256.is_some_and(|expected| !expected.eq_ignore_ascii_case(&checksum)) {
        return Err(damaged(format!("its SHA-256 hash is {checksum}, and not that of the record")));
    }
    let target = Tree::open(into).map_err(unwritten)?.owned_by(owner);
    if !target.names().map_err(unwritten)?.is_empty() {
        return Err(unwritten(io::ErrorKind::DirectoryNotEmpty.into()));
    }
    let mut restoring = Restoring { target: &target, open: Vec::new() };
    let restored = Reading::begin(archive, limits, Some(newest), Keep::Extras)
        .and_then(|reading| {
            reading.files(&mut |entries, entry, names| restoring.restore(entries, entry, names))
        })
        .map(Reading::finished);
    if restored.is_err()
        && let Err(cause) = empty(&target)
    {
        tracing::error!(error = %cause, path = %into.display(), "a part of a profile is left");
    }
    restored
}

/// Validates a whole archive without writing anything, for example an upload.
///
/// # Errors
///
/// As [`unpack`], but a newer browser is refused only if `newest` is given.
pub fn check(mut archive: File, newest: Option<&BrowserVersion>) -> Result<Checked, UnpackError> {
    let limits = Limits::default();
    let (bytes, sha256) = hashed(&mut archive, limits)?;
    let reading = Reading::begin(archive, limits, newest, Keep::Names)?;
    let reading = reading.files(&mut |entries, entry, _| entries.copy(entry, &mut io::sink()))?;
    let (files, unpacked_bytes) = (reading.files, reading.bytes);
    Ok(Checked { manifest: reading.manifest, bytes, sha256, files, unpacked_bytes })
}

/// Reads the manifest and the extras of an archive, and nothing after them.
///
/// # Errors
///
/// Refuses an archive whose beginning breaks a rule of the format.
pub fn read_head(mut archive: File) -> Result<Unpacked, UnpackError> {
    archive.rewind().map_err(unread)?;
    Reading::begin(archive, Limits::default(), None, Keep::Extras).map(Reading::finished)
}

pub(super) fn unread(cause: io::Error) -> UnpackError {
    UnpackError::NotWritten { what: "its archive could not be read".to_owned(), cause }
}

/// The size and the checksum of an archive, which is at its beginning afterwards.
fn hashed(archive: &mut File, limits: Limits) -> Result<(u64, String), UnpackError> {
    let found = archive.metadata().map_err(unread)?.len();
    let most = limits.bytes.saturating_add(OVERHEAD);
    if found > most {
        return Err(UnpackError::TooLarge(Excess { what: "bytes", found, most }));
    }
    let mut checksum = Checksum::default();
    let mut buffer = vec![0; BUFFER];
    archive.rewind().map_err(unread)?;
    loop {
        let read = match archive.read(&mut buffer) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(unread)?,
        };
        if read == 0 {
            break;
        }
        checksum.update(buffer.get(..read).unwrap_or_default());
    }
    archive.rewind().map_err(unread)?;
    Ok((found, checksum.finish()))
}

/// Removes what a failed restoration has written.
fn empty(target: &Tree) -> io::Result<()> {
    loop {
        let names = target.names()?;
        for name in &names {
            target.remove(name)?;
        }
        if names.len() < MOST_NAMES {
            return Ok(());
        }
    }
}

/// The use of the extras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Their content is returned.
    Extras,
    /// They are only validated.
    Names,
}

/// A receiver of the entries of a profile. It reads the content of each. The path is in names, without the
/// first, which is that of the profile's folder.
pub(super) type Visit<'a> =
    &'a mut dyn FnMut(&mut Entries, &Entry, &[&[u8]]) -> Result<(), UnpackError>;

/// An archive whose manifest and extras were read.
pub(super) struct Reading {
    entries: Entries,
    limits: Limits,
    pub(super) manifest: Manifest,
    pub(super) extras: BTreeMap<String, Vec<u8>>,
    /// The first entry of the profile.
    next: Option<Entry>,
    files: u64,
    bytes: u64,
}

impl Reading {
    pub(super) fn begin(
        archive: File,
        limits: Limits,
        newest: Option<&BrowserVersion>,
        keep: Keep,
    ) -> Result<Self, UnpackError> {
        let mut entries = Entries::new(archive, limits).map_err(unread)?;
        let manifest = manifest(&mut entries)?;
        if let (Some(profile), Some(newest)) = (manifest.browser_version, newest)
            && profile.major() > newest.major()
        {
            return Err(UnpackError::TooNew { profile, installed: *newest });
        }
        if manifest.extras.len() > MOST_EXTRAS {
            let (found, most) = (length(manifest.extras.len()), length(MOST_EXTRAS));
            return Err(UnpackError::TooLarge(Excess { what: "extras", found, most }));
        }
        if !manifest.extras.is_sorted_by(|one, next| one < next) {
            return Err(refused(OURS.as_bytes(), "has extras twice or out of order"));
        }
        let mut extras = BTreeMap::new();
        let mut total = 0_u64;
        for name in &manifest.extras {
            let expected = format!("{OURS}/{name}");
            if !is_extra_name(name) {
                return Err(refused(expected.as_bytes(), "is not a name of an extra"));
            }
            let entry = match entries.next()? {
                Some(entry) if entry.path == expected.as_bytes() && !entry.is_folder => entry,
                Some(_) | None => {
                    return Err(damaged(format!("{} is missing", shown(expected.as_bytes()))));
                }
            };
            total = total.saturating_add(entry.size);
            for (found, most) in [(entry.size, LARGEST_EXTRA), (total, LARGEST_EXTRAS)] {
                if found > most {
                    let what = "bytes of extras";
                    return Err(UnpackError::TooLarge(Excess { what, found, most }));
                }
            }
            if keep == Keep::Names {
                entries.copy(&entry, &mut io::sink())?;
                continue;
            }
            let mut bytes = Vec::new();
            entries.copy(&entry, &mut bytes)?;
            extras.insert(name.clone(), bytes);
        }
        let next = entries.next()?;
        Ok(Self { entries, limits, manifest, extras, next, files: 0, bytes: 0 })
    }

    /// Reads the files of the profile up to the end.
    pub(super) fn files(mut self, visit: Visit<'_>) -> Result<Self, UnpackError> {
        let mut order = Order::default();
        let mut count = 0_u64;
        let mut next = self.next.take();
        while let Some(entry) = next {
            let names = names(&entry.path, self.limits)?;
            order.advance(&entry, &names)?;
            count = count.saturating_add(1);
            self.bytes = self.bytes.saturating_add(entry.size);
            for (what, found, most) in [
                ("files and folders", count, self.limits.entries),
                ("bytes of files", self.bytes, self.limits.bytes),
            ] {
                if found > most {
                    return Err(UnpackError::TooLarge(Excess { what, found, most }));
                }
            }
            if !entry.is_folder {
                self.files = self.files.saturating_add(1);
            }
            visit(&mut self.entries, &entry, &names)?;
            next = self.entries.next()?;
        }
        Ok(self)
    }

    fn finished(self) -> Unpacked {
        Unpacked { manifest: self.manifest, extras: self.extras }
    }
}

/// A folder into which the files of a profile are written.
struct Restoring<'a> {
    target: &'a Tree,
    /// The folders from the target to the one of the former entry.
    open: Vec<Tree>,
}

impl Restoring<'_> {
    /// Writes an entry, unless `pack` leaves out files of its name.
    fn restore(
        &mut self,
        entries: &mut Entries,
        entry: &Entry,
        names: &[&[u8]],
    ) -> Result<(), UnpackError> {
        let unwritten = |cause| UnpackError::NotWritten {
            what: format!("{} could not be created", shown(&entry.path)),
            cause,
        };
        let (name, parents) = match names.split_last() {
            Some(split) if !is_left_out(&names.join(&b'/')) => split,
            Some(_) | None => return entries.copy(entry, &mut io::sink()),
        };
        self.open.truncate(parents.len());
        let folder = self.open.last().unwrap_or(self.target);
        let name = Path::new(OsStr::from_bytes(name));
        if entry.is_folder {
            let made = folder.make_folder(name).map_err(unwritten)?;
            self.open.push(made);
            return Ok(());
        }
        let mut file = folder.create(name).map_err(unwritten)?;
        entries.copy(entry, &mut file)?;
        file.flush().map_err(unwritten)
    }
}

/// The manifest, which is the first entry.
fn manifest(entries: &mut Entries) -> Result<Manifest, UnpackError> {
    let expected = format!("{OURS}/{MANIFEST}");
    let entry = match entries.next()? {
        Some(entry) if entry.path == expected.as_bytes() && !entry.is_folder => entry,
        Some(_) | None => return Err(damaged(format!("{expected} is not its first entry"))),
    };
    let (found, most) = (entry.size, LARGEST_MANIFEST);
    if found > most {
        let what = "bytes of the manifest";
        return Err(UnpackError::TooLarge(Excess { what, found, most }));
    }
    let mut bytes = Vec::new();
    entries.copy(&entry, &mut bytes)?;
    Manifest::parse(&bytes).map_err(|bad| match bad {
        BadManifest::Damaged(what) => damaged(format!("{expected}: {what}")),
        BadManifest::Format(format) => UnpackError::FormatUnknown(format),
    })
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The names of a path in the archive, without the first, which is that of the profile's folder.
fn names(path: &[u8], limits: Limits) -> Result<Vec<&[u8]>, UnpackError> {
    let mut names = path.split(|byte| *byte == b'/');
    if names.next() != Some(PROFILE.as_bytes()) {
        return Err(refused(path, "is outside of the profile"));
    }
    let names: Vec<&[u8]> = names.collect();
    if names.is_empty() {
        return Err(refused(path, "is not in the profile's folder"));
    }
    for name in &names {
        if matches!(*name, b"" | b"." | b"..") {
            return Err(refused(path, "is not a plain path"));
        }
        if name.len() > LONGEST_NAME {
            return Err(refused(path, "has a name of more than 255 bytes"));
        }
    }
    if is_lock(&names.join(&b'/')) {
        return Err(refused(path, "is a lock of a browser"));
    }
    let (found, most) = (length(names.len()), length(limits.depth));
    if found > most {
        return Err(UnpackError::TooLarge(Excess { what: "levels of folders", found, most }));
    }
    Ok(names)
}

/// The position in the order of entries: a folder before its content, names sorted by their bytes.
#[derive(Default)]
struct Order {
    former: Vec<Vec<u8>>,
    /// True if the former entry is a file, so that nothing can be in it.
    is_file: bool,
}

impl Order {
    /// Moves on to the next entry, if it is after the former one and in a folder of the archive.
    fn advance(&mut self, entry: &Entry, names: &[&[u8]]) -> Result<(), UnpackError> {
        let Some((name, parents)) = names.split_last() else { return Ok(()) };
        let common = self.former.get(..parents.len());
        let is_parent_known = common.is_some_and(|common| common == parents)
            && !(self.is_file && self.former.len() == parents.len());
        if !is_parent_known {
            return Err(refused(&entry.path, "is in no folder of the archive"));
        }
        if self.former.get(parents.len()).is_some_and(|former| former.as_slice() >= *name) {
            return Err(refused(&entry.path, "is there twice or out of order"));
        }
        self.former.truncate(parents.len());
        self.former.push(name.to_vec());
        self.is_file = !entry.is_folder;
        Ok(())
    }
}
