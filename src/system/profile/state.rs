//! The storage state in an archive: read, and changed, without a browser.
//!
//! ```text
//! read:   cookies of the browser + localStorage of its files + the state beside them --> state
//! write:  files (replace: without storage) + the state beside them --> another archive
//! ```
//!
//! A state that is written is kept beside the files. A browser that starts from the archive gets it before its first
//! page, by the same code as one that comes with a request.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek as _};

use serde_json::Value;

use super::Limits;
use super::left_out::is_left_out;
use super::manifest::{FORMAT, Manifest};
use super::pack::{PackError, Packed, Packing, sorted};
use super::reading::{Entries, Entry};
use super::refusal::UnpackError;
use super::unpack::{Keep, Reading, unread};
use crate::system::storage_state::{
    Cookie, LocalStorage, MOST_ORIGINS, Mode, Selection, StorageState, of_folder,
};

/// The name of the cookies in an archive, a list in the format of `Storage.getCookies`.
pub const COOKIES: &str = "cookies.json";

/// The name of the storage state in an archive: the latest `localStorage` of the browser, which Chromium writes to its
/// files some seconds after a change, or a state that a client wrote.
pub const STATE: &str = "storage_state.json";

/// The name of the list of origins whose `localStorage` is complete in [`STATE`]. Their items in the files
/// are older, and some may have been removed since.
pub const WHOLE: &str = "local_storage_origins.json";

/// The most bytes of the files with `localStorage`, which are read into memory.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The most origins that a warning names.
const MOST_NAMED: usize = 20;

/// The folder of Chromium's profile within a user data directory.
const DEFAULT: &[u8] = b"Default";

/// The folders of `localStorage`.
const LOCAL_STORAGE: [&[u8]; 3] = [DEFAULT, b"Local Storage", b"leveldb"];

/// The folder with a folder for each origin with databases.
const INDEXED_DB: [&[u8]; 2] = [DEFAULT, b"IndexedDB"];

/// The folders with the storage, the caches and the service workers of sites: what [`Mode::Replace`] removes from a
/// running browser.
const STORAGE: [&[u8]; 4] = [b"IndexedDB", b"Local Storage", b"Service Worker", b"WebStorage"];

/// The name prefix of the files with cookies.
const COOKIE_FILES: &[u8] = b"Cookies";

/// The reason for which a state was not read from an archive, or not written into one.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The archive cannot be used.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The other archive cannot be written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The state would be larger than one of a request may be.
    #[error(
        "the storage state of the profile is too large, with more than 32 MiB, 10000 cookies or 1000 origins: name the \
         origins to read, leave out IndexedDB, or replace the state"
    )]
    TooLarge,
}

/// Returns the storage state of a profile: what a browser that starts from the archive has, but for the databases in
/// its files, which only a browser can read. The state's `warning` names what is left out.
///
/// # Errors
///
/// Refuses an archive that breaks a rule of the format, and a state that is too large.
pub fn read_state(mut archive: File, selection: &Selection) -> Result<StorageState, StateError> {
    archive.rewind().map_err(unread)?;
    let mut files = Files { left: MOST_BYTES, ..Files::default() };
    let reading = Reading::begin(archive, Limits::default(), None, Keep::Extras)?;
    let reading = reading.files(&mut |entries, entry, names| files.add(entries, entry, names))?;
    let items = files.storage.items();
    let mut left_out = Vec::new();
    if selection.indexed_db {
        left_out.extend(databases(&files.databases, selection));
    }
    if items.omitted > 0 {
        left_out.push(format!("{} items that JSON cannot express", items.omitted));
    }
    if !items.is_whole {
        left_out.push("localStorage in files that could not be read to the end".to_owned());
    }
    let extra = |name: &str| reading.extras.get(name).map(Vec::as_slice);
    let cookies = extra(COOKIES).and_then(|bytes| serde_json::from_slice::<Vec<Value>>(bytes).ok());
    let cookies = cookies.unwrap_or_default();
    let cookies = cookies.iter().filter_map(Cookie::of_browser).collect();
    let whole =
        extra(WHOLE).and_then(|bytes| serde_json::from_slice::<BTreeSet<String>>(bytes).ok());
    let whole = whole.unwrap_or_default();
    let mut origins = items.origins;
    origins.retain(|in_files| !whole.contains(&in_files.origin));
    let in_files = StorageState { cookies, origins, warning: None };
    let mut state = in_files.merged(beside(extra(STATE))).selected(selection);
    if state.origins.len() > MOST_ORIGINS {
        left_out.push(format!("all origins but {MOST_ORIGINS}"));
        state.origins.truncate(MOST_ORIGINS);
    }
    state.warning = (!left_out.is_empty()).then(|| format!("left out: {}", left_out.join("; ")));
    if state.fits() { Ok(state) } else { Err(StateError::TooLarge) }
}

