//! A session's desktop: Xvfb, a VNC server, Chromium, and their directory.
//!
//! Two traits are the seam to the actors, so that these can be tested without a single process:
//! [`Launch`] brings a desktop up or takes over one that is, [`Desktop`] is one that is up.
//! [`Desktops`] is the real thing.

mod adopting;
mod closing;
mod confining;
mod directories;
mod directory;
pub mod downloads;
mod former;
mod keeper;
mod launch;
mod memory;
mod mending;
mod network;
mod networking;
mod pages;
mod record;
mod reviving;
mod rotating;
mod running;
mod sanitizing;
#[cfg(test)]
mod tests;

pub use directories::Directories;
pub use directory::{Directory, Saved};
pub use downloads::{Arrival, Downloads, Notice};
pub use launch::Desktops;

pub use crate::egress::check::Outcome as EgressOutcome;
pub use crate::egress::usage::Status as EgressStatus;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::egress::EgressAsked;
use crate::domain::ids::SessionId;
use crate::domain::rfb::Dialect;
use crate::domain::sanitizing::Cleared;
use crate::domain::session::{DesktopIdentity, Failure, SessionSpec, Size};
use crate::system::input::Devices;
pub use crate::system::limits::{NoRoom, Usage};

/// What kind of desktop to bring up, and for whom.
#[derive(Debug, Clone)]
pub struct Order {
    /// The session it belongs to: names its directory and marks its processes.
    pub session: SessionId,
    /// What was asked for.
    pub spec: SessionSpec,
    /// The organization has used up its network traffic of the day.
    pub is_exhausted: bool,
}

/// Why no desktop came up. Whatever had begun has been undone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LaunchError {
    /// It was asked to give up.
    #[error("the launch was called off")]
    CalledOff,
    /// A stage failed.
    #[error("{}", .0.message)]
    Failed(Box<Failure>),
}

/// Brings desktops up.
pub trait Launch: fmt::Debug + Send + Sync + 'static {
    /// Resolves when the browser can be driven, or when everything that had begun is undone.
    /// The work runs on its own and is not ended by dropping the future, only by `call_off`.
    fn launch(
        &self,
        order: Order,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, LaunchError>>;

    /// Takes over the desktop that a former server, or an actor that broke, left running. Nothing
    /// is started, and nothing is ended but what that server had begun to start and not noted. A part that has ended meanwhile is what the desktop's
    /// [`death`](Desktop::death) then tells at once, for [`revive`](Desktop::revive) to bring back.
    fn adopt(&self, order: Order) -> BoxFuture<'static, Result<Box<dyn Desktop>, AdoptError>>;

    /// Ends whatever runs for a session that nobody has a desktop of any more, found by its
    /// directory and by the marker in the environment of its processes. Resolves as
    /// [`Desktop::shut_down`] does.
    fn sweep(&self, session: SessionId, files: Files) -> BoxFuture<'static, Vec<String>>;

    /// Whether the machine has room for `coming` more desktops.
    fn room(&self, _coming: u64) -> BoxFuture<'static, Result<(), NoRoom>> {
        Box::pin(async { Ok(()) })
    }

    /// The downloads of a session that has no desktop any more.
    fn downloads_left(&self, _session: SessionId) -> Downloads {
        Downloads::none()
    }

    /// Whether the disk of the data directory has the room that must be free.
    fn disk(&self) -> BoxFuture<'static, Result<(), NoRoom>> {
        Box::pin(async { Ok(()) })
    }

    /// What the programs of a session use, where the machine counts that.
    fn usage(&self, _session: SessionId) -> Option<Usage> {
        None
    }
}

/// Why a desktop could not be taken over. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdoptError {
    /// It never came up: there is no `desktop.json`.
    #[error("the desktop never came up")]
    NothingSaved,
    /// The machine has been started since: none of its processes lives.
    #[error("the machine was restarted")]
    OtherBoot,
    /// What is needed to take it over cannot be read.
    #[error("the desktop cannot be taken over: {cause}")]
    Broken {
        /// What the system said.
        cause: String,
    },
}

/// What becomes of a session's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// The settings say.
    AsSet,
    /// The profile and the downloads are kept.
    Kept,
}

