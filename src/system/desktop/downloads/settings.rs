//! Limits of a session's downloads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Downloads: the section `desktop.downloads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The number of files that are kept for one session. Further downloads are canceled.
    pub max_files: usize,
    /// The largest file that is kept, in megabytes. A larger download is canceled.
    pub max_megabytes: u64,
    /// The total size of the kept files of one session, in megabytes.
    pub max_total_megabytes: u64,
    /// The free disk space below which no download is kept, in megabytes.
    pub min_free_megabytes: u64,
    /// The longest time that the end of a run waits for downloads that have begun in it.
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
    /// The value of [`wait_seconds`](Self::wait_seconds) as a duration.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }
}
