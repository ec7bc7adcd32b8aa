//! A ZIP archive of files that are compressed already, for black boxes without ffmpeg.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use zip::result::ZipResult;
use zip::write::FullFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A file of an archive.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name in the archive.
    pub name: String,
    /// The time of the entry, in milliseconds since 1970.
    pub at: u64,
    /// The file with the content.
    pub file: PathBuf,
}

/// Writes an archive with these entries. It reads one file at a time, and stores the contents as they are.
pub(super) fn write(archive: &Path, entries: impl Iterator<Item = Entry>) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(archive)?));
    for entry in entries {
        let mut content = File::open(&entry.file)?;
        zip.start_file(&entry.name, options(entry.at)?)?;
        io::copy(&mut content, &mut zip)?;
    }
    zip.finish()?.flush()
}

/// The options of an entry. The date of the format has no zone and two seconds at least; an extra field
/// has the exact second.
fn options(at: u64) -> ZipResult<FullFileOptions<'static, 'static>> {
    let options = FullFileOptions::default().compression_method(CompressionMethod::Stored);
    let Some(at) = i64::try_from(at).ok().and_then(DateTime::from_timestamp_millis) else {
        return Ok(options);
    };
    let options = options.last_modified_time(at.naive_utc().try_into().unwrap_or_default());
    match u32::try_from(at.timestamp()) {
        Ok(seconds) => options.with_extended_timestamp(Some(seconds), None, None),
        Err(_later_than_2106) => Ok(options),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_program_reads_names_dates_and_contents() {
        let folder = std::env::temp_dir().join(format!("gr-archive-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let archive = folder.join("all.zip");
        let long = "x".repeat(100_000);
        let at = 1_764_424_861_500; // 2025-11-29 14:01:01.5 UTC.
        let files = [
            ("1.jpg", "one", at),
            ("zürich 日本.jpg", long.as_str(), at + 1_000),
            ("empty", "", 0),
            ("late", "2107", u64::MAX),
        ];
        let entries = files.iter().enumerate().map(|(index, (name, content, at))| {
            let file = folder.join(index.to_string());
            std::fs::write(&file, content).unwrap();
            Entry { name: (*name).to_owned(), at: *at, file }
        });
        write(&archive, entries).unwrap();
        let missing = Entry { name: "a".to_owned(), at, file: folder.join("none") };
        let refused = write(&folder.join("part.zip"), [missing].into_iter());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);

        // A local header says the sizes itself: some readers need them there.
        let script = "import sys, zipfile\n\
            z = zipfile.ZipFile(sys.argv[1])\n\
            assert z.testzip() is None\n\
            for i in z.infolist():\n\
            \x20 print(ascii(i.filename), i.date_time, i.compress_type, i.flag_bits & 8, len(z.read(i)))";
        #[expect(clippy::disallowed_methods, reason = "a reader that is not ours")]
        let output = Command::new("python3").args(["-c", script]).arg(&archive).output();
        std::fs::remove_dir_all(&folder).unwrap();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = "'1.jpg' (2025, 11, 29, 14, 1, 0) 0 0 3\n\
            'z\\xfcrich \\u65e5\\u672c.jpg' (2025, 11, 29, 14, 1, 2) 0 0 100000\n\
            'empty' (1980, 1, 1, 0, 0, 0) 0 0 0\n\
            'late' (1980, 1, 1, 0, 0, 0) 0 0 4\n";
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}