/// Why a desktop was not brought back.
#[derive(Debug)]
pub struct Unrevived {
    /// The cause.
    pub failure: Failure,
    /// What there is of it, to be brought back again or shut down; none when the work broke off.
    pub desktop: Option<Box<dyn Desktop>>,
}

/// The end of a desktop that was not asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The program that ended, and how.
    pub failure: Failure,
    /// The browser closed in good order: a person or a driver closed it. Nothing is broken.
    pub orderly: bool,
}

impl From<Failure> for Death {
    fn from(failure: Failure) -> Self {
        Self { failure, orderly: false }
    }
}

/// A part that was brought back, and what it cost.
#[derive(Debug)]
pub struct Revived {
    /// The desktop, whole again.
    pub desktop: Box<dyn Desktop>,
    /// What could not be brought back, in words.
    pub lost: String,
}

/// A desktop without anything of its former occupants.
#[derive(Debug)]
pub struct Sanitized {
    /// The desktop, with a new browser.
    pub desktop: Box<dyn Desktop>,
    /// The traces that were cleared.
    pub cleared: Cleared,
}

/// A part that was brought back while the desktop went on: a VNC server, or the process of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What had happened to it.
    pub cause: String,
    /// What was lost by it, in words.
    pub lost: String,
    /// How often it was tried.
    pub tries: u32,
    /// From then until it was there again.
    pub took: Duration,
}

/// A desktop that is up. Dropping it leaves its processes running: they outlive the server on
/// purpose, and only [`shut_down`](Self::shut_down) ends them.
pub trait Desktop: fmt::Debug + Send + 'static {
    /// Its processes, display and ports.
    fn identity(&self) -> &DesktopIdentity;

    /// Resolves when the X server or the browser has ended without having been asked to, with
    /// the program, how it ended, and the end of its log. One that hangs while the desktop is
    /// [used](Self::set_used) is ended, and told here. Never resolves after `shut_down`.
    fn death(&self) -> BoxFuture<'static, Death>;

    /// Resolves with the next part that was brought back without the desktop having ended. Each is
    /// told once, to the last that asked.
    fn mended(&self) -> BoxFuture<'static, Mended>;

    /// Brings back what of it has ended: on the same display, port and profile, with the tabs and
    /// cookies that it had. Asked to give up by `call_off`, it stops where it is.
    fn revive(
        self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Revived, Unrevived>>;

    /// Clears what its occupants left: the browser starts again, on the same display and ports, with a new
    /// profile and one empty tab. After a failure nothing brings the former state back: the next
    /// [`revive`](Self::revive) or `sanitize` clears what is left of it first.
    fn sanitize(
        self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Sanitized, Unrevived>>;

    /// Resolves when the kernel has ended one of its processes for want of memory, with how often
    /// that has happened to it; never where it has no limits. The browser may well live on, with a
    /// page that has crashed.
    fn out_of_memory(&self) -> BoxFuture<'static, u64> {
        Box::pin(std::future::pending())
    }

    /// Whether somebody drives or watches it. While that is so, its parts are looked after more
    /// closely; otherwise it costs nothing.
    fn set_used(&self, used: bool);

    /// The pictures of its display.
    fn screen(&self) -> Arc<dyn Screen>;

    /// What its browser copies, from now on and for as long as that browser runs.
    fn copies(&self) -> Copies;

    /// Its keyboard and pointer.
    fn devices(&self) -> Devices;

    /// What its browser downloads.
    fn downloads(&self) -> Downloads {
        Downloads::none()
    }

    /// Its way to the network; none where that is the server's own.
    fn egress(&self) -> Option<Arc<dyn Egress>> {
        None
    }

    /// The number of the rotation that its VNC password belongs to.
    fn rotation(&self) -> i64;

    /// Replaces its VNC password, and disconnects the clients that came with the former one by themselves. The
    /// number is stored with it once that is done. Resolves with the new one.
    fn rotate_vnc(&self, rotation: i64) -> BoxFuture<'static, Result<SecretString, Failure>>;

    /// Its VNC server.
    fn vnc(&self) -> Arc<dyn VncServer>;

    /// Ends it: the browser by `Browser.close`, so that logins are kept, then the VNC server,
    /// then the X server. Resolves when the process groups are gone, the display's lock and
    /// socket are gone, the shared memory segments are gone and the port is free, with a line
    /// for each thing that could not be removed.
    fn shut_down(self: Box<Self>) -> BoxFuture<'static, Vec<String>>;
}

