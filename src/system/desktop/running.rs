//! A desktop that is up.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::Downloads;
use super::closing::Parts;
use super::downloads::watching::Watching;
use super::emulation::Emulation;
use super::keeper::{Keeper, Kept};
use super::launch::Desktops;
use super::memory::Opening;
use super::networking;
use super::record::Record;
use super::repairs::Repairs;
use super::rotating::Rotating;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::session::{DesktopIdentity, Failure};
use crate::system::browser;
use crate::system::capture::Capture;
use crate::system::cdp::Devtools;
use crate::system::clipboard;
use crate::system::display::{self, Cookie};
use crate::system::egress::Follower;
use crate::system::failure::failure;
use crate::system::input::Devices;
use crate::system::limits::Group;
use crate::system::process::{Process, cut, is_ending};
use crate::system::seam::{
    Copies, Death, Desktop, Egress, Order, PackAtEnd, PackedProfile, Repair, RestartFailed,
    Restarted, Sanitized, Screen, Stages, VncServer,
};
use crate::system::storage_state::Storage;
use crate::system::vnc::{Password, Server};
use crate::system::windows::Fitting;
use crate::traces;

/// The time between two checks of the log sizes.
const LOGS: Duration = Duration::from_secs(15);

/// The parts of a running desktop, started or adopted.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) desktops: Desktops,
    pub(super) order: Order,
    pub(super) parts: Parts,
    pub(super) identity: DesktopIdentity,
    pub(super) record: Arc<Record>,
    pub(super) cookie: Cookie,
    pub(super) vnc_password: Password,
    pub(super) xvfb: Process,
    pub(super) chromium: Process,
    pub(super) windows: Fitting,
    pub(super) vnc: Arc<dyn Server>,
    pub(super) repairs: Repairs,
    pub(super) downloads: Downloads,
    /// The pages that the browser was started with, or that were restored.
    pub(super) opening: Opening,
    pub(super) emulation: Emulation,
    /// The stages of the start; none of a desktop that was adopted.
    pub(super) stages: Stages,
}

/// A desktop of real programs.
#[derive(Debug)]
pub(super) struct LiveDesktop {
    pub(super) made: Made,
    pub(super) screen: Arc<Capture>,
    devices: Devices,
    pub(super) keeper: Keeper,
    storage: Storage,
    watching: Watching,
    /// The follower of its egress program, if it has one.
    following: Option<Follower>,
    used: watch::Sender<bool>,
    /// The number of out-of-memory kills that was last reported.
    memory_kills: Arc<AtomicU64>,
    pub(super) runtime: Handle,
    /// Cancelled by `shut_down` and on drop, when no death can be reported any more.
    closing: CancellationToken,
    _dropped: DropGuard,
    _detach: DetachOnDrop,
}

/// Leaves the VNC server running when the desktop is dropped.
#[derive(Debug)]
struct DetachOnDrop(Arc<dyn Server>);

impl Drop for DetachOnDrop {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl LiveDesktop {
    pub(super) fn new(made: Made, runtime: Handle) -> Self {
        let closing = CancellationToken::new();
        let logs = [display::stage(made.vnc.is_the_display()).name, "chromium", "x11vnc", "egress"]
            .map(|program| made.parts.directory.log(program));
        let limit = made.parts.settings.log_limit_bytes;
        let ended = closing.clone();
        runtime.spawn(async move {
            while tokio::time::timeout(LOGS, ended.cancelled()).await.is_err() {
                for log in &logs {
                    // A missing log is not too large.
                    let _ = cut(log, limit);
                }
            }
        });
        let (used, _) = watch::channel(false);
        let screen = screen_of(&made, &runtime);
        let devices = devices_of(&made);
        let keeper = Keeper::start(kept(&made), used.subscribe(), &runtime);
        let storage = storage(&made, &keeper);
        let watching = watching(&made);
        let following = following(&made, &used);
        let dropped = closing.clone().drop_guard();
        let detach = DetachOnDrop(made.vnc.clone());
        let killed = group(&made).and_then(|group| group.out_of_memory_kills());
        let memory_kills = Arc::new(AtomicU64::new(killed.unwrap_or_default()));
        Self {
            made,
            screen,
            devices,
            keeper,
            storage,
            watching,
            following,
            used,
            memory_kills,
            runtime,
            closing,
            _dropped: dropped,
            _detach: detach,
        }
    }

    /// Restarts the helpers after parts have changed.
    pub(super) fn renew(&mut self, display_is_new: bool) {
        if display_is_new {
            self.screen = screen_of(&self.made, &self.runtime);
            self.devices = devices_of(&self.made);
        }
        self.renew_keeper();
        self.watching = watching(&self.made);
        if self.following.is_none() {
            self.following = following(&self.made, &self.used);
        }
    }

