//! The `localStorage` in the files of a browser that does not run.
//!
//! Chromium has it in one LevelDB: the key `_<origin>\0<name>` of each item, and its value. A name and a value
//! begin with their encoding: 0 for UTF-16 in little-endian order, 1 for Latin-1.

use std::collections::{BTreeMap, HashMap};

use super::leveldb::{Write, read_log, read_table};
use super::state::{Item, OriginStorage, web_origin};

/// The most bytes of tables, unpacked.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// The name prefix of the keys of items.
const ITEM: &[u8] = b"_";

/// The items that were read so far. Files may be added in any order.
#[derive(Debug)]
pub(in crate::system) struct LocalStorage {
    /// The latest write of each key, and its value.
    latest: HashMap<Vec<u8>, (Write, Vec<u8>)>,
    /// The bytes that may still be unpacked.
    budget: usize,
    is_whole: bool,
}

/// The items of all origins.
#[derive(Debug, Default)]
pub(in crate::system) struct Items {
    pub(in crate::system) origins: Vec<OriginStorage>,
    /// The number of items that JSON cannot express.
    pub(in crate::system) omitted: usize,
    /// False if a file could not be read to its end.
    pub(in crate::system) is_whole: bool,
}

impl Default for LocalStorage {
    fn default() -> Self {
        Self { latest: HashMap::new(), budget: MOST_BYTES, is_whole: true }
    }
}

impl LocalStorage {
    /// Notes that a file is missing from the result.
    pub(in crate::system) fn pass_over(&mut self) {
        self.is_whole = false;
    }

    /// Adds a file of the folder `Default/Local Storage/leveldb`. A file of another kind has no effect.
    pub(in crate::system) fn add(&mut self, name: &[u8], bytes: &[u8]) {
        let latest = &mut self.latest;
        let mut visit = |key: &[u8], write: Write, value: &[u8]| {
            if !key.starts_with(ITEM) {
                return;
            }
            match latest.get_mut(key) {
                Some((known, _)) if known.sequence > write.sequence => {}
                Some(known) => *known = (write, value.to_vec()),
                None => drop(latest.insert(key.to_vec(), (write, value.to_vec()))),
            }
        };
        if name.ends_with(b".ldb") {
            self.is_whole &= read_table(bytes, &mut self.budget, &mut visit);
        } else if name.ends_with(b".log") {
            read_log(bytes, &mut visit);
        }
    }

    /// Returns the items of the origins of web pages, sorted.
    pub(in crate::system) fn items(self) -> Items {
        let mut omitted = 0;
        let mut origins: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (key, (write, value)) in self.latest {
            let Some((origin, name)) = parts(&key).filter(|_| write.is_present) else { continue };
            match decoded(name).zip(decoded(&value)) {
                Some((name, value)) => {
                    origins.entry(origin).or_default().insert(name, value);
                }
                None => omitted += 1,
            }
        }
        let origins = origins.into_iter().map(|(origin, items)| {
            let items = items.into_iter().map(|(name, value)| Item { name, value });
            OriginStorage { origin, local_storage: items.collect(), indexed_db: None }
        });
        Items { origins: origins.collect(), omitted, is_whole: self.is_whole }
    }
}

/// The origin of a key and the encoded name of the item; none for the storage of a frame within another site.
fn parts(key: &[u8]) -> Option<(String, &[u8])> {
    let rest = key.strip_prefix(ITEM)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (origin, rest) = rest.split_at_checked(end)?;
    let origin = web_origin(std::str::from_utf8(origin).ok()?)?;
    Some((origin, rest.strip_prefix(&[0])?))
}

/// The text of a name or value; none for one with half of a surrogate pair.
fn decoded(bytes: &[u8]) -> Option<String> {
    let (encoding, text) = bytes.split_first()?;
    match encoding {
        0 => {
            let (units, rest) = text.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        1 => Some(text.iter().map(|byte| char::from(*byte)).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that Chromium wrote, with the `localStorage` of two origins.
    const TABLE: &[u8] = include_bytes!("local_storage.ldb");

    /// A log with one batch, whose writes have numbers from `sequence` on. A write without a value removes its key.
    fn log(sequence: u64, writes: &[(&[u8], Option<&[u8]>)]) -> Vec<u8> {
        let text = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let mut batch = sequence.to_le_bytes().to_vec();
        batch.extend(u32::try_from(writes.len()).unwrap().to_le_bytes());
        for (key, value) in writes {
            batch.push(u8::from(value.is_some()));
            batch.extend(text(key));
            batch.extend(value.map(text).unwrap_or_default());
        }
        let length = u16::try_from(batch.len()).unwrap().to_le_bytes();
        [&[0; 4][..], &length, &[1], &batch].concat()
    }

    fn found(storage: LocalStorage) -> Vec<(String, String, String)> {
        let origins = storage.items().origins.into_iter();
        let items = origins.flat_map(|origin| {
            let of = origin.origin;
            origin.local_storage.into_iter().map(move |item| (of.clone(), item.name, item.value))
        });
        items.collect()
    }

    #[test]
    fn a_table_of_chromium_has_the_items_of_its_origins() {
        let mut storage = LocalStorage::default();
        storage.add(b"000005.ldb", TABLE);
        storage.add(b"CURRENT", b"MANIFEST-000001");
        let items = storage.items();
        assert!(items.is_whole && items.omitted == 0);
        let names: Vec<_> = items
            .origins
            .iter()
            .map(|it| (it.origin.as_str(), it.local_storage.iter().map(|item| item.name.as_str())))
            .map(|(origin, names)| (origin, names.collect::<Vec<_>>()))
            .collect();
        assert_eq!(names[1], ("https://b.example", vec!["k", "token"]));
        assert_eq!(names[0].0, "https://a.example");
        assert!(items.origins[0].local_storage.iter().all(|item| !item.value.is_empty()));
    }

    #[test]
    fn the_latest_write_of_an_item_decides_and_what_json_cannot_express_is_counted() {
        let key = |name: &[u8]| [b"_https://a.example\0", name].concat();
        let (kept, gone, half) = (key(b"\x01kept"), key(b"\0g\0"), key(b"\x01half"));
        let newer = log(
            7,
            &[
                (&kept, Some(b"\0\xe4\0\xac\x20")),
                (&gone, None),
                (&half, Some(b"\0\x00\xd8")),
                (b"_https://a.example^0https://b.example\0\x01x", Some(b"\x01y")),
                (b"META:https://a.example", Some(b"")),
            ],
        );
        let older = log(3, &[(&kept, Some(b"\x01old")), (&gone, Some(b"\x01old"))]);
        for files in [[&newer, &older], [&older, &newer]] {
            let mut storage = LocalStorage::default();
            files.into_iter().for_each(|file| storage.add(b"000006.log", file));
            let items = storage.items();
            assert_eq!((items.origins.len(), items.omitted, items.is_whole), (1, 1, true));
            assert_eq!(items.origins[0].local_storage.len(), 1);
            assert_eq!(items.origins[0].local_storage[0].value, "ä€");
        }
        let mut storage = LocalStorage::default();
        storage.add(b"000007.log", &log(1, &[(&key(b"\x01\xe4"), Some(b"\x01\xfc"))]));
        let expected = ("https://a.example".to_owned(), "ä".to_owned(), "ü".to_owned());
        assert_eq!(found(storage), [expected]);
    }

    #[test]
    fn a_damaged_table_leaves_the_result_incomplete() {
        let mut storage = LocalStorage::default();
        storage.add(b"000005.ldb", &TABLE[..TABLE.len() - 1]);
        assert!(!storage.items().is_whole);
    }
}
