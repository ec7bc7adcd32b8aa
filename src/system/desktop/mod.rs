//! A session's desktop: Xvfb, a VNC server, Chromium, and their directory.
//!
//! Two traits are the interface to the actors, so that actors can be tested without real processes.
//! [`Launch`] starts or adopts a desktop; [`Desktop`] is one that is up. [`Desktops`] is the real
//! implementation.

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
mod network;
mod networking;
mod pages;
mod record;
mod repairs;
mod restarting;
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

/// The session and specification of a desktop to start.
#[derive(Debug, Clone)]
pub struct Order {
    /// The session of the desktop, which names its directory and marks its processes.
    pub session: SessionId,
    /// The specification that the client requested.
    pub spec: SessionSpec,
    /// The organization has used up its network traffic of the day.
    pub is_exhausted: bool,
}

/// The reasons for which no desktop came up. All parts that were started have been ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LaunchError {
    /// The launch was cancelled.
    #[error("the launch was canceled")]
    CalledOff,
    /// A stage of the launch failed.
    #[error("{}", .0.message)]
    Failed(Box<Failure>),
}

/// Starts and adopts desktops.
pub trait Launch: fmt::Debug + Send + Sync + 'static {
    /// Starts a desktop. Resolves when the browser can be driven, or when all started parts are
    /// ended. The work runs in a task of its own: only `call_off` ends it, not dropping the future.
    fn launch(
        &self,
        order: Order,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, LaunchError>>;

    /// Adopts the desktop that a previous server, or a failed actor, left running. Starts nothing,
    /// and ends only processes that the server had started but not recorded. If a part has ended
    /// meanwhile, [`death`](Desktop::death) resolves immediately, and [`restart`](Desktop::restart)
    /// restores the part.
    fn adopt(&self, order: Order) -> BoxFuture<'static, Result<Box<dyn Desktop>, AdoptError>>;

    /// Ends all processes of a session that has no desktop object any more, found by its directory and by
    /// the marker in the environment of its processes. Resolves as [`Desktop::shut_down`] does.
    fn sweep(&self, session: SessionId, files: Files) -> BoxFuture<'static, Vec<String>>;

    /// Checks that the machine has room for `coming` more desktops.
    fn room(&self, _coming: u64) -> BoxFuture<'static, Result<(), NoRoom>> {
        Box::pin(async { Ok(()) })
    }

    /// The downloads of a session that has no desktop any more.
    fn downloads_left(&self, _session: SessionId) -> Downloads {
        Downloads::none()
    }

    /// Checks that the disk of the data directory has the room that must be free.
    fn disk(&self) -> BoxFuture<'static, Result<(), NoRoom>> {
        Box::pin(async { Ok(()) })
    }

    /// The resources that the programs of a session use; none if the machine does not count them.
    fn usage(&self, _session: SessionId) -> Option<Usage> {
        None
    }
}

/// The reasons for which a desktop could not be adopted. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdoptError {
    /// The desktop never came up: `desktop.json` does not exist.
    #[error("the desktop never became ready")]
    NothingSaved,
    /// The machine was rebooted since: none of the desktop's processes is alive.
    #[error("the machine was restarted")]
    OtherBoot,
    /// The data that is needed to adopt the desktop cannot be read.
    #[error("the desktop cannot be adopted: {cause}")]
    Broken {
        /// The error of the system.
        cause: String,
    },
}

/// The treatment of a session's directory after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// The settings decide about the files.
    AsSet,
    /// The profile and the downloads are kept.
    Kept,
}

/// The failed recovery of a desktop.
#[derive(Debug)]
pub struct RestartFailed {
    /// The cause of the failure.
    pub failure: Failure,
    /// The remaining desktop, to be recovered again or shut down; none if the work was aborted.
    pub desktop: Option<Box<dyn Desktop>>,
}

/// The unexpected end of a desktop's X server or browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The program that ended, and how.
    pub failure: Failure,
    /// True if a person or a driver closed the browser. Nothing is broken then.
    pub orderly: bool,
}

impl From<Failure> for Death {
    fn from(failure: Failure) -> Self {
        Self { failure, orderly: false }
    }
}

