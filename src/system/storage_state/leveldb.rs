//! A reader of the keys and values in the files of a LevelDB, as Chromium's `localStorage` has them.
//!
//! It reads logs (`doc/log_format.md` of LevelDB) and tables (`doc/table_format.md`), with Snappy, while the
//! browser writes them. Files come from programs: what does not parse ends the file, and the work is bounded.

use std::ops::ControlFlow;

/// The size of a block of a log.
const LOG_BLOCK: usize = 32 * 1024;

/// The length of the footer of a table, and the number at its end.
const FOOTER: usize = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// The largest block of a table, unpacked: one value of `localStorage` has ten megabytes at most.
const LARGEST_BLOCK: usize = 32 * 1024 * 1024;

/// The longest key that is visited, in bytes. An origin is shorter; the name of an item may have megabytes, which
/// a table shares between any number of keys.
const LONGEST_KEY: usize = 4 * 1024;

/// One write of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    /// The number of the write, which rises over all files of the database.
    pub sequence: u64,
    /// True unless the write removed the key.
    pub is_present: bool,
}

/// A receiver of keys and their values. The value of a removed key is empty.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], Write, &[u8]);

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// An integer of this many bytes.
    fn little(&mut self, count: usize) -> Option<usize> {
        let bytes = self.take(count)?.iter().rev();
        Some(bytes.fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(length)
    }
}

/// Reads the keys and values of a log.
pub(super) fn read_log(bytes: &[u8], visit: Visit<'_>) {
    let mut batch = Vec::new();
    for block in bytes.chunks(LOG_BLOCK) {
        let mut reader = Reader(block);
        while let Some((kind, piece)) = log_record(&mut reader) {
            // 1: whole; 2, 3, 4: the first, a middle and the last piece of one.
            if matches!(kind, 1 | 2) {
                batch.clear();
            }
            batch.extend_from_slice(piece);
            if matches!(kind, 1 | 4) {
                read_batch(&batch, visit);
                batch.clear();
            }
        }
    }
}

fn log_record<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let _checksum = reader.take(4)?;
    let length = reader.little(2)?;
    let kind = reader.byte()?;
    // Zeros fill the end of a block.
    (1..=4).contains(&kind).then_some(())?;
    Some((kind, reader.take(length)?))
}

fn read_batch(bytes: &[u8], visit: Visit<'_>) -> Option<()> {
    let mut reader = Reader(bytes);
    let mut sequence = u64::from_le_bytes(reader.array()?);
    let _count = reader.take(4)?;
    loop {
        let is_present = reader.byte()? == 1;
        let key = reader.text()?;
        let value = if is_present { reader.text()? } else { &[] };
        visit(key, Write { sequence, is_present }, value);
        sequence = sequence.saturating_add(1);
    }
}

/// Reads the keys and values of a table, of keys up to [`LONGEST_KEY`]. `budget` is the number of bytes that may
/// still be unpacked or visited.
///
/// Returns false if the table was not read to its end.
pub(super) fn read_table(bytes: &[u8], budget: &mut usize, visit: Visit<'_>) -> bool {
    table(bytes, budget, visit).is_some()
}

fn table(bytes: &[u8], budget: &mut usize, visit: Visit<'_>) -> Option<()> {
    let footer = bytes.split_at_checked(bytes.len().checked_sub(FOOTER)?)?.1;
    footer.ends_with(&MAGIC).then_some(())?;
    let mut reader = Reader(footer);
    let _metaindex = (reader.varint()?, reader.varint()?);
    let index = block(bytes, (reader.varint()?, reader.varint()?), budget)?;
    let mut is_whole = true;
    let read = entries(&index, &mut |_last_key, handle| {
        let mut reader = Reader(handle);
        let place = reader.varint().zip(reader.varint());
        let Some(data) = place.and_then(|place| block(bytes, place, budget)) else {
            return ControlFlow::Break(());
        };
        let read = entries(&data, &mut |key, value| {
            // The key ends in the number of the write, and its kind in the lowest byte.
            let Some((key, number)) = key.split_last_chunk::<8>() else {
                return ControlFlow::Break(());
            };
            if key.len() > LONGEST_KEY {
                return ControlFlow::Continue(());
            }
            let Some(left) = budget.checked_sub(key.len()) else {
                return ControlFlow::Break(());
            };
            *budget = left;
            let number = u64::from_le_bytes(*number);
            visit(key, Write { sequence: number >> 8, is_present: number & 0xff == 1 }, value);
            ControlFlow::Continue(())
        });
        is_whole &= read.is_some();
        ControlFlow::Continue(())
    });
    (is_whole && read.is_some()).then_some(())
}

