//! The specification of one start: all that the launcher is given, as JSON on its standard input.
//!
//! It comes from the server alone. Nothing in it is read from a place that a program of a session
//! can write, and no part of it stands on a command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The largest specification that is read, in bytes.
pub const LARGEST: u64 = 1024 * 1024;

/// The programs of a session, each with a ruleset of its own in [`rules`](super::rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The X server.
    Xvfb,
    /// The VNC server beside it.
    X11vnc,
    /// The X server that is a VNC server as well.
    Xtigervnc,
    /// The browser.
    Chromium,
    /// The Python of a `code` block, with Playwright's driver as its child.
    Python,
    /// The maker of films.
    Ffmpeg,
    /// The egress program, which enters its domain itself once it has its namespaces.
    Egress,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Xvfb,
        Self::X11vnc,
        Self::Xtigervnc,
        Self::Chromium,
        Self::Python,
        Self::Ffmpeg,
        Self::Egress,
    ];
}

/// A program to start, and what it is confined to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The ruleset.
    pub kind: Kind,
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its arguments, without its name.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// All of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Its working directory.
    #[serde(default = "root")]
    pub directory: PathBuf,
    /// The directory of the control group to join.
    #[serde(default)]
    pub group: Option<PathBuf>,
    /// The file to which the launcher adds its [`Report`](super::status::Report), one JSON object a
    /// line, before it becomes the program.
    #[serde(default)]
    pub status: Option<PathBuf>,
    /// The most files that the program may have open.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// The inherited descriptors above 2 that the program keeps.
    #[serde(default)]
    pub keep: Vec<i32>,
    /// The network namespace to join; that of the server without.
    #[serde(default)]
    pub network: Option<Network>,
    /// The user that the program runs as; the launcher's own without.
    #[serde(default)]
    pub user: Option<User>,
    /// The Landlock domain; none without.
    #[serde(default)]
    pub landlock: Option<Landlock>,
}

/// A network namespace that another process holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The user namespace that owns it, where it is not that of the server.
    pub user: Option<PathBuf>,
    /// The network namespace, as `/proc/<pid>/task/<id>/ns/net`.
    pub network: PathBuf,
}

/// A user and a group that own nothing but one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The real, effective and saved user.
    pub uid: u32,
    /// The real, effective and saved group. There are no supplementary ones.
    pub gid: u32,
}

impl User {
    /// The user that this process runs as.
    pub fn own() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: gid.as_raw() }
    }
}

fn root() -> PathBuf {
    "/".into()
}

/// The Landlock domain of a program: its kind's rules, and these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Landlock {
    /// Further paths to read and execute. Each must be there.
    pub execute: Vec<PathBuf>,
    /// Further paths to read. Each must be there.
    pub read: Vec<PathBuf>,
    /// What may be read, written, made and removed as well, but not executed. Each must be there.
    pub write: Vec<PathBuf>,
    /// The TCP ports that may be connected to; any without. Needs ABI 4. Where it is set, UDP is
    /// refused as far as the kernel can (ABI 10).
    pub connect: Option<Vec<u16>>,
    /// The TCP ports that may be bound; any without. Port 0 stands for one that the kernel picks.
    pub bind: Option<Vec<u16>>,
    /// True to cut off signals to other domains. Needs ABI 6.
    pub signals: bool,
    /// True to cut off abstract sockets of other domains. Needs ABI 6. Not for clients of a display:
    /// libxcb tries the display's abstract socket first, takes a refusal for the last word, and in
    /// Debian 12 takes no path as `DISPLAY`. The X server cannot do without that socket: `-displayfd`
    /// makes no lock, so that only the socket's name keeps two servers from one number.
    pub abstract_sockets: bool,
    /// Features without which the program does not start.
    pub require: Vec<Feature>,
    /// Simulates a kernel of this ABI; 0 is one without Landlock.
    pub simulate_abi: Option<i32>,
}

/// Features of a kernel's Landlock, by the ABI that each needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Files and directories, from ABI 1.
    Files,
    /// Truncation by path, from ABI 3.
    Truncation,
    /// TCP ports, from ABI 4.
    Ports,
    /// Device commands, from ABI 5.
    Devices,
    /// Signals and abstract sockets, from ABI 6.
    Scopes,
    /// Sockets by path, from ABI 9.
    PathSockets,
    /// UDP, from ABI 10.
    Udp,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 7] = [
        Self::Files,
        Self::Truncation,
        Self::Ports,
        Self::Devices,
        Self::Scopes,
        Self::PathSockets,
        Self::Udp,
    ];

    /// The first ABI that has it.
    pub fn since(self) -> i32 {
        match self {
            Self::Files => 1,
            Self::Truncation => 3,
            Self::Ports => 4,
            Self::Devices => 5,
            Self::Scopes => 6,
            Self::PathSockets => 9,
            Self::Udp => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_specification_has_defaults_and_an_unknown_field_is_refused() {
        let text = r#"{"kind":"xvfb","program":"/usr/bin/Xvfb"}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!(spec.directory, std::path::Path::new("/"));
        assert_eq!(spec.landlock, None);
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        let text = r#"{"kind":"xvfb","program":"/usr/bin/Xvfb","landlok":{}}"#;
        assert!(serde_json::from_str::<Spec>(text).is_err());
    }
}