/// The way of a desktop's programs to the network.
pub trait Egress: fmt::Debug + Send + Sync + 'static {
    /// Puts a policy in force on the running programs. Resolves when it is: connections that it does
    /// not allow are cut by then. On failure the former policy stays.
    fn apply(&self, asked: EgressAsked) -> BoxFuture<'static, Result<(), EgressError>>;

    /// Tries to reach `url` as its programs would, under the policy in force or under another one.
    fn check(
        &self,
        url: String,
        asked: Option<EgressAsked>,
    ) -> BoxFuture<'static, Result<EgressOutcome, EgressError>>;

    /// The counters; none until the first are known. Each change is seen within about a second.
    fn status(&self) -> watch::Receiver<Option<EgressStatus>>;
}

/// A policy that was not put in force, or a trial that was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EgressError {
    /// The lists or the upstream are wrong.
    #[error("{0}")]
    Invalid(String),
    /// The egress program does not answer.
    #[error("the egress program does not answer: {0}")]
    Unanswered(String),
}

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Lossless.
    Png,
    /// Quality 80.
    Jpeg,
}

/// One picture of a display.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Rises with every picture of the display.
    pub number: u64,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// In pixels.
    pub size: Size,
    /// How `bytes` are encoded.
    pub format: Format,
    /// The file.
    pub bytes: Bytes,
}

/// Why there is no picture.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the display could not be captured: {cause}")]
pub struct CaptureError {
    /// What the X server or the encoder said.
    pub cause: String,
}

/// The pictures of one display.
pub trait Screen: fmt::Debug + Send + Sync + 'static {
    /// The display as it is now.
    fn shot(&self, format: Format) -> BoxFuture<'static, Result<Picture, CaptureError>>;

    /// Takes pictures while the answer lives: one at once, then one for each interval in which
    /// something changed. Each is encoded as PNG; with `keep`, that file always holds the
    /// latest one, replaced whole.
    fn follow(&self, keep: Option<PathBuf>) -> Following;

    /// Takes frames while the answer lives: one at once, then at most one for each `interval` in
    /// which something changed, encoded as JPEG. A frame that would have to wait for more than a
    /// few others is dropped: whoever is slow has fewer, and holds nobody up.
    fn film(&self, interval: Duration) -> Reel;
}

/// Pictures that are being taken; the drop ends it.
#[derive(Debug)]
pub struct Following {
    /// The latest picture.
    pub pictures: watch::Receiver<Option<Picture>>,
    /// Ends the following when dropped.
    pub guard: DropGuard,
}

/// Frames that are being taken; the drop ends it.
#[derive(Debug)]
pub struct Reel {
    /// One after the other; ends with the display.
    pub frames: mpsc::Receiver<Picture>,
    /// Ends the taking when dropped.
    pub guard: DropGuard,
}

/// What is copied within a display; the drop ends it.
#[derive(Debug)]
pub struct Copies {
    /// The latest text, from the first change on; ends with the display.
    pub texts: watch::Receiver<String>,
    /// Ends the following when dropped.
    pub guard: DropGuard,
}

/// Where a VNC server listens, and what it wants to hear.
#[derive(Debug, Clone)]
pub struct VncEndpoint {
    /// Loopback.
    pub address: SocketAddr,
    /// For RFB's security type 2, VNC Authentication (RFC 6143, section 7.2.2).
    pub password: SecretString,
    /// What may be sent to it.
    pub dialect: Dialect,
}

/// A place at a VNC server, which runs at least as long as somebody has one.
#[derive(Debug)]
pub struct VncSeat {
    /// Where to connect.
    pub endpoint: VncEndpoint,
    /// To be notified when the server seems to hang: it is looked at then, and replaced if it does.
    pub doubts: Arc<Notify>,
    /// Gives the place back when dropped.
    pub guard: DropGuard,
}

/// The VNC server of one desktop, as its viewers see it.
pub trait VncServer: fmt::Debug + Send + Sync + 'static {
    /// Resolves when the server accepts connections, or with the reason why it will not.
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>>;
}
