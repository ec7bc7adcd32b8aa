//! The files that programs write to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 20;

/// The last lines of a log, or none when it cannot be read.
pub fn tail(path: &Path) -> Vec<String> {
    let Ok(bytes) = end_of(path, TAIL_BYTES) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines.into_iter().skip(skipped).map(str::to_owned).collect()
}

/// Cuts away the older part of a log that is larger than `limit`. Its writer has opened it for
/// append and goes on behind what is left; lines that it writes meanwhile may be lost.
pub fn cut(path: &Path, limit: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() <= limit {
        return Ok(());
    }
    let kept = end_of(path, limit / 4)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.set_len(0)?;
    file.write_all(b"(older lines were cut away)\n")?;
    file.write_all(&kept)
}

fn end_of(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(end)
}