/// A recovered desktop, and the losses.
#[derive(Debug)]
pub struct Restarted {
    /// The desktop with all parts running.
    pub desktop: Box<dyn Desktop>,
    /// A text that names what could not be restored.
    pub lost: String,
}

/// A desktop that was cleared of its former occupants' traces.
#[derive(Debug)]
pub struct Sanitized {
    /// The desktop, with a new browser.
    pub desktop: Box<dyn Desktop>,
    /// The traces that were cleared.
    pub cleared: Cleared,
}

/// A part that was restarted while the desktop stayed up: a VNC server, or the process of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The cause of the restart.
    pub cause: String,
    /// A text that names the losses.
    pub lost: String,
    /// The number of attempts.
    pub tries: u32,
    /// The time between the cause and the restart.
    pub took: Duration,
}

/// A desktop that is up. Dropping it leaves its processes running: they outlive the server on
/// purpose, and only [`shut_down`](Self::shut_down) ends them.
pub trait Desktop: fmt::Debug + Send + 'static {
    /// The processes, display and ports of the desktop.
    fn identity(&self) -> &DesktopIdentity;

    /// Resolves when the X server or the browser has ended unexpectedly, with the program, its exit
    /// and the end of its log. A part that hangs while the desktop is [used](Self::set_used) is
    /// ended and reported here as well. Never resolves after `shut_down`.
    fn death(&self) -> BoxFuture<'static, Death>;

    /// Resolves with the next part that was restarted while the desktop stayed up. Each is
    /// delivered once, to the latest caller.
    fn repairs(&self) -> BoxFuture<'static, Repair>;

    /// Recovers the parts that have ended, on the same display, port and profile, with their tabs
    /// and cookies. `call_off` stops the recovery where it is.
    fn restart(
        self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Restarted, RestartFailed>>;

    /// Clears the traces of its occupants. The browser restarts on the same display and ports, with
    /// a new profile and one empty tab. After a failure the former state is not restored: the next
    /// [`restart`](Self::restart) or `sanitize` clears the remaining traces first.
    fn sanitize(
        self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Sanitized, RestartFailed>>;

    /// Resolves when the kernel has killed one of its processes because of its memory limit, with
    /// the total number of such kills. Never resolves without limits. The browser may survive with
    /// a crashed page.
    fn out_of_memory(&self) -> BoxFuture<'static, u64> {
        Box::pin(std::future::pending())
    }

    /// Sets whether a client drives or watches the desktop. While it is used, its parts are checked
    /// more closely; otherwise it costs nothing.
    fn set_used(&self, used: bool);

    /// The picture source of its display.
    fn screen(&self) -> Arc<dyn Screen>;

    /// The texts that its browser copies, from now on and as long as that browser runs.
    fn copies(&self) -> Copies;

    /// The keyboard and pointer of its display.
    fn devices(&self) -> Devices;

    /// The files that its browser downloads.
    fn downloads(&self) -> Downloads {
        Downloads::none()
    }

    /// The desktop's egress program; none if it shares the server's network.
    fn egress(&self) -> Option<Arc<dyn Egress>> {
        None
    }

    /// The number of the rotation that its VNC password belongs to.
    fn rotation(&self) -> i64;

    /// Replaces its VNC password, and disconnects the clients that came with the former one by themselves. The
    /// number is stored with it once that is done. Resolves with the new one.
    fn rotate_vnc(&self, rotation: i64) -> BoxFuture<'static, Result<SecretString, Failure>>;

    fn vnc(&self) -> Arc<dyn VncServer>;

    /// Ends the desktop: the browser by `Browser.close`, so that logins are kept, then the VNC
    /// server, then the X server. Resolves when the process groups, the display's lock and socket
    /// and the shared memory segments are gone and the port is free. The result has a line for each
    /// thing that could not be removed.
    fn shut_down(self: Box<Self>) -> BoxFuture<'static, Vec<String>>;
}

