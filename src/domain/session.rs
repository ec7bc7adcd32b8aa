//! A persistent browser session as a value: its specification, its status and its end.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use super::browser_settings::BrowserSettings;
use super::deadlines::Deadlines;
use super::egress::{EgressIdentity, EgressLists};
use super::ids::{NodeId, OrganizationId, SessionId};
use super::labels::{Name, Tags};
use super::occupancy::{Generation, Occupancy};
use super::profile::ProfileUse;

/// The status of a session, as shown in the API.
///
/// ```text
/// created --> running <--> retry --> completed | failed | timeout
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// The desktop is starting.
    Created,
    /// The browser can be driven.
    Running,
    /// A crashed part is being restarted.
    Retry,
    /// The session was closed.
    Completed,
    /// The session could not start, or broke.
    Failed,
    /// The session reached one of its deadlines.
    Timeout,
}

impl SessionStatus {
    /// Every status, in the order of a session's life.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Running, Self::Retry, Self::Completed, Self::Failed, Self::Timeout];

    /// True if the status never changes again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Created | Self::Running | Self::Retry => false,
            Self::Completed | Self::Failed | Self::Timeout => true,
        }
    }

    /// Returns the value used in the API and the tables.
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

/// A size outside the limits of a display.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {} to {} pixels, not {value}", Size::SMALLEST, Size::LARGEST)]
pub struct NotASize {
    /// The value that was given.
    pub value: u32,
}

impl Size {
    /// The least width and height, in pixels.
    pub const SMALLEST: u16 = 200;
    /// The greatest width and height, in pixels.
    pub const LARGEST: u16 = 7680;

    /// Creates a size whose sides are within [`SMALLEST`](Self::SMALLEST) and
    /// [`LARGEST`](Self::LARGEST).
    pub fn new(width: u32, height: u32) -> Result<Self, NotASize> {
        Ok(Self { width: Self::side(width)?, height: Self::side(height)? })
    }

    /// Checks one side of a size.
    pub fn side(value: u32) -> Result<u16, NotASize> {
        u16::try_from(value)
            .ok()
            .filter(|side| (Self::SMALLEST..=Self::LARGEST).contains(side))
            .ok_or(NotASize { value })
    }

    /// Returns the width in pixels.
    pub fn width(self) -> u16 {
        self.width
    }

    /// Returns the height in pixels.
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

/// The specification with which the session was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// The display, which the browser's window fills.
    pub size: Size,
    /// The page that the browser opens first.
    pub start_url: Option<Url>,
    /// The lifetime, counted from the time at which the session runs.
    pub lifetime: Duration,
    /// A proxy server for all of the browser's traffic.
    pub proxy: Option<Url>,
    /// The targets that its programs may reach, within what the server and the organization allow.
    pub egress: EgressLists,
    /// The lists of its organization when the session was created or last changed.
    pub organization_egress: EgressLists,
    /// The fields that clients of the compatible API send and read back, as JSON: `proxy_location`,
    /// `extensions`, `browser_type`, `needs_live_view`.
    pub echo: serde_json::Value,
    /// The latest generation whose occupant needs no sanitizing. The traces of later generations
    /// are cleared before another occupancy begins. None: nothing is cleared without a request.
    pub sanitize_after: Option<Generation>,
    /// The generation whose occupant asked for sanitizing after its release, while that is not
    /// done.
    pub sanitize_due: Option<Generation>,
    /// The number of times that its credentials were replaced.
    pub rotation: i64,
    /// The name, unique among the organization's sessions that have not ended.
    pub name: Option<Name>,
    pub tags: Tags,
    /// The settings of the browser.
    pub settings: BrowserSettings,
    /// The profile that it starts from or stores.
    pub profile: Option<ProfileUse>,
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
            name: None,
            tags: Tags::default(),
            settings: BrowserSettings::default(),
            profile: None,
        }
    }
}

/// The identity of a process, which stays unique even when its number is reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process number; also that of the process group, which the process leads.
    pub pid: i32,
    /// The start time, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
    /// The machine's boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// The addresses and processes of the parts of a session's desktop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesktopIdentity {
    /// The number N of the X display `:N`.
    pub display_number: u16,
    /// The loopback port of the VNC server, reserved even while it does not run.
    pub vnc_port: u16,
    /// The loopback address on which DevTools listens.
    pub devtools: SocketAddr,
    /// The path of the browser's own DevTools WebSocket, `/devtools/browser/<uuid>`.
    pub devtools_path: String,
    /// The process of the X server.
    pub xvfb: ProcessIdentity,
    /// The VNC server, once it has been started.
    pub vnc: Option<ProcessIdentity>,
    /// The browser's main process.
    pub chromium: ProcessIdentity,
    /// The program between the browser and the network; none if the network is the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressIdentity>,
    /// The barrier between its programs and files outside the session; none for a desktop that was
    /// started by a server without this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesLevel>,
    /// True if the browser runs in its own sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
    /// The start of the desktop; none for one that was started by a server without this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKind>,
}

/// The start of a desktop, as seen by the session that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// Its programs were started for the session.
    Cold,
    /// Its programs ran already, in the pool.
    Warm,
}

impl StartKind {
    /// Returns the value used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// The barrier between the programs of a session and files outside the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesLevel {
    /// A separate user for the session, and Landlock as far as the kernel supports it.
    Uid,
    /// Landlock alone, without a separate user.
    Landlock,
    /// No barrier at all.
    None,
}

impl FilesLevel {
    /// Returns the value used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}

/// The reason why a session or a run failed, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code for programs: `xvfb_not_ready`, `chromium_died`, `no_display_free`.
    pub code: String,
    /// The part that failed: `xvfb`, `vnc`, `chromium`, `directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// One sentence, for people.
    pub message: String,
    /// The way in which the program ended: `exit status 1`, `signal 9 (SIGKILL)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// The last lines that the program wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// A hint that says how to fix the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a stage, the end of a program, and a hint.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            stage: None,
            message: message.into(),
            exit: None,
            log_tail: Vec::new(),
            hint: None,
        }
    }

    /// The same failure, of this part.
    #[must_use]
    pub fn stage(self, stage: impl Into<String>) -> Self {
        Self { stage: Some(stage.into()), ..self }
    }

    /// The same failure, with a hint that says how to fix the cause.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A session, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    pub id: SessionId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The node on which it runs.
    pub node: NodeId,
    pub status: SessionStatus,
    /// The specification with which it was created.
    pub spec: SessionSpec,
    /// Its processes, from the time at which it runs.
    pub desktop: Option<DesktopIdentity>,
    /// The occupancy: the right to drive it.
    pub occupancy: Occupancy,
    /// The deadlines at which it ends by itself.
    pub deadlines: Deadlines,
    /// The reason for its failure.
    pub failure: Option<Failure>,
    /// The time at which it was requested.
    pub created_at: DateTime<Utc>,
    /// The time at which its browser could first be driven.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// The time at which this record was last written.
    pub modified_at: DateTime<Utc>,
}

impl SessionRecord {
    /// True for a session whose browser starts at its first use, and which has not been used yet.
    /// Such a row has no time by which the browser has to run.
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