    /// Starts another keeper, for the parts as they are now.
    pub(super) fn renew_keeper(&mut self) {
        self.keeper = Keeper::start(kept(&self.made), self.used.subscribe(), &self.runtime);
        self.storage = storage(&self.made, &self.keeper);
    }
}

fn screen_of(made: &Made, runtime: &Handle) -> Arc<Capture> {
    let interval = made.parts.settings.capture_interval();
    let metrics = Arc::clone(&made.desktops.0.metrics.pictures);
    let (display, cookie) = (made.identity.display_number, made.cookie);
    Arc::new(Capture::counted(display, cookie, interval, runtime.clone(), metrics))
}

fn devices_of(made: &Made) -> Devices {
    Devices::new(made.identity.display_number, made.cookie)
}

fn watching(made: &Made) -> Watching {
    Watching::start(&made.downloads, Devtools::of(&made.identity), made.chromium.clone())
}

fn storage(made: &Made, keeper: &Keeper) -> Storage {
    let profile = made.parts.directory.profile();
    Storage::new(Devtools::of(&made.identity), profile, keeper.remember())
}

fn following(made: &Made, used: &watch::Sender<bool>) -> Option<Follower> {
    let way = made.parts.way.as_ref()?;
    Some(networking::follow(way, &made.record, &made.repairs, used.subscribe()))
}

fn group(made: &Made) -> Option<Group> {
    Group::named_in(&made.parts.directory.group())
}

fn kept(made: &Made) -> Kept {
    Kept {
        session: made.parts.session,
        devtools: Devtools::of(&made.identity),
        xvfb: made.xvfb.clone(),
        chromium: made.chromium.clone(),
        vnc: made.vnc.clone(),
        repairs: made.repairs.clone(),
        display: made.identity.display_number,
        cookie: made.cookie,
        memory: made.parts.directory.memory(),
        opening: made.opening.clone(),
        settings: Arc::clone(&made.parts.settings),
    }
}

impl Desktop for LiveDesktop {
    fn identity(&self) -> &DesktopIdentity {
        &self.made.identity
    }

    fn stages(&self) -> Stages {
        self.made.stages.clone()
    }

    fn death(&self) -> BoxFuture<'static, Death> {
        let (xvfb, chromium) = (self.made.xvfb.clone(), self.made.chromium.clone());
        let (closing, hung) = (self.closing.clone(), self.keeper.hung());
        let group = group(&self.made);
        let before = group.as_ref().and_then(Group::out_of_memory_kills).unwrap_or_default();
        let display = display::stage(self.made.vnc.is_the_display());
        let profile = self.made.parts.directory.profile();
        Box::pin(async move {
            let mut orderly = false;
            let (stage, died) = tokio::select! {
                biased;
                () = closing.cancelled() => std::future::pending().await,
                // Checked first, because the browser ends when its display does.
                exit = xvfb.exited() => (display, display.died(&xvfb, exit)),
                // Either of the two ends may be observed first.
                exit = chromium.exited() => if is_ending(xvfb.identity()) {
                    let exit = xvfb.exited().await;
                    (display, display.died(&xvfb, exit))
                } else {
                    orderly = browser::closed_in_order(exit, &profile);
                    let stage = browser::STAGE;
                    (stage, if orderly { stage.closed(exit) } else { stage.died(&chromium, exit) })
                }
            };
            let after = group.as_ref().and_then(Group::out_of_memory_kills).unwrap_or_default();
            if let Some(hung) = hung.lock().take() {
                return hung.into();
            }
            if after > before {
                return stage.out_of_memory(died).into();
            }
            Death { failure: died, orderly }
        })
    }