/// The network access of a desktop's programs.
pub trait Egress: fmt::Debug + Send + Sync + 'static {
    /// Applies a policy to the running programs. Resolves when it is in force: connections that it
    /// denies are closed by then. On failure the previous policy stays.
    fn apply(&self, asked: EgressAsked) -> BoxFuture<'static, Result<(), EgressError>>;

    /// Tries to reach `url` as its programs would, under the policy in force or under another one.
    fn check(
        &self,
        url: String,
        asked: Option<EgressAsked>,
    ) -> BoxFuture<'static, Result<EgressOutcome, EgressError>>;

    /// The counters; none until the first are known. Each change is published within about a second.
    fn status(&self) -> watch::Receiver<Option<EgressStatus>>;
}

/// The reasons for which a policy was not applied, or a check was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EgressError {
    /// The lists or the upstream are invalid.
    #[error("{0}")]
    Invalid(String),
    /// The egress program does not answer.
    #[error("the egress program does not answer: {0}")]
    Unanswered(String),
}

/// The encoding of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Lossless encoding as PNG.
    Png,
    /// Lossy encoding as JPEG with quality 80.
    Jpeg,
}

/// One picture of a display.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The number of the picture, which rises with every picture of the display.
    pub number: u64,
    /// The time at which the picture was taken.
    pub taken_at: DateTime<Utc>,
    /// The size in pixels.
    pub size: Size,
    /// The encoding of `bytes`.
    pub format: Format,
    /// The encoded image file.
    pub bytes: Bytes,
}

/// The reason for which there is no picture.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the display could not be captured: {cause}")]
pub struct CaptureError {
    /// The error of the X server or the encoder.
    pub cause: String,
}

/// The picture source of one display.
pub trait Screen: fmt::Debug + Send + Sync + 'static {
    /// Takes a picture of the current display.
    fn shot(&self, format: Format) -> BoxFuture<'static, Result<Picture, CaptureError>>;

    /// Takes pictures until the result is dropped: one immediately, then one for each interval with
    /// a change. Each is encoded as PNG. With `keep`, that file always contains the latest one,
    /// replaced atomically.
    fn follow(&self, keep: Option<PathBuf>) -> Following;

    /// Takes frames until the result is dropped: one immediately, then at most one per `interval`
    /// with a change, encoded as JPEG. A frame is dropped if a few others are waiting, so a slow
    /// receiver gets fewer frames and blocks no other.
    fn film(&self, interval: Duration) -> Reel;
}

/// A running series of pictures, which ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    /// The latest picture, if one was taken.
    pub pictures: watch::Receiver<Option<Picture>>,
    /// Ends the series when dropped.
    pub guard: DropGuard,
}

/// A running series of frames, which ends when this is dropped.
#[derive(Debug)]
pub struct Reel {
    /// The frames in order; the channel closes with the display.
    pub frames: mpsc::Receiver<Picture>,
    /// Ends the series when dropped.
    pub guard: DropGuard,
}

/// A running watch of the texts that are copied on a display, which ends when this is dropped.
#[derive(Debug)]
pub struct Copies {
    /// The latest text, from the first change on; the channel closes with the display.
    pub texts: watch::Receiver<String>,
    /// Ends the watch when dropped.
    pub guard: DropGuard,
}

/// The address of a VNC server, and the messages that it supports.
#[derive(Debug, Clone)]
pub struct VncEndpoint {
    /// The loopback address of the server.
    pub address: SocketAddr,
    /// The password for RFB's security type 2, VNC Authentication (RFC 6143, section 7.2.2).
    pub password: SecretString,
    /// The message types that the server understands.
    pub dialect: Dialect,
}

/// A seat at a VNC server, which runs at least as long as it has a seat.
#[derive(Debug)]
pub struct VncSeat {
    /// The address and password of the server.
    pub endpoint: VncEndpoint,
    /// To be notified when the server seems to hang: it is then checked, and replaced if it does.
    pub doubts: Arc<Notify>,
    /// Releases the seat when dropped.
    pub guard: DropGuard,
}

/// The VNC server of one desktop, as its viewers use it.
pub trait VncServer: fmt::Debug + Send + Sync + 'static {
    /// Resolves when the server accepts connections, or with the reason for which it will not.
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>>;
}
