//! The traces of an occupant that sanitizing a session clears.

use serde::{Deserialize, Serialize};

/// The traces that were cleared: counts where they are known, and names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cleared {
    /// The number of cookies; none if the browser did not answer.
    pub cookies: Option<u64>,
    /// The number of tabs; none if the browser did not answer. One empty tab is left.
    pub tabs: Option<u64>,
    /// The number of files in the folder of downloads.
    pub downloads: u64,
    /// The number of files in the folder of uploads.
    pub uploads: u64,
    /// The traces that were cleared whole and not counted: [`CLEARED_WHOLE`].
    pub whole: Vec<String>,
}

/// The traces that go with the profile, the home and the temporary files of a browser, and with its display's
/// selections.
pub const CLEARED_WHOLE: [&str; 15] = [
    "local_storage",
    "session_storage",
    "indexed_db",
    "cache_storage",
    "service_workers",
    "http_cache",
    "history",
    "permissions",
    "autofill",
    "passwords",
    "settings",
    "clipboard",
    "temporary_files",
    "remembered_tabs_and_cookies",
    "last_picture",
];

impl Cleared {
    /// These counts, and everything that is cleared whole.
    pub fn counted(cookies: Option<u64>, tabs: Option<u64>, downloads: u64, uploads: u64) -> Self {
        let whole = CLEARED_WHOLE.map(str::to_owned).to_vec();
        Self { cookies, tabs, downloads, uploads, whole }
    }
}
