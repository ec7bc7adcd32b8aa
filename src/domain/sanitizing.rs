//! The traces of an occupant that sanitizing a session clears.

use serde::{Deserialize, Serialize};

/// The traces that were cleared: counts if they are known, and names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cleared {
    /// The number of cookies; none if the browser did not respond.
    pub cookies: Option<u64>,
    /// The number of tabs; none if the browser did not respond. One empty tab is left open.
    pub tabs: Option<u64>,
    /// The number of files in the downloads folder.
    pub downloads: u64,
    /// The number of files in the uploads folder.
    pub uploads: u64,
    /// The traces that were cleared entirely and not counted: [`CLEARED_WHOLE`].
    pub whole: Vec<String>,
}

/// The traces that are cleared with the browser's profile, home and temporary files, and with its
/// display's selections.
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
    /// Returns these counts, together with every trace that is cleared entirely.
    pub fn counted(cookies: Option<u64>, tabs: Option<u64>, downloads: u64, uploads: u64) -> Self {
        let whole = CLEARED_WHOLE.map(str::to_owned).to_vec();
        Self { cookies, tabs, downloads, uploads, whole }
    }
}
