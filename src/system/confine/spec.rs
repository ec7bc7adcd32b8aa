//! The specification of one start, which the launcher reads as JSON from standard input.
//!
//! It comes from the server alone. Nothing in it is read from a location that a program of a
//! session can write, and no part of it appears on a command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The largest specification that is read, in bytes.
pub const LARGEST: u64 = 1024 * 1024;

/// The programs of a session, each with its own ruleset in [`rules`](super::rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramKind {
    /// Xvfb, the X server.
    Xvfb,
    /// The VNC server beside Xvfb.
    X11vnc,
    /// The X server that is also a VNC server.
    Xtigervnc,
    /// The browser of the session.
    Chromium,
    /// The Python of a `code` block, with Playwright's driver as its child.
    Python,
    /// The program that encodes films.
    Ffmpeg,
    /// The tools that write the database of the browser's client certificates.
    Nss,
    /// The egress program, which enters its domain itself once it has its namespaces.
    Egress,
}

impl ProgramKind {
    pub const ALL: [Self; 8] = [
        Self::Xvfb,
        Self::X11vnc,
        Self::Xtigervnc,
        Self::Chromium,
        Self::Python,
        Self::Ffmpeg,
        Self::Nss,
        Self::Egress,
    ];
}

/// A program to start, and its confinement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The kind of program, which selects the ruleset.
    pub kind: ProgramKind,
    /// The absolute path of the program.
    pub program: PathBuf,
    /// The arguments, without the program's name.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The complete environment of the program.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The working directory of the program.
    #[serde(default = "root")]
    pub directory: PathBuf,
    /// The directory of the control group to join.
    #[serde(default)]
    pub group: Option<PathBuf>,
    /// The file to which the launcher appends its [`Report`](super::status::Report), one JSON
    /// object per line, before it becomes the program.
    #[serde(default)]
    pub status: Option<PathBuf>,
    /// The most files that the program may have open.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// The inherited descriptors above 2 that the program keeps.
    #[serde(default)]
    pub keep: Vec<i32>,
    /// The network namespace to join; the server's own if none.
    #[serde(default)]
    pub network: Option<Network>,
    /// The policies of the browser; those of the machine if none. They need a network to join,
    /// with which the program gets a mount namespace.
    #[serde(default)]
    pub policies: Option<Policies>,
    /// The user that the program runs as; the launcher's own if none.
    #[serde(default)]
    pub user: Option<User>,
    /// The Landlock domain; none if the program is not confined by Landlock.
    #[serde(default)]
    pub landlock: Option<Landlock>,
}

/// A network namespace that another process holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The user namespace that owns it, if it is not the server's.
    pub user: Option<PathBuf>,
    /// The network namespace, as `/proc/<pid>/task/<id>/ns/net`.
    pub network: PathBuf,
}

/// The policies of a browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The folder of the browser below `/etc`, such as `/etc/chromium`.
    pub folder: PathBuf,
    /// The file with the policies of the session, as JSON.
    pub file: PathBuf,
}

/// A user and a group that own only the files of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The real, effective and saved uid.
    pub uid: u32,
    /// The real, effective and saved gid. There are no supplementary groups.
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

/// The Landlock domain of a program: these rules in addition to those of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Landlock {
    /// Further paths to read and execute. Each must exist.
    pub execute: Vec<PathBuf>,
    /// Further paths to read. Each must exist.
    pub read: Vec<PathBuf>,
    /// Further paths to read, write, create and remove, but not execute. Each must exist.
    pub write: Vec<PathBuf>,
    /// The TCP ports that the program may connect to; any if none. Needs ABI 4. If it is set, UDP
    /// is refused as far as the kernel can (ABI 10).
    pub connect: Option<Vec<u16>>,
    /// The TCP ports that the program may bind; any if none. Port 0 stands for one that the kernel picks.
    pub bind: Option<Vec<u16>>,
    /// True to block signals to other domains. Needs ABI 6.
    pub signals: bool,
    /// True to block abstract sockets of other domains. Needs ABI 6. Not for clients of a display:
    /// libxcb tries the display's abstract socket first and does not retry after a refusal. In
    /// Debian 12 it accepts no path as `DISPLAY`. The X server also needs that socket: `-displayfd`
    /// creates no lock, so only the socket's name keeps two servers from using one number.
    pub abstract_sockets: bool,
    /// Features without which the program must not start.
    pub require: Vec<Feature>,
    /// The ABI of the kernel to simulate; 0 simulates a kernel without Landlock.
    pub simulate_abi: Option<i32>,
}

/// Features of the kernel's Landlock, by the ABI that introduced each.
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
    /// Unix sockets by path, from ABI 9.
    PathSockets,
    /// UDP sockets, from ABI 10.
    Udp,
}

impl Feature {
    pub const ALL: [Self; 7] = [
        Self::Files,
        Self::Truncation,
        Self::Ports,
        Self::Devices,
        Self::Scopes,
        Self::PathSockets,
        Self::Udp,
    ];

    /// The first ABI that has the feature.
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
