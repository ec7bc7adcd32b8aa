//! The files that programs write to, and the record of all started processes. The record later
//! identifies the owner of a lock or a segment of memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::domain::session::ProcessIdentity;
use crate::system::confine::spec::User;

/// The file beside the logs that names every started process, one JSON object per line.
pub const STARTED: &str = "started";

/// The file beside the logs that names the control group of the programs.
pub const GROUP: &str = "group";

/// The file beside the logs that contains the uid of confined programs.
pub const USER: &str = "user";

const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 20;

/// The last lines of a log; empty if it cannot be read.
pub fn tail(path: &Path) -> Vec<String> {
    let Ok(bytes) = end_of(path, TAIL_BYTES) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines.into_iter().skip(skipped).map(str::to_owned).collect()
}

/// Removes the older part of a log that is larger than `limit` bytes. Its writer has opened it for
/// append and continues after the rest. Lines that it writes meanwhile may be lost.
pub fn cut(path: &Path, limit: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() <= limit {
        return Ok(());
    }
    let kept = end_of(path, limit / 4)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.set_len(0)?;
    file.write_all(b"(older lines were removed)\n")?;
    file.write_all(&kept)
}

/// Appends a process to the record in this directory.
pub(super) fn note(records: &Path, process: &ProcessIdentity) -> io::Result<()> {
    let mut line = serde_json::to_vec(process)?;
    line.push(b'\n');
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(records.join(STARTED));
    file?.write_all(&line)
}

/// The processes in such a record. A truncated line is skipped.
pub fn started(record: &Path) -> Vec<ProcessIdentity> {
    let text = std::fs::read_to_string(record).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The user in the record of this directory; none if programs run as the server's user.
pub fn user_in(records: &Path) -> Option<User> {
    let text = std::fs::read_to_string(records.join(USER)).ok()?;
    let uid = text.trim().parse().ok()?;
    Some(User { uid, gid: uid })
}

fn end_of(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(end)
}