/// The content of a block at an offset, with this size.
fn block(bytes: &[u8], (offset, size): (usize, usize), budget: &mut usize) -> Option<Vec<u8>> {
    let mut reader = Reader(bytes.get(offset..)?);
    let packed = reader.take(size)?;
    let content = match reader.byte()? {
        0 => {
            *budget = budget.checked_sub(size)?;
            packed.to_vec()
        }
        1 => unpack(packed, budget)?,
        _ => return None,
    };
    Some(content)
}

/// A receiver of keys and values, which may end the visit.
type VisitEntry<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Calls `visit` with each key and value of a block; none if it ends early.
fn entries(block: &[u8], visit: &mut VisitEntry<'_>) -> Option<()> {
    // At the end are offsets of entries with whole keys, and the number of them.
    let (rest, count) = block.split_last_chunk::<4>()?;
    let offsets = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(4)?;
    let mut reader = Reader(rest.split_at_checked(rest.len().checked_sub(offsets)?)?.0);
    let mut key = Vec::new();
    while !reader.0.is_empty() {
        let (shared, own, length) = (reader.varint()?, reader.varint()?, reader.varint()?);
        key.truncate(shared);
        key.extend_from_slice(reader.take(own)?);
        let value = reader.take(length)?;
        if visit(&key, value).is_break() {
            return None;
        }
    }
    Some(())
}

