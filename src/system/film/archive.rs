//! A ZIP archive of files that are compressed already, for black boxes without ffmpeg.
//!
//! Files are stored and not deflated, below 4 GiB: APPNOTE.TXT 6.3.3, sections 4.3.7, 4.3.12 and 4.3.16.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// The ZIP version that is needed to extract: 1.0.
const VERSION: u16 = 10;

/// Writes an archive with these entries, each a name and its content.
pub(super) fn write(
    file: &Path,
    entries: impl Iterator<Item = io::Result<(String, Vec<u8>)>>,
) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    let (mut central, mut count, mut offset) = (Vec::new(), 0_u16, 0_u32);
    for entry in entries {
        let (name, bytes) = entry?;
        let known = known(&name, &bytes)?;
        let mut head = LOCAL.to_le_bytes().to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend(&known);
        head.extend(name.as_bytes());
        out.write_all(&head)?;
        out.write_all(&bytes)?;

        central.extend(CENTRAL.to_le_bytes());
        central.extend(VERSION.to_le_bytes());
        central.extend(VERSION.to_le_bytes());
        central.extend(&known);
        // The comment, the number of the disk and the attributes, all empty.
        central.extend([0; 10]);
        central.extend(offset.to_le_bytes());
        central.extend(name.as_bytes());
        count = count.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        let written = u32::try_from(head.len() + bytes.len()).map_err(io::Error::other)?;
        offset = offset.checked_add(written).ok_or(io::ErrorKind::FileTooLarge)?;
    }
    out.write_all(&central)?;
    let mut end = END.to_le_bytes().to_vec();
    end.extend([0; 4]);
    end.extend(count.to_le_bytes());
    end.extend(count.to_le_bytes());
    end.extend(u32::try_from(central.len()).map_err(io::Error::other)?.to_le_bytes());
    end.extend(offset.to_le_bytes());
    end.extend([0; 2]);
    out.write_all(&end)?;
    out.flush()
}

/// The fields that both headers of an entry share: from the flags to the length of the extra field.
fn known(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    /// The first of January 1980, because the names contain the time.
    const DATE: u16 = 0x21;
    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut known = vec![0; 6]; // No flags, stored, at midnight.
    known.extend(DATE.to_le_bytes());
    known.extend(crc32fast::hash(bytes).to_le_bytes());
    known.extend(size.to_le_bytes());
    known.extend(size.to_le_bytes());
    known.extend(u16::try_from(name.len()).map_err(io::Error::other)?.to_le_bytes());
    known.extend([0; 2]);
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_its_entries_where_its_directory_says() {
        let file = std::env::temp_dir().join(format!("gr-archive-{}.zip", std::process::id()));
        let entries = [("1.jpg", b"one".to_vec()), ("2.jpg", b"second".to_vec())];
        let entries = entries.into_iter().map(|(name, bytes)| Ok((name.to_owned(), bytes)));
        write(&file, entries).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let end = bytes.len() - 22;
        assert_eq!((number(end), bytes[end + 10]), (END, 2));
        let central = usize::try_from(number(end + 16)).unwrap();
        let second = central + 46 + 5;
        assert_eq!((number(central), number(second)), (CENTRAL, CENTRAL));
        let local = usize::try_from(number(second + 42)).unwrap();
        assert_eq!(number(local), LOCAL);
        assert_eq!(number(local + 14), crc32fast::hash(b"second"));
        assert_eq!(&bytes[local + 30..local + 41], b"2.jpgsecond");
    }
}
