//! Looks through the session's folder for downloads at intervals.
//!
//! The browser reports no files that it writes itself, such as the PDF of a page that is printed. A page may
//! print itself in a loop: the files are taken up as downloads while the limits allow it, and removed beyond
//! them, so that the folder is bounded on the disk as well.

use std::convert::Infallible;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use super::ledger::FileKey;
use super::{Begun, Settings, Shared, is_complete, limits};

/// The time between two scans of the folder.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long a file has to be unchanged before it is taken up: it may still be written, or be about to be
/// reported.
const UNCHANGED: Duration = Duration::from_secs(3);

/// A file of the folder that is neither stored nor on its way.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    name: String,
    key: FileKey,
    is_settled: bool,
}

/// Tends the folder until this is dropped.
pub(super) async fn tend(shared: &Arc<Shared>) -> Infallible {
    loop {
        sleep(INTERVAL).await;
        let looking = Arc::clone(shared);
        let look = tokio::task::spawn_blocking(move || looking.tidy(UNCHANGED)).await;
        // A folder that cannot be read now is read at the next look.
        let settled = look.ok().and_then(Result::ok).unwrap_or_default();
        // Files that are on their way to a copy are not known yet.
        if shared.state.borrow().unstored > 0 {
            continue;
        }
        for (path, name) in settled {
            shared.take(path, Begun { name, url: String::new() });
        }
    }
}

impl Shared {
    /// Removes unknown files beyond the limits, and returns the others that have not changed for `unchanged`. It
    /// blocks.
    pub(super) fn tidy(&self, unchanged: Duration) -> io::Result<Vec<(PathBuf, String)>> {
        let Settings { max_files, max_total_megabytes, .. } = self.settings;
        let (mut files, mut bytes, mut unknown) = (0_usize, 0_u64, Vec::new());
        for entry in fs::read_dir(self.directory.downloads())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(metadata) = entry.metadata() else { continue }; // It does not follow links.
            if !metadata.is_file() || !is_complete(&name) {
                continue;
            }
            let key = FileKey::of(&metadata);
            if self.ledger.lock().knows(key) {
                files = files.saturating_add(1);
                bytes = bytes.saturating_add(key.size());
            } else {
                let is_settled = age(&metadata) >= unchanged;
                unknown.push(Found { path: entry.path(), name, key, is_settled });
            }
        }
        let mut settled = Vec::new();
        for Found { path, name, key, is_settled } in unknown {
            let all = bytes.saturating_add(key.size());
            let reason = if files >= max_files {
                Some(limits::too_many(max_files))
            } else if all > max_total_megabytes << 20 {
                Some(limits::too_much(max_total_megabytes))
            } else {
                None
            };
            if let Some(reason) = reason {
                self.refuse(&name, reason);
                let _ = fs::remove_file(&path); // Gone is what it should be.
                continue;
            }
            (files, bytes) = (files.saturating_add(1), all);
            if is_settled {
                settled.push((path, name));
            }
        }
        Ok(settled)
    }
}

/// Returns for how long a file has neither changed nor been renamed.
fn age(metadata: &Metadata) -> Duration {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).unwrap_or_default();
    let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    SystemTime::now().duration_since(changed).unwrap_or_default()
}