/// Unpacks a block in the raw format of Snappy.
fn unpack(packed: &[u8], budget: &mut usize) -> Option<Vec<u8>> {
    let mut reader = Reader(packed);
    let length = reader.varint().filter(|length| *length <= LARGEST_BLOCK)?;
    *budget = budget.checked_sub(length)?;
    let mut bytes = Vec::new();
    while let Some(tag) = reader.byte() {
        let upper = usize::from(tag >> 2);
        let (count, offset) = match tag & 3 {
            0 => {
                let count = match upper.checked_sub(59).filter(|more| *more > 0) {
                    Some(more) => reader.little(more)?,
                    None => upper,
                };
                bytes.extend_from_slice(reader.take(count.checked_add(1)?)?);
                (0, 0)
            }
            1 => ((upper & 7) + 4, (usize::from(tag >> 5) << 8) | reader.little(1)?),
            2 => (upper + 1, reader.little(2)?),
            _ => (upper + 1, reader.little(4)?),
        };
        for _ in 0..count {
            let from = bytes.len().checked_sub(offset)?;
            bytes.push(*bytes.get(from)?);
        }
        if bytes.len() > length {
            return None;
        }
    }
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of writes, as a record of a log in pieces of at most `most` bytes.
    fn log(sequence: u64, keys: &[(&str, Option<&str>)], most: usize) -> Vec<u8> {
        let mut batch = sequence.to_le_bytes().to_vec();
        batch.extend(u32::try_from(keys.len()).unwrap().to_le_bytes());
        let text = |text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            [&[length], text.as_bytes()].concat()
        };
        for (key, value) in keys {
            batch.push(u8::from(value.is_some()));
            batch.extend(text(key));
            batch.extend(value.map(text).unwrap_or_default());
        }
        let pieces: Vec<&[u8]> = batch.chunks(most).collect();
        let last = pieces.len() - 1;
        let mut log = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let kind = match (at == 0, at == last) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            log.extend([0; 4]);
            log.extend(u16::try_from(piece.len()).unwrap().to_le_bytes());
            log.push(kind);
            log.extend_from_slice(piece);
        }
        log
    }

    fn keys_of(read: impl FnOnce(Visit<'_>)) -> Vec<(String, u64, bool)> {
        let mut keys = Vec::new();
        read(&mut |key, Write { sequence, is_present }, _value| {
            keys.push((String::from_utf8_lossy(key).into_owned(), sequence, is_present));
        });
        keys
    }

    #[test]
    fn a_log_is_read_however_its_records_are_cut() {
        let expected = [("a".to_owned(), 7, true), ("bb".to_owned(), 8, false)];
        for most in [1, 5, 1000] {
            let log = log(7, &[("a", Some("value")), ("bb", None)], most);
            assert_eq!(keys_of(|visit| read_log(&log, visit)), expected);
            // A log that is being written ends anywhere.
            for end in 0..log.len() {
                let read = keys_of(|visit| read_log(&log[..end], visit));
                assert!(read.is_empty(), "{end}: {read:?}");
            }
        }
    }

    /// A table that Chromium wrote, with the `localStorage` of two origins.
    const TABLE: &[u8] = include_bytes!("local_storage.ldb");

    #[test]
    fn a_packed_table_of_chromium_is_read() {
        let mut budget = 1024 * 1024;
        let keys = keys_of(|visit| assert!(read_table(TABLE, &mut budget, visit)));
        let origins: Vec<&str> =
            keys.iter().filter_map(|(key, ..)| key.strip_prefix("META:")).collect();
        assert_eq!(origins, ["https://a.example", "https://b.example"]);
        assert!(keys.iter().all(|(_key, sequence, is_present)| *sequence > 0 && *is_present));
        assert!(budget < 1024 * 1024);
    }

    #[test]
    fn a_damaged_table_is_not_read_to_its_end() {
        let mut budget = usize::MAX;
        for end in 0..TABLE.len() {
            assert!(
                !read_table(&TABLE[..end], &mut budget, &mut |_key, _write, _value| ()),
                "{end}"
            );
        }
        for at in (0..TABLE.len()).step_by(53) {
            let mut damaged = TABLE.to_vec();
            damaged[at] ^= 0xff;
            let mut budget = 1024 * 1024;
            read_table(&damaged, &mut budget, &mut |_key, _write, _value| ());
        }
        let mut spent = 10;
        assert!(!read_table(TABLE, &mut spent, &mut |_key, _write, _value| ()));
    }

    fn varint(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
        bytes
    }

    /// A table of one block that is not packed, whose keys begin with `prefix` and are equal.
    fn table_of(prefix: &[u8], count: usize) -> Vec<u8> {
        let whole = [prefix, &[0; 8]].concat();
        let mut block = [vec![0], varint(whole.len()), vec![0], whole.clone()].concat();
        let same = [varint(whole.len()), vec![0, 0]].concat();
        block.extend(same.repeat(count - 1));
        block.extend([0; 4]); // No restarts.
        let size = block.len();
        let handle = [varint(0), varint(size)].concat();
        let mut index = [vec![0, 1], varint(handle.len()), vec![b'z'], handle].concat();
        index.extend([0; 4]);
        let place = [varint(0), varint(0), varint(size + 1), varint(index.len())].concat();
        let mut footer = place;
        footer.resize(FOOTER - MAGIC.len(), 0);
        [block, vec![0], index, vec![0], footer, MAGIC.to_vec()].concat()
    }

    #[test]
    fn keys_that_share_a_long_beginning_take_no_time_of_their_own() {
        let visits = |table: &[u8], mut budget: usize| {
            let mut count = 0_usize;
            let is_whole = read_table(table, &mut budget, &mut |_key, _write, _value| count += 1);
            (is_whole, count)
        };
        let short = table_of(b"META:https://a.example", 3);
        assert_eq!(visits(&short, 1024 * 1024), (true, 3));
        let long = table_of(&vec![b'a'; 8 * 1024 * 1024], 1_000_000);
        assert_eq!(visits(&long, 64 * 1024 * 1024), (true, 0));
        let most = table_of(&vec![b'a'; LONGEST_KEY], 100_000);
        let (is_whole, count) = visits(&most, 64 * 1024 * 1024);
        assert!(!is_whole && count < 64 * 1024 * 1024 / LONGEST_KEY, "{count}");
    }

    #[test]
    fn a_packed_block_that_claims_more_than_it_has_is_refused() {
        let mut budget = usize::MAX;
        assert_eq!(unpack(&[4, 0b1100, b'a', b'b', b'c', b'd'], &mut budget).unwrap(), b"abcd");
        // Four times `ab`, by a copy that overlaps itself.
        let copy = [8, 0b100, b'a', b'b', 0b1_0110, 2, 0];
        assert_eq!(unpack(&copy, &mut budget).unwrap(), b"abababab");
        assert_eq!(unpack(&[9, 0b100, b'a', b'b', 0b1_0110, 2, 0], &mut budget), None);
        assert_eq!(unpack(&[8, 0b100, b'a', b'b', 0b1_0110, 3, 0], &mut budget), None, "before");
        assert_eq!(unpack(&[0xff; 9], &mut budget), None);
    }
}
