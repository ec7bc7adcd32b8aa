//! Limits of downloads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Downloads: the section `desktop.downloads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many files of one session are kept. Further downloads are canceled.
    pub max_files: usize,
    /// The largest file that is kept. A larger download is canceled.
    pub max_megabytes: u64,
    /// How much the kept files of one session may have together.
    pub max_total_megabytes: u64,
    /// With less room on the disk, no download is kept.
    pub min_free_megabytes: u64,
    /// How long the end of a run waits for downloads that have begun in it.
    pub wait_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_files: 500,
            max_megabytes: 1_024,
            max_total_megabytes: 4_096,
            min_free_megabytes: 256,
            wait_seconds: 15,
        }
    }
}

impl Settings {
    /// [`wait_seconds`](Self::wait_seconds).
    pub(super) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }
}
