//! What this floor can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::confine::Confinement;
use super::confine::place::Placement;
use super::desktop::downloads;
use super::egress;
use crate::domain::sealing::Vault;

/// Whether Chromium's sandbox is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Where the machine allows it: not as root, and not without user namespaces.
    #[default]
    Auto,
    /// Always. Chromium does not start where the machine does not allow it.
    On,
    /// Never.
    Off,
}

/// Which program is the VNC server of a new desktop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VncProgram {
    /// x11vnc, beside Xvfb, while somebody watches.
    #[default]
    X11vnc,
    /// Xtigervnc, which is the X server as well.
    Tigervnc,
}

/// How desktops are brought up, watched and ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where programs are looked for, as in the variable `PATH`; also their own `PATH`.
    pub path: String,
    /// The X server: a name in `path`, or a path.
    pub xvfb: PathBuf,
    /// Which VNC server a new desktop gets: `x11vnc` or `tigervnc`.
    pub vnc_server: VncProgram,
    /// The VNC server beside Xvfb: a name in `path`, or a path.
    pub x11vnc: PathBuf,
    /// The X server that is a VNC server: a name in `path`, or a path.
    pub tigervnc: PathBuf,
    /// The browser: a name in `path`, or a path. Looked for when it is not set.
    pub chromium: Option<PathBuf>,
    /// Further arguments for the browser, after ours and before the page.
    pub chromium_arguments: Vec<String>,
    /// Further variables in the browser's environment, such as `TZ` and `LANG`.
    pub chromium_environment: BTreeMap<String, String>,
    /// Whether Chromium's sandbox is used.
    pub sandbox: Sandbox,
    /// Whether pages have WebGL, rendered in software: 8 MB for each browser, and processor time where
    /// a page uses it. Chromium calls its software renderer unsafe: it gives pages more to attack.
    pub webgl: bool,
    /// Whether displays have the extension GLX, which costs 20 MB for each.
    pub glx: bool,
    /// The least display number. With neither this nor `display_last`, the X server picks any.
    pub display_first: Option<u16>,
    /// The greatest display number.
    pub display_last: Option<u16>,
    /// The least port for VNC servers.
    pub vnc_port_first: u16,
    /// The greatest port for VNC servers.
    pub vnc_port_last: u16,
    /// Whether the VNC server is started with the desktop, and not only for the first seat.
    pub vnc_eager: bool,
    /// Whether VNC servers tell every viewer what is copied in the session, also those who only watch.
    /// Who has control in the view needs it not; native VNC clients have no other way.
    pub vnc_sends_clipboard: bool,
    /// How long a VNC server lives on after its last seat was given back.
    pub vnc_linger_seconds: u64,
    /// How long each program may take until it shows its sign of readiness.
    pub start_deadline_seconds: u64,
    /// How long a program may take to end before it is killed.
    pub stop_grace_seconds: u64,
    /// How often a desktop that somebody drives or watches is looked at.
    pub probe_seconds: u64,
    /// How long a program of such a desktop may not answer before it counts as dead; 0 for ever.
    pub hang_seconds: u64,
    /// How long a script of a page may run without a pause while such a desktop is used, before it is
    /// ended; 0 for ever.
    pub page_hang_seconds: u64,
    /// The least time between two pictures of a display that changes.
    pub capture_interval_milliseconds: u64,
    /// How large the log of a program may become before its older part is cut away.
    pub log_limit_bytes: u64,
    /// Whether the directory of a session outlives its desktop.
    pub keep_directories: bool,
    /// Limits of downloads.
    pub downloads: downloads::Settings,
    /// The confinement of programs, which the section `isolation` sets.
    #[serde(skip)]
    pub confinement: Confinement,
    /// The network of sessions, which the sections `isolation` and `egress` set.
    #[serde(skip)]
    pub network: egress::Settings,
    /// The place of the programs' directories, which the section `isolation` sets.
    #[serde(skip)]
    pub placement: Placement,
    /// Seals the server's files with secrets in them; without it they are in the clear.
    #[serde(skip)]
    pub vault: Option<Vault>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            xvfb: "Xvfb".into(),
            vnc_server: VncProgram::default(),
            x11vnc: "x11vnc".into(),
            tigervnc: "Xtigervnc".into(),
            chromium: None,
            chromium_arguments: Vec::new(),
            chromium_environment: BTreeMap::new(),
            sandbox: Sandbox::Auto,
            webgl: true,
            glx: false,
            display_first: None,
            display_last: None,
            vnc_port_first: 5900,
            vnc_port_last: 6899,
            vnc_eager: false,
            vnc_sends_clipboard: false,
            vnc_linger_seconds: 30,
            start_deadline_seconds: 30,
            stop_grace_seconds: 5,
            probe_seconds: 2,
            hang_seconds: 10,
            page_hang_seconds: 10,
            capture_interval_milliseconds: 1_000,
            log_limit_bytes: 4 * 1024 * 1024,
            keep_directories: false,
            downloads: downloads::Settings::default(),
            confinement: Confinement::default(),
            network: egress::Settings::default(),
            placement: Placement::default(),
            vault: None,
        }
    }
}

impl Settings {
    /// [`start_deadline_seconds`](Self::start_deadline_seconds).
    pub fn start_deadline(&self) -> Duration {
        Duration::from_secs(self.start_deadline_seconds)
    }

    /// [`stop_grace_seconds`](Self::stop_grace_seconds).
    pub fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_seconds)
    }

    /// [`vnc_linger_seconds`](Self::vnc_linger_seconds).
    pub fn vnc_linger(&self) -> Duration {
        Duration::from_secs(self.vnc_linger_seconds)
    }

    /// [`capture_interval_milliseconds`](Self::capture_interval_milliseconds).
    pub fn capture_interval(&self) -> Duration {
        Duration::from_millis(self.capture_interval_milliseconds)
    }
}
