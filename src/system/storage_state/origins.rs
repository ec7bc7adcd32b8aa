//! The origins that have storage in a profile.
//!
//! No command of DevTools lists them, so they are read from the names that Chromium writes: the keys of
//! `Local Storage/leveldb` and the folders of `IndexedDB`. The files belong to programs of the session, and are
//! candidates only: the browser itself is asked about each.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::Path;

use super::leveldb::{Write, read_log, read_table};
use super::state::web_origin;
use crate::system::beneath::{MOST_NAMES, Tree};

/// The largest file that is read, and the most bytes of all files, packed and unpacked.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// The key of an origin's metadata, which is written with every change of its items.
const META: &[u8] = b"META:";

const LOCAL_STORAGE: &str = "Default/Local Storage/leveldb";
const INDEXED_DB: &str = "Default/IndexedDB";

/// The origins on disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) origins: BTreeSet<String>,
    /// False if a file or a folder could not be read to its end.
    pub(super) is_whole: bool,
}

/// The latest write of each origin's `localStorage`.
pub(super) type Commits = HashMap<String, Write>;

/// Finds the origins with storage. Blocks.
pub(super) fn in_profile(profile: &Path) -> Found {
    let (commits, mut is_whole) = read(profile, true);
    let written = commits.into_iter().filter(|(_origin, write)| write.is_present);
    let mut origins: BTreeSet<String> = written.map(|(origin, _write)| origin).collect();
    match Tree::open(profile).and_then(|profile| profile.folder(Path::new(INDEXED_DB))) {
        Ok(folder) => {
            let names = folder.names().unwrap_or_else(|_cause| {
                is_whole = false;
                Vec::new()
            });
            is_whole &= names.len() < MOST_NAMES;
            origins.extend(names.iter().filter_map(|name| of_folder(name.to_str()?)));
        }
        Err(cause) => is_whole &= cause.kind() == ErrorKind::NotFound,
    }
    Found { origins, is_whole }
}

/// Reads the latest writes from the logs, which have every recent one. Blocks.
pub(super) fn commits(profile: &Path) -> Commits {
    read(profile, false).0
}

fn read(profile: &Path, with_tables: bool) -> (Commits, bool) {
    let (mut commits, mut is_whole) = (Commits::new(), true);
    let folder = Tree::open(profile).and_then(|profile| profile.folder(Path::new(LOCAL_STORAGE)));
    let folder = match folder {
        Ok(folder) => folder,
        Err(cause) => return (commits, cause.kind() == ErrorKind::NotFound),
    };
    let Ok(names) = folder.names() else { return (commits, false) };
    is_whole &= names.len() < MOST_NAMES;
    let (mut left, mut unpacked) = (MOST_BYTES, MOST_BYTES);
    let mut visit = |key: &[u8], write: Write, _value: &[u8]| {
        let key = key.strip_prefix(META).and_then(|key| std::str::from_utf8(key).ok());
        // The storage of a frame within another site has both in its key, and is no origin.
        let Some(origin) = key.and_then(web_origin) else { return };
        let latest = commits.entry(origin).or_insert(write);
        if write.sequence >= latest.sequence {
            *latest = write;
        }
    };
    for name in &names {
        let name = Path::new(name);
        let kind = name.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        let is_table = kind == "ldb";
        if !(is_table && with_tables || kind == "log") {
            continue;
        }
        let most = LARGEST_FILE.min(u64::try_from(left).unwrap_or(u64::MAX));
        match folder.read(name, most) {
            Ok(bytes) => {
                left = left.saturating_sub(bytes.len());
                if is_table {
                    is_whole &= read_table(&bytes, &mut unpacked, &mut visit);
                } else {
                    read_log(&bytes, &mut visit);
                }
            }
            // Merged into another file meanwhile.
            Err(cause) => is_whole &= cause.kind() == ErrorKind::NotFound,
        }
    }
    (commits, is_whole)
}

/// The origin of a folder such as `https_example.com_0.indexeddb.leveldb`.
pub(in crate::system) fn of_folder(name: &str) -> Option<String> {
    let (name, _kind) = name.split_once(".indexeddb.")?;
    let (scheme, rest) = name.split_once('_')?;
    let (host, port) = rest.rsplit_once('_')?;
    match port {
        "0" => web_origin(&format!("{scheme}://{host}")),
        port => web_origin(&format!("{scheme}://{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_found_in_tables_logs_and_names_of_folders() {
        let profile =
            std::env::temp_dir().join(format!("greenroom-origins-{}", std::process::id()));
        assert_eq!(in_profile(&profile), Found { is_whole: true, ..Found::default() });
        let storage = profile.join(LOCAL_STORAGE);
        std::fs::create_dir_all(&storage).unwrap();
        std::fs::write(storage.join("000005.ldb"), include_bytes!("local_storage.ldb")).unwrap();
        std::fs::write(storage.join("000006.log"), "").unwrap();
        let folders = [
            "https_shop.example_0.indexeddb.leveldb",
            "http_127.0.0.1_8080.indexeddb.leveldb",
            "http_127.0.0.1_8080.indexeddb.blob",
            "file__0.indexeddb.leveldb",
            "other",
            "chrome-extension_abcdefghijklmnopabcdefghijklmnop_0.indexeddb.leveldb",
        ];
        for folder in folders {
            std::fs::create_dir_all(profile.join(INDEXED_DB).join(folder)).unwrap();
        }
        let found = in_profile(&profile);
        let expected = [
            "http://127.0.0.1:8080",
            "https://a.example",
            "https://b.example",
            "https://shop.example",
        ];
        assert_eq!(found.origins, expected.map(str::to_owned).into());
        assert!(found.is_whole);
        assert_eq!(commits(&profile), Commits::new(), "of the logs alone");

        // A program of the session may put a link in place of a file.
        std::fs::remove_file(storage.join("000005.ldb")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", storage.join("000005.ldb")).unwrap();
        let found = in_profile(&profile);
        assert!(!found.is_whole && !found.origins.contains("https://a.example"), "{found:?}");
        std::fs::remove_dir_all(&profile).unwrap();
    }
}
