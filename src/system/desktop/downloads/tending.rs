//! Periodic scans of the session's folder for downloads.
//!
//! The browser does not report files that it writes itself, such as the PDF of a printed page, and
//! a page may print itself in a loop. Such files are collected as downloads within the limits, and
//! removed beyond them, so that the folder's size on the disk is bounded as well.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::folder::{age, is_complete};
use super::ledger::FileKey;
use super::{Begun, Settings, Shared, limits};
use crate::system::beneath::Tree;

/// The time between two scans of the folder.
const INTERVAL: Duration = Duration::from_secs(2);

/// The time for which a file must be unchanged before it is collected, because it may still be
/// written or be reported soon.
pub(super) const UNCHANGED: Duration = Duration::from_secs(3);

/// A file of the folder that is neither stored nor being stored.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    name: String,
    key: FileKey,
    is_settled: bool,
}

/// Tends the folder until this future is dropped.
pub(super) async fn tend(shared: &Arc<Shared>) -> Infallible {
    loop {
        sleep(INTERVAL).await;
        let looking = Arc::clone(shared);
        let look = tokio::task::spawn_blocking(move || looking.tidy(UNCHANGED)).await;
        // A folder that cannot be read now is read at the next scan.
        let settled = look.ok().and_then(Result::ok).unwrap_or_default();
        // Files that are queued for copying are not in the ledger yet.
        if shared.state.borrow().unstored > 0 {
            continue;
        }
        for (path, name) in settled {
            shared.take(path, Begun::new(name, String::new()));
        }
    }
}

impl Shared {
    /// Removes unknown files beyond the limits, and returns the others that have not changed for
    /// `unchanged`. This blocks.
    pub(super) fn tidy(&self, unchanged: Duration) -> io::Result<Vec<(PathBuf, String)>> {
        let Settings { max_files, max_total_megabytes, .. } = self.settings;
        let (mut files, mut bytes, mut unknown) = (0_usize, 0_u64, Vec::new());
        let path = self.directory.downloads();
        let folder = Tree::open(&path)?;
        for entry in folder.entries()? {
            let name = entry.name.to_string_lossy().into_owned();
            if !entry.is_plain() || !is_complete(&name) {
                continue;
            }
            let key = FileKey::of_entry(&entry.stat);
            if self.ledger.lock().knows(key) {
                files = files.saturating_add(1);
                bytes = bytes.saturating_add(key.size());
            } else {
                let is_settled = age(&entry.stat) >= unchanged;
                unknown.push(Found { path: path.join(entry.name), name, key, is_settled });
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
                if let Some(name) = path.file_name() {
                    let _ = folder.remove_file(Path::new(name)); // A missing file is fine.
                }
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
