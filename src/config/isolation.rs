//! The section `isolation`: the reach of a session's drivers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::egress::rule::Rule;
use crate::http::cdp::{CommandPattern, DevTools, Room, Rules};
use crate::system::confine::Confinement;
use crate::system::confine::place::{Placement, UserSetting, Wanted};
use crate::system::confine::user::Range;
use crate::system::egress::Mode;

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

/// Settings of the section `egress`: targets, as `example.com`, `*.example.com`, `10.0.0.0/8`, each with
/// ports behind a colon if it is for some only: `intra.example:8080,8443`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Targets beyond the public addresses that browsers and blocks may reach.
    pub allow: Vec<String>,
    /// Targets that no browser and no block may reach.
    pub deny: Vec<String>,
    /// Whether an upstream proxy may be at any address; otherwise it is under the same rules.
    pub any_upstream: bool,
}

impl Egress {
    /// Returns the rules that are none, with what is wrong with them.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let lists = [("allow", &self.allow), ("deny", &self.deny)];
        let rules =
            lists.into_iter().flat_map(|(key, list)| list.iter().map(move |rule| (key, rule)));
        rules
            .filter_map(|(key, rule)| {
                let wrong = rule.parse::<Rule>().err()?;
                Some((key, wrong.to_string()))
            })
            .collect()
    }
}

/// Settings of the section `isolation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Isolation {
    /// What keeps the programs of a session from files that are not its own: `landlock` or `off`.
    pub files: Files,
    /// The network of a session's programs: `namespace`, one of its own that only the egress proxy
    /// leads out of; `proxy`, the machine's with that proxy, as it is also where no namespace can be had;
    /// `off`, the machine's.
    pub network: Mode,
    /// Files and directories that every program of a session may read besides, such as an unpacked
    /// extension.
    pub read: Vec<PathBuf>,
    /// The directory for the directories of sessions' programs: profiles, homes, downloads, uploads,
    /// temporary files. By default `programs` in the data directory; where each session has a user, and
    /// other users cannot pass through the data directory, one in `/var/lib/greenroom-programs`.
    pub programs: Option<PathBuf>,
    /// Whether the programs of each session run as a user of their own: `auto`, where the server can
    /// change user (as root, or with the capabilities of the packaged unit), or `off`.
    pub users: UserSetting,
    /// The numbers of these users, `first-last`. Nothing else on the machine may have them.
    pub user_range: Range,
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
            network: Mode::Namespace,
            read: Vec::new(),
            programs: None,
            users: UserSetting::default(),
            user_range: Range::default(),
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
        const LAUNCHER: &str = "/proc/self/exe";
        match (self.files, self.network) {
            (Files::Landlock, _) => Confinement::by(LAUNCHER, self.read.clone(), None),
            (Files::Off, Mode::Namespace | Mode::Proxy) => Confinement::without_files(LAUNCHER),
            (Files::Off, Mode::Off) => Confinement::default(),
        }
    }

    /// Returns the place of the programs' directories, for a server with this data directory.
    pub fn placement(&self, data: &Path) -> Placement {
        // The launcher, which unconfined programs do not have, changes the user.
        let users = match self.files {
            Files::Landlock => self.users,
            Files::Off => UserSetting::Off,
        };
        let joins = self.network == Mode::Namespace;
        let programs = self.programs.clone();
        let wanted = Wanted { programs, users, range: self.user_range, joins };
        Placement::find(data, &wanted)
    }

    /// Returns what the drivers of all sessions share.
    pub fn devtools(&self) -> DevTools {
        let rules = Rules::new(self.devtools_rules, &self.devtools_allow);
        DevTools { rules, room: Room::default(), folders: self.handover_directories.clone() }
    }
}
