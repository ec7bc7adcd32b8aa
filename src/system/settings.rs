//! Settings of a server's desktops.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::confine::Confinement;
use super::confine::place::Placement;
use super::desktop::downloads::Settings as DownloadSettings;
use super::desktop::files::Settings as UploadSettings;
use super::egress::Settings as NetworkSettings;
use crate::domain::sealing::Vault;

/// The use of Chromium's sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Used if the machine allows it: not as root, and with user namespaces.
    #[default]
    Auto,
    /// Always used. Chromium does not start if the machine does not allow it.
    On,
    /// Not used on any machine.
    Off,
}

/// The VNC server of a new desktop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VncProgram {
    /// x11vnc, beside Xvfb, while there are viewers.
    #[default]
    X11vnc,
    /// Xtigervnc, which is the X server as well.
    Tigervnc,
}

/// Settings for the start, supervision and end of desktops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The directories in which programs are searched for, as in the variable `PATH`; also their
    /// own `PATH`.
    pub path: String,
    /// The X server: a name in `path`, or a path.
    pub xvfb: PathBuf,
    /// The VNC server of a new desktop: `x11vnc` or `tigervnc`.
    pub vnc_server: VncProgram,
    /// The VNC server beside Xvfb: a name in `path`, or a path.
    pub x11vnc: PathBuf,
    /// The X server that is a VNC server: a name in `path`, or a path.
    pub tigervnc: PathBuf,
    /// The browser: a name in `path`, or a path. Detected if it is not set.
    pub chromium: Option<PathBuf>,
    /// Further browsers, which clients choose by `browser_type`: the path of each, by its name.
    pub executables: BTreeMap<String, PathBuf>,
    /// Unpacked extensions, which clients choose by name in `extensions`: the path of each, by its
    /// name.
    pub extensions: BTreeMap<String, PathBuf>,
    /// Further arguments for the browser, after the server's own and before the page.
    pub chromium_arguments: Vec<String>,
    /// Further variables in the browser's environment, such as `TZ` and `LANG`.
    pub chromium_environment: BTreeMap<String, String>,
    /// The use of Chromium's sandbox: `auto`, `on` or `off`.
    pub sandbox: Sandbox,
    /// True if pages have WebGL, rendered in software. It costs 8 MB for each browser, and
    /// processor time if a page uses it. Chromium calls its software renderer unsafe: it exposes
    /// more code to attacks by pages.
    pub webgl: bool,
    /// True if displays have the extension GLX, which costs 20 MB for each.
    pub glx: bool,
    /// The least display number. Without it and `display_last`, the X server picks any number.
    pub display_first: Option<u16>,
    /// The greatest display number.
    pub display_last: Option<u16>,
    /// The least port for VNC servers.
    pub vnc_port_first: u16,
    /// The greatest port for VNC servers.
    pub vnc_port_last: u16,
    /// True if the VNC server starts with the desktop, and not only for the first seat.
    pub vnc_eager: bool,
    /// True if VNC servers send every viewer the texts that are copied in the session, even viewers without
    /// control. The view does not need it for the user in control; native VNC clients have no other way.
    pub vnc_sends_clipboard: bool,
    /// The time that a VNC server keeps running after its last seat was released, in seconds.
    pub vnc_linger_seconds: u64,
    /// The longest time for each program to become ready, in seconds.
    pub start_deadline_seconds: u64,
    /// The time for a program to end before it is killed, in seconds.
    pub stop_grace_seconds: u64,
    /// The time between two health checks of a desktop with a driver or viewer, in seconds.
    pub probe_seconds: u64,
    /// The time after which a program of such a desktop that does not answer counts as dead, in
    /// seconds; 0 for never.
    pub hang_seconds: u64,
    /// The longest time that a script of a page may run without a pause on such a desktop before it
    /// is ended, in seconds; 0 for unlimited.
    pub page_hang_seconds: u64,
    /// The least time between two pictures of a changing display, in milliseconds.
    pub capture_interval_milliseconds: u64,
    /// The size at which the older part of a program's log is cut away, in bytes.
    pub log_limit_bytes: u64,
    /// True if the directory of a session outlives its desktop.
    pub keep_directories: bool,
    /// The limits of downloads.
    pub downloads: DownloadSettings,
    /// The limits of uploads.
    pub uploads: UploadSettings,
    /// The confinement of programs, which the section `isolation` sets.
    #[serde(skip)]
    pub confinement: Confinement,
    /// The network of sessions, which the sections `isolation` and `egress` set.
    #[serde(skip)]
    pub network: NetworkSettings,
    /// The place of the programs' directories, which the section `isolation` sets.
    #[serde(skip)]
    pub placement: Placement,
    /// The vault that seals the server's files with secrets; without it they are in plain text.
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
            executables: BTreeMap::new(),
            extensions: BTreeMap::new(),
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
            downloads: DownloadSettings::default(),
            uploads: UploadSettings::default(),
            confinement: Confinement::default(),
            network: NetworkSettings::default(),
            placement: Placement::default(),
            vault: None,
        }
    }
}

impl Settings {
    /// The value of [`start_deadline_seconds`](Self::start_deadline_seconds) as a duration.
    pub fn start_deadline(&self) -> Duration {
        Duration::from_secs(self.start_deadline_seconds)
    }

    /// The value of [`stop_grace_seconds`](Self::stop_grace_seconds) as a duration.
    pub fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_seconds)
    }

    /// The value of [`vnc_linger_seconds`](Self::vnc_linger_seconds) as a duration.
    pub fn vnc_linger(&self) -> Duration {
        Duration::from_secs(self.vnc_linger_seconds)
    }

    /// The value of [`capture_interval_milliseconds`](Self::capture_interval_milliseconds) as a duration.
    pub fn capture_interval(&self) -> Duration {
        Duration::from_millis(self.capture_interval_milliseconds)
    }
}
