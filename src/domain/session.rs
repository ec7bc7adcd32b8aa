//! A persistent browser session as a value: what was asked for, how it stands, how it ended.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use super::deadlines::Deadlines;
use super::egress::{EgressIdentity, EgressLists};
use super::ids::{NodeId, OrganizationId, SessionId};
use super::occupancy::{Generation, Occupancy};

/// What the API shows of a session's life.
///
/// ```text
/// created --> running <--> retry --> completed | failed | timeout
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Its desktop is coming up.
    Created,
    /// Its browser can be driven.
    Running,
    /// A crashed part is being brought back.
    Retry,
    /// It was closed.
    Completed,
    /// It could not start, or broke.
    Failed,
    /// Its time was over.
    Timeout,
}

impl SessionStatus {
    /// Every status, in the order of a session's life.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Running, Self::Retry, Self::Completed, Self::Failed, Self::Timeout];

    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Created | Self::Running | Self::Retry => false,
            Self::Completed | Self::Failed | Self::Timeout => true,
        }
    }

    /// As the API and the tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Retry => "retry",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such status")]
pub struct NotAStatus;

impl FromStr for SessionStatus {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(NotAStatus)
    }
}

/// The size of a display, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    width: u16,
    height: u16,
}

/// A size that no display should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {} to {} pixels, not {value}", Size::SMALLEST, Size::LARGEST)]
pub struct NotASize {
    /// What was given.
    pub value: u32,
}

impl Size {
    /// The least width and height.
    pub const SMALLEST: u16 = 200;
    /// The greatest width and height.
    pub const LARGEST: u16 = 7680;

    /// A size whose sides are within [`SMALLEST`](Self::SMALLEST) and [`LARGEST`](Self::LARGEST).
    pub fn new(width: u32, height: u32) -> Result<Self, NotASize> {
        Ok(Self { width: Self::side(width)?, height: Self::side(height)? })
    }

    /// One side of a size.
    pub fn side(value: u32) -> Result<u16, NotASize> {
        u16::try_from(value)
            .ok()
            .filter(|side| (Self::SMALLEST..=Self::LARGEST).contains(side))
            .ok_or(NotASize { value })
    }

    /// In pixels.
    pub fn width(self) -> u16 {
        self.width
    }

    /// In pixels.
    pub fn height(self) -> u16 {
        self.height
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { width: 1920, height: 1080 }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What was asked for when the session was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// The display, which the browser's window fills.
    pub size: Size,
    /// The page that the browser opens first.
    pub start_url: Option<Url>,
    /// How long the session lives, counted from when it runs.
    pub lifetime: Duration,
    /// A proxy server for all of the browser's traffic.
    pub proxy: Option<Url>,
    /// What its programs may reach, within what the server and the organization allow.
    pub egress: EgressLists,
    /// What its organization allowed when it was made or last changed.
    pub organization_egress: EgressLists,
    /// What clients of the compatible API asked for and read back, as JSON: `proxy_location`,
    /// `extensions`, `browser_type`, `generate_browser_profile`, `needs_live_view`.
    pub echo: serde_json::Value,
    /// The latest generation whose occupant needs no sanitizing; what those of later generations leave is
    /// cleared before another begins. None: nothing is cleared unasked.
    pub sanitize_after: Option<Generation>,
    /// The generation whose occupant asked for a sanitizing once it has left, if one did and it is not done.
    pub sanitize_due: Option<Generation>,
    /// The number of times that its credentials were replaced.
    pub rotation: i64,
}

impl Default for SessionSpec {
    fn default() -> Self {
        Self {
            size: Size::default(),
            start_url: None,
            lifetime: Duration::from_secs(60 * 60),
            proxy: None,
            egress: EgressLists::default(),
            organization_egress: EgressLists::default(),
            echo: serde_json::Value::Null,
            sanitize_after: None,
            sanitize_due: None,
            rotation: 0,
        }
    }
}

/// A process that cannot be mistaken for another, not even when its number is used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number; also that of its process group, which it leads.
    pub pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// Where the parts of a session's desktop are, and which processes they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesktopIdentity {
    /// The X display `:N`.
    pub display_number: u16,
    /// The loopback port of the VNC server, kept for it whether it runs or not.
    pub vnc_port: u16,
    /// Where DevTools listens; loopback.
    pub devtools: SocketAddr,
    /// The path of the browser's own DevTools WebSocket, `/devtools/browser/<uuid>`.
    pub devtools_path: String,
    /// The X server.
    pub xvfb: ProcessIdentity,
    /// The VNC server, once it has been started.
    pub vnc: Option<ProcessIdentity>,
    /// The browser's main process.
    pub chromium: ProcessIdentity,
    /// The program between its browser and the network; none where the network is the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressIdentity>,
    /// The barrier between its programs and files that are not the session's; none for a desktop that
    /// a server of before this field has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesLevel>,
    /// True if the browser runs in its own sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
}

/// The barrier between the programs of a session and files that are not the session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesLevel {
    /// A user of the session's own, and Landlock as far as the kernel has it.
    Uid,
    /// Landlock alone.
    Landlock,
    /// None.
    None,
}

impl FilesLevel {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}

/// Why a session or a run failed, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, for programs: `xvfb_not_ready`, `chromium_died`, `no_display_free`.
    pub code: String,
    /// The part that failed: `xvfb`, `vnc`, `chromium`, `directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// One sentence, for people.
    pub message: String,
    /// How the program ended: `exit status 1`, `signal 9 (SIGKILL)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// The last lines that the program wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// On which node it runs.
    pub node: NodeId,
    /// How it stands.
    pub status: SessionStatus,
    /// What was asked for.
    pub spec: SessionSpec,
    /// Its processes, from when it runs.
    pub desktop: Option<DesktopIdentity>,
    /// Who drives it.
    pub occupancy: Occupancy,
    /// When it ends by itself.
    pub deadlines: Deadlines,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When its browser could first be driven.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When this record was last written.
    pub modified_at: DateTime<Utc>,
}

impl SessionRecord {
    /// True for a session whose browser starts at its first use, and which was not used yet. Such a row has
    /// no time by which the browser has to run.
    pub fn is_dormant(&self) -> bool {
        self.status == SessionStatus::Created && self.deadlines.start_by.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_of_nothing_or_too_much_is_refused() {
        assert_eq!(Size::new(0, 1080), Err(NotASize { value: 0 }));
        assert_eq!(Size::new(1920, 100_000), Err(NotASize { value: 100_000 }));
        assert_eq!(Size::new(1280, 720).map(|size| size.to_string()), Ok("1280x720".to_owned()));
    }

    #[test]
    fn a_status_is_read_back_as_it_was_written() {
        for status in SessionStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert_eq!("open".parse::<SessionStatus>(), Err(NotAStatus));
    }
}
