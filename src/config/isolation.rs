//! The section `isolation`: the reach of a session's drivers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::http::cdp::{CommandPattern, DevTools, Room, Rules};

/// Settings of the section `isolation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Isolation {
    /// Whether commands of drivers that reach past the page are refused or rewritten.
    pub devtools_rules: bool,
    /// Commands that pass all the same, as they are: `Tracing.start`, or `Tracing.*` for a domain.
    pub devtools_allow: Vec<CommandPattern>,
    /// Directories below which a driver of this machine may have a folder of its own, to which its
    /// finished downloads are copied.
    pub handover_directories: Vec<PathBuf>,
}

impl Default for Isolation {
    fn default() -> Self {
        let handover_directories = vec!["/tmp".into(), "/var/tmp".into()];
        Self { devtools_rules: true, devtools_allow: Vec::new(), handover_directories }
    }
}

impl Isolation {
    /// Returns what the drivers of all sessions share.
    pub fn devtools(&self) -> DevTools {
        let rules = Rules::new(self.devtools_rules, &self.devtools_allow);
        DevTools { rules, room: Room::default(), folders: self.handover_directories.clone() }
    }
}
