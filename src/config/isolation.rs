//! The section `isolation`: the reach of a session's drivers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::http::cdp::{CommandPattern, DevTools, Room, Rules};
use crate::system::confine::Confinement;

/// The confinement of programs to files of their session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Files {
    /// By the kernel's Landlock, as far as it goes.
    #[default]
    Landlock,
    /// None: programs have all rights of the server's user.
    Off,
}

/// Settings of the section `isolation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Isolation {
    /// What keeps the programs of a session from files that are not its own: `landlock` or `off`.
    pub files: Files,
    /// Files and directories that every program of a session may read besides, such as an unpacked
    /// extension.
    pub read: Vec<PathBuf>,
    /// Whether a server that cannot give what is set here refuses to start.
    pub require: bool,
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
        Self {
            files: Files::default(),
            read: Vec::new(),
            require: false,
            devtools_rules: true,
            devtools_allow: Vec::new(),
            handover_directories,
        }
    }
}

impl Isolation {
    /// Returns the confinement of programs, by the program that this process is.
    pub fn confinement(&self) -> Confinement {
        match self.files {
            Files::Landlock => Confinement::by("/proc/self/exe", self.read.clone(), None),
            Files::Off => Confinement::default(),
        }
    }

    /// Returns what the drivers of all sessions share.
    pub fn devtools(&self) -> DevTools {
        let rules = Rules::new(self.devtools_rules, &self.devtools_allow);
        DevTools { rules, room: Room::default(), folders: self.handover_directories.clone() }
    }
}