    fn out_of_memory(&self) -> BoxFuture<'static, u64> {
        let (group, logged) = (group(&self.made), Arc::clone(&self.memory_kills));
        let over = self.closing.clone();
        Box::pin(async move {
            let Some(group) = group else { return std::future::pending().await };
            let count = tokio::select! {
                count = group.more_out_of_memory_kills(logged.load(Ordering::Relaxed)) => count,
                () = over.cancelled() => std::future::pending().await,
            };
            logged.store(count, Ordering::Relaxed);
            count
        })
    }

    fn repairs(&self) -> BoxFuture<'static, Repair> {
        self.made.repairs.next()
    }

    fn restart(
        mut self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Restarted, RestartFailed>> {
        let span = tracing::info_span!("restart", session.id = %self.made.parts.session);
        let runtime = self.runtime.clone();
        let work = async move {
            match self.restart_parts(&call_off).await {
                Ok(rebuilt) => Ok(Restarted {
                    desktop: self,
                    lost: rebuilt.lost,
                    is_cleared: rebuilt.is_cleared,
                }),
                Err(failure) => Err(RestartFailed { failure, desktop: Some(self) }),
            }
        };
        let work = runtime.spawn(traces::carried(work).instrument(span));
        Box::pin(async move {
            work.await.unwrap_or_else(|cause| {
                let message = format!("the recovery failed: {cause}");
                let failure = failure("desktop", "recovery_broke_off", message);
                Err(RestartFailed { failure, desktop: None })
            })
        })
    }

    fn equip(
        self: Box<Self>,
        order: Order,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, RestartFailed>> {
        let span = tracing::info_span!("equip", session.id = %order.session);
        let runtime = self.runtime.clone();
        let work = runtime.spawn(traces::carried(self.equip_now(order, call_off)).instrument(span));
        Box::pin(async move {
            work.await.unwrap_or_else(|cause| {
                let message = format!("the desktop of the pool could not be used: {cause}");
                let failure = failure("desktop", "equipping_broke_off", message);
                Err(RestartFailed { failure, desktop: None })
            })
        })
    }

    fn sanitize(
        self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Sanitized, RestartFailed>> {
        let span = tracing::info_span!("sanitize", session.id = %self.made.parts.session);
        let runtime = self.runtime.clone();
        let work = runtime.spawn(traces::carried(self.sanitize_now(call_off)).instrument(span));
        Box::pin(async move {
            work.await.unwrap_or_else(|cause| {
                let message = format!("the sanitizing failed: {cause}");
                let failure = failure("desktop", "sanitizing_broke_off", message);
                Err(RestartFailed { failure, desktop: None })
            })
        })
    }

    fn set_used(&self, used: bool) {
        self.used.send_if_modified(|before| std::mem::replace(before, used) != used);
    }

    fn apply_settings(&self, settings: BrowserSettings) -> BoxFuture<'static, ()> {
        self.made.emulation.apply(settings)
    }

    fn renew_settings(&self) {
        self.made.emulation.renew();
    }

    fn screen(&self) -> Arc<dyn Screen> {
        self.screen.clone()
    }

    fn copies(&self) -> Copies {
        let Made { identity, cookie, .. } = &self.made;
        clipboard::follow(identity.display_number, *cookie, identity.chromium.pid, &self.runtime)
    }

    fn devices(&self) -> Devices {
        self.devices.clone()
    }

    fn downloads(&self) -> Downloads {
        self.made.downloads.clone()
    }

    fn storage(&self) -> Storage {
        self.storage.clone()
    }

    fn egress(&self) -> Option<Arc<dyn Egress>> {
        let way = self.made.parts.way.clone()?;
        Some(Arc::new(way))
    }

    fn rotation(&self) -> i64 {
        self.made.vnc_password.rotation()
    }

    fn rotate_vnc(&self, rotation: i64) -> BoxFuture<'static, Result<SecretString, Failure>> {
        let span = tracing::info_span!("rotate_vnc", session.id = %self.made.parts.session);
        let rotating = Rotating {
            directory: self.made.parts.directory.clone(),
            password: self.made.vnc_password.clone(),
            vnc: Arc::clone(&self.made.vnc),
            record: Arc::clone(&self.made.record),
        };
        let work = self.runtime.spawn(traces::carried(rotating.rotate(rotation)).instrument(span));
        Box::pin(async move {
            work.await.unwrap_or_else(|cause| {
                let message = format!("the change of the VNC password failed: {cause}");
                Err(failure("vnc", "rotation_broke_off", message))
            })
        })
    }

    fn vnc(&self) -> Arc<dyn VncServer> {
        self.made.vnc.clone()
    }

    fn pack_profile(&self, into: PathBuf) -> BoxFuture<'static, Result<PackedProfile, Failure>> {
        self.pack_now(into)
    }

    fn pack_at_end(&mut self, request: PackAtEnd) {
        self.made.parts.at_end = Some(request);
    }

    fn shut_down(self: Box<Self>) -> BoxFuture<'static, Vec<String>> {
        self.closing.cancel();
        let span = tracing::info_span!("shut_down", session.id = %self.made.parts.session);
        let Self { made, keeper, watching, following, runtime, .. } = *self;
        drop((keeper, watching, following));
        let work = runtime.spawn(made.parts.end().instrument(span));
        Box::pin(async move {
            work.await
                .unwrap_or_else(|cause| vec![format!("the end of the desktop failed: {cause}")])
        })
    }
}
