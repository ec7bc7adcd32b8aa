//! The sections `isolation` and `egress`: the files and targets that a session's programs and
//! drivers may reach.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::browser_flags::check_name;
use crate::domain::browser_policies;
use crate::egress::rule::Rule;
use crate::live::devtools::{CommandPattern, DevTools, Room, Rules, SessionPorts};
use crate::system::confine::Confinement;
use crate::system::confine::place::{Placement, PlacementSettings, UserSetting};
use crate::system::confine::user::Range;
use crate::system::egress::Mode;

/// The confinement of programs to files of their session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Files {
    /// Confinement by the kernel's Landlock, as far as it is supported.
    #[default]
    Landlock,
    /// None: programs have all rights of the server's user.
    Off,
}

/// Settings of the section `egress`. Targets are written as `example.com`, `*.example.com` or
/// `10.0.0.0/8`, with a colon and ports to limit them to those: `intra.example:8080,8443`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Targets beyond the public addresses that browsers and blocks may reach.
    pub allow: Vec<String>,
    /// Targets that no browser and no block may reach.
    pub deny: Vec<String>,
    /// True if an upstream proxy may have any address; otherwise the same rules apply to it.
    pub any_upstream: bool,
}

impl Egress {
    /// Returns the invalid rules, with the reason for each.
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
    /// The confinement of a session's programs to its own files: `landlock` or `off`.
    pub files: Files,
    /// The network of a session's programs: `namespace`, a separate one behind the egress proxy;
    /// `proxy`, the machine's with that proxy; or `off`, the machine's. `namespace` falls back to
    /// `proxy` if no namespace can be created.
    pub network: Mode,
    /// Additional files and directories that every program of a session may read, such as an
    /// unpacked extension.
    pub read: Vec<PathBuf>,
    /// The directory for the data of sessions' programs: profiles, homes, downloads, uploads,
    /// temporary files. By default `programs` in the data directory. If each session has a user,
    /// and other users cannot pass through the data directory, it is one in
    /// `/var/lib/greenroom-programs`.
    pub programs: Option<PathBuf>,
    /// The user of each session's programs: `auto`, a separate one if the server can change user
    /// (as root, or with the capabilities of the packaged unit), or `off`.
    pub users: UserSetting,
    /// The user ids of these users, `first-last`. No other user of the machine may have them.
    pub user_range: Range,
    /// True if the server refuses to start when it cannot provide these settings.
    pub require: bool,
    /// True if commands of drivers that reach beyond the page are refused or rewritten.
    pub devtools_rules: bool,
    /// Commands that pass unchanged in spite of the rules: `Tracing.start`, or `Tracing.*` for a
    /// domain.
    pub devtools_allow: Vec<CommandPattern>,
    /// True if a client on this machine may open a port of the machine that leads to the DevTools of a
    /// session, for programs that take only a host and a port. The port is for the client's user.
    pub devtools_ports: bool,
    /// The names of the flags that clients may give to their browser, such as `--mute-audio`. Flags
    /// that could undo the isolation are refused.
    pub flags_allow: Vec<String>,
    /// Permissions that uploaded extensions may have although they could undo the isolation, such as
    /// `debugger`.
    pub extension_permissions_allow: Vec<String>,
    /// The names of the Chromium policies that clients may set for their browser, such as
    /// `PrintingEnabled`; by default those that change pages and windows only. Policies that could
    /// undo the isolation are refused.
    pub policies_allow: Vec<String>,
    /// Directories below which a driver of this machine may have its own folder, to which its
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
            devtools_ports: false,
            flags_allow: Vec::new(),
            extension_permissions_allow: Vec::new(),
            policies_allow: browser_policies::HARMLESS.map(str::to_owned).to_vec(),
            handover_directories,
        }
    }
}

impl Isolation {
    /// Returns the invalid settings, with the reason for each.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let flags = self.flags_allow.iter().filter_map(|name| check_name(name).err());
        let policies = self.policies_allow.iter();
        let policies = policies.filter_map(|name| browser_policies::check_name(name).err());
        let flags = flags.map(|reason| ("flags_allow", reason));
        flags.chain(policies.map(|reason| ("policies_allow", reason))).collect()
    }

    /// Returns the confinement of programs, with this program as the launcher.
    pub fn confinement(&self) -> Confinement {
        const LAUNCHER: &str = "/proc/self/exe";
        match (self.files, self.network) {
            (Files::Landlock, _) => Confinement::by(LAUNCHER, self.read.clone(), None),
            (Files::Off, Mode::Namespace | Mode::Proxy) => Confinement::without_files(LAUNCHER),
            (Files::Off, Mode::Off) => Confinement::default(),
        }
    }

    /// Returns the location of the programs' directories, for a server with this data directory.
    pub fn placement(&self, data: &Path) -> Placement {
        // The launcher changes the user, and unconfined programs do not have it.
        let users = match self.files {
            Files::Landlock => self.users,
            Files::Off => UserSetting::Off,
        };
        let joins = self.network == Mode::Namespace;
        let programs = self.programs.clone();
        let wanted = PlacementSettings { programs, users, range: self.user_range, joins };
        Placement::find(data, &wanted)
    }

    /// Returns the DevTools rules that the drivers of all sessions share.
    pub fn devtools(&self) -> DevTools {
        let rules = Rules::new(self.devtools_rules, &self.devtools_allow);
        DevTools {
            rules,
            room: Room::default(),
            folders: self.handover_directories.clone(),
            opens_ports: self.devtools_ports,
            ports: SessionPorts::default(),
        }
    }
}
