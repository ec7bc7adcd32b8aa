//! A desktop as its session's actor uses it: launch, recovery, end, and access to its parts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::egress::Egress;
use super::profile::{PackAtEnd, PackedProfile};
use super::screen::{Copies, Screen};
use super::stages::Stages;
use super::vnc::VncServer;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::ids::SessionId;
use crate::domain::sanitizing::Cleared;
use crate::domain::session::{DesktopIdentity, Failure, SessionSpec};
use crate::metrics::DesktopMetrics;
use crate::system::desktop::Downloads;
use crate::system::extensions::Extensions;
use crate::system::input::Devices;
use crate::system::limits::{NoRoom, Usage};
use crate::system::programs::ProgramReport;
use crate::system::storage_state::{Storage, StorageState};

/// The session and specification of a desktop to start.
#[derive(Debug, Clone)]
pub struct Order {
    /// The session of the desktop, which names its directory and marks its processes.
    pub session: SessionId,
    /// The specification that the client requested.
    pub spec: SessionSpec,
    /// The organization has used up its network traffic of the day.
    pub is_exhausted: bool,
    /// The profile that the browser starts from.
    pub profile: Option<PackedProfile>,
    /// The storage state that the browser gets before its start page is opened.
    pub storage_state: Option<Arc<StorageState>>,
    /// The mark of a desktop that waits in the pool; none for one that belongs to a session.
    pub pooled: Option<String>,
}

impl Order {
    /// A desktop with an empty browser, for an organization that may use the network.
    pub fn new(session: SessionId, spec: SessionSpec) -> Self {
        Self {
            session,
            spec,
            is_exhausted: false,
            profile: None,
            storage_state: None,
            pooled: None,
        }
    }
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

    /// The extensions that organizations have uploaded.
    fn extensions(&self) -> Extensions {
        Extensions::below(Path::new("/nonexistent"))
    }

    /// The figures of all desktops.
    fn metrics(&self) -> Option<Arc<DesktopMetrics>> {
        None
    }

    /// The programs of a session, as the kernel sees them, with the ends of their logs if those are asked for. Reads
    /// `/proc` and files, and therefore blocks.
    fn programs(&self, _session: SessionId, _with_logs: bool) -> Vec<ProgramReport> {
        Vec::new()
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
    /// True if a sanitizing that had been interrupted was completed: the browser has a new profile.
    pub is_cleared: bool,
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

    /// The stages of its start, with the time of each; none of a desktop that was adopted.
    fn stages(&self) -> Stages {
        Stages::default()
    }

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

    /// Gives a desktop that has waited in the pool to the session of `order`: its network, the settings of
    /// its browser, its storage state and its start page, without a restart. Its programs run as the
    /// session that the order names from the start on. After a failure it fits no session. `call_off` stops the
    /// work where it is.
    fn equip(
        self: Box<Self>,
        order: Order,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, RestartFailed>>;

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

    /// Changes the settings of its browser, without a restart. Resolves when they are in force, or
    /// after some seconds if a page does not answer. Those that only a start sets follow at the
    /// next one.
    fn apply_settings(&self, _settings: BrowserSettings) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Sets the settings of its browser again, because a driver that has left may have removed
    /// them.
    fn renew_settings(&self) {}

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

    /// The cookies and the storage of its browser.
    fn storage(&self) -> Storage {
        Storage::none()
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

    /// Packs the profile of the running browser into a file. The browser stands still meanwhile.
    fn pack_profile(&self, into: PathBuf) -> BoxFuture<'static, Result<PackedProfile, Failure>>;

    /// Has the profile packed by [`shut_down`](Self::shut_down).
    fn pack_at_end(&mut self, request: PackAtEnd);

    /// Ends the desktop: the browser by `Browser.close`, so that logins are kept, then the VNC
    /// server, then the X server. Resolves when the process groups, the display's lock and socket
    /// and the shared memory segments are gone and the port is free. The result has a line for each
    /// thing that could not be removed.
    fn shut_down(self: Box<Self>) -> BoxFuture<'static, Vec<String>>;
}
