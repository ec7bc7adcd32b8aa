//! Limits of a session's uploads.

use serde::{Deserialize, Serialize};

/// Uploads: the section `desktop.uploads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The largest file that can be uploaded into a session, in MiB.
    pub max_file_mib: u64,
    /// The number of uploaded files that a session has at once, those of its runs included.
    pub max_files: usize,
    /// The total size of the uploaded files that a session has at once, in MiB.
    pub max_total_mib: u64,
    /// The free disk space below which no upload is taken, in MiB.
    pub min_free_mib: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_file_mib: 1_024, max_files: 500, max_total_mib: 4_096, min_free_mib: 256 }
    }
}