/// Writes an archive with the files of another, or without files, and with a storage state. `created_at` is the present
/// time, in printable ASCII. The caller syncs the file.
///
/// # Errors
///
/// As [`read_state`], and if the archive cannot be written: then the file has an unusable part of one.
pub fn write_state(
    archive: Option<File>,
    state: StorageState,
    mode: Mode,
    created_at: &str,
    into: &mut File,
) -> Result<Packed, StateError> {
    let limits = Limits::default();
    let base = match archive {
        Some(mut archive) => {
            archive.rewind().map_err(unread)?;
            Some(Reading::begin(archive, limits, None, Keep::Extras)?)
        }
        None => None,
    };
    let mut extras = base.as_ref().map(|base| base.extras.clone()).unwrap_or_default();
    let state = match mode {
        Mode::Merge => beside(extras.get(STATE).map(Vec::as_slice)).merged(state),
        Mode::Replace => {
            extras.insert(COOKIES.to_owned(), b"[]".to_vec());
            extras.remove(WHOLE);
            state
        }
    };
    if !state.fits() {
        return Err(StateError::TooLarge);
    }
    let state = StorageState { warning: None, ..state };
    let bytes = serde_json::to_vec(&state).map_err(|cause| PackError::NotWritten(cause.into()))?;
    extras.insert(STATE.to_owned(), bytes);
    let extras: Vec<(&str, &[u8])> =
        extras.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let extras = sorted(&extras)?;
    let browser_version = base.as_ref().and_then(|base| base.manifest.browser_version);
    let manifest = Manifest {
        format: FORMAT,
        browser_version,
        created_at: created_at.to_owned(),
        extras: extras.iter().map(|(name, _)| (*name).to_owned()).collect(),
    };
    let mut packing = Packing::begin(limits, 0, &manifest, &extras, into)?;
    if let Some(base) = base {
        base.files(&mut |entries, entry, names| {
            let is_removed = mode == Mode::Replace && is_storage(names);
            if is_removed || is_left_out(&names.join(&b'/')) {
                return entries.copy(entry, &mut io::sink());
            }
            packing.copy(entries, entry)
        })?;
    }
    Ok(packing.finish(browser_version)?)
}

/// The state beside the files of an archive. One that no client could send is no state.
fn beside(extra: Option<&[u8]>) -> StorageState {
    let state = extra.and_then(|bytes| serde_json::from_slice::<StorageState>(bytes).ok());
    state.and_then(|state| state.checked().ok()).unwrap_or_default()
}

/// True for the folder of a kind of storage, a file of it, and a file with cookies.
fn is_storage(names: &[&[u8]]) -> bool {
    match names {
        [DEFAULT, b"Network", file] => file.starts_with(COOKIE_FILES),
        [DEFAULT, kind, ..] => STORAGE.contains(kind) || kind.starts_with(COOKIE_FILES),
        _ => false,
    }
}

/// The text about databases that only a browser can read; none if none was asked for.
fn databases(found: &BTreeSet<String>, selection: &Selection) -> Option<String> {
    let is_wanted =
        |origin: &&String| selection.origins.as_ref().is_none_or(|wanted| wanted.contains(*origin));
    let origins: Vec<&str> = found.iter().filter(is_wanted).map(String::as_str).collect();
    let named = origins.get(..MOST_NAMED).unwrap_or(&origins).join(", ");
    let more = origins.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text =
        format!("IndexedDB of {named}{more}, which a session that starts from the profile has");
    (!origins.is_empty()).then_some(text)
}

/// The storage in the files of a profile.
#[derive(Debug, Default)]
struct Files {
    storage: LocalStorage,
    /// The origins with databases.
    databases: BTreeSet<String>,
    /// The bytes that may still be read into memory.
    left: u64,
}

impl Files {
    fn add(
        &mut self,
        entries: &mut Entries,
        entry: &Entry,
        names: &[&[u8]],
    ) -> Result<(), UnpackError> {
        let Some((name, folder)) = names.split_last() else {
            return entries.copy(entry, &mut io::sink());
        };
        if folder == INDEXED_DB && entry.is_folder {
            self.databases.extend(std::str::from_utf8(name).ok().and_then(of_folder));
        }
        let is_file = folder == LOCAL_STORAGE
            && !entry.is_folder
            && (name.ends_with(b".ldb") || name.ends_with(b".log"));
        if !is_file {
            return entries.copy(entry, &mut io::sink());
        }
        let Some(left) = self.left.checked_sub(entry.size) else {
            self.storage.pass_over();
            return entries.copy(entry, &mut io::sink());
        };
        self.left = left;
        let mut bytes = Vec::new();
        entries.copy(entry, &mut bytes)?;
        self.storage.add(name, &bytes);
        Ok(())
    }
}
