//! The start of a desktop.
//!
//! ```text
//! directory --> Xvfb --+--> Chromium ------------+--> up
//!                      +--> VNC, when eager -----+
//! ```
//!
//! Every part is recorded in the guard [`Undo`] before it is awaited, so that a failure, a
//! cancellation or a panic leaves nothing running.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Downloads;
use super::closing::{Parts, Undo, end_remains};
use super::directories::Directories;
use super::directory::{Directory, Saved};
use super::emulation::{self, Emulation};
use super::files::Uploads;
use super::first_state::FirstState;
use super::managed::managed;
use super::networking::{self, Found};
use super::record::Record;
use super::repairs::Repairs;
use super::running::{LiveDesktop, Made};
use crate::domain::egress::NetworkLevel;
use crate::domain::ids::SessionId;
use crate::domain::session::{DesktopIdentity, Failure, ProcessIdentity, StartKind};
use crate::metrics::DesktopMetrics;
use crate::system::browser::{self, First};
use crate::system::display::{self, Cookie};
use crate::system::extensions::Extensions;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::limits::{self, NoRoom, Subtree, Usage};
use crate::system::process::{self, Process};
use crate::system::profile::BrowserVersion;
use crate::system::programs::ProgramReport;
use crate::system::seam::{AdoptError, Desktop, Files, Launch, LaunchError, Order, Staging};
use crate::system::settings::{Sandbox, Settings, VncProgram};
use crate::system::vnc::{
    self, Password, Ports, Reach, Reservation, Seats, Server, VncCallbacks, VncContext, Within,
};
use crate::system::windows;
use crate::traces;

/// Starts desktops with real programs. Clones share the same state.
#[derive(Debug, Clone)]
pub struct Desktops(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) directories: Directories,
    settings: Arc<Settings>,
    runtime: Handle,
    ports: Arc<Ports>,
    pub(super) limits: limits::Settings,
    /// The parent of sessions' control groups, if the machine allows them.
    pub(super) subtree: Option<Subtree>,
    /// Decided and logged once: for programs of the server's user, and for those of other users.
    no_sandbox: [OnceCell<bool>; 2],
    /// Tested once: the network separation that the machine supports.
    pub(super) network: OnceCell<NetworkLevel>,
    /// The versions of browsers, by their programs.
    pub(super) versions: Mutex<Versions>,
    /// The figures of all desktops.
    pub(super) metrics: Arc<DesktopMetrics>,
}

/// Versions by the path and the time of the last change of a program.
type Versions = HashMap<(PathBuf, Option<SystemTime>), BrowserVersion>;

impl Desktops {
    /// Desktops without limits, whose directories are below `data`, an absolute path. All work runs
    /// on `runtime`, which must have I/O and time enabled and outlive every desktop.
    pub fn new(data: impl Into<PathBuf>, settings: Settings, runtime: Handle) -> Self {
        let limits = limits::Settings { enabled: false, ..limits::Settings::default() };
        Self::made(data, settings, limits, None, runtime)
    }

    /// Desktops with limits. If the machine does not allow limits, the log has the reason. The
    /// server may be moved into a separate control group.
    pub fn limited(
        data: impl Into<PathBuf>,
        settings: Settings,
        limits: limits::Settings,
        runtime: Handle,
    ) -> Self {
        let subtree = match Subtree::open(&limits) {
            Ok(subtree) => Some(subtree),
            Err(why) => {
                tracing::warn!("sessions have no limits of memory, processor and processes: {why}");
                None
            }
        };
        let desktops = Self::made(data, settings, limits, subtree, runtime);
        desktops.log_limits();
        desktops
    }

    fn made(
        data: impl Into<PathBuf>,
        settings: Settings,
        limits: limits::Settings,
        subtree: Option<Subtree>,
        runtime: Handle,
    ) -> Self {
        let mut directories = Directories::new(data, &settings.placement);
        directories = directories.taking(Uploads::new(settings.uploads));
        if let Some(vault) = settings.vault {
            directories = directories.sealed_with(vault);
        }
        let ports = Ports::new(settings.vnc_port_first..=settings.vnc_port_last);
        let settings = Arc::new(settings);
        let inner = Inner {
            directories,
            settings,
            runtime,
            ports,
            limits,
            subtree,
            no_sandbox: Default::default(),
            network: OnceCell::new(),
            versions: Mutex::default(),
            metrics: Arc::default(),
        };
        Self(Arc::new(inner))
    }

    /// The directories of all sessions.
    pub fn directories(&self) -> &Directories {
        &self.0.directories
    }

    /// The directories of a session, whether they exist or not.
    pub fn directory(&self, session: SessionId) -> Directory {
        self.0.directories.of(session)
    }

    /// Ends the processes that a previous server left of a session: the browser by `Browser.close`,
    /// the others by signals. Only processes with the session's marker are ended. Resolves as
    /// [`Desktop::shut_down`] does. Idempotent. The session's desktop must not be up.
    pub fn end_remains(&self, session: SessionId, files: Files) -> BoxFuture<'static, Vec<String>> {
        let settings = Arc::clone(&self.0.settings);
        let remains = end_remains(session, self.directory(session), settings, files);
        let work = self.0.runtime.spawn(remains);
        Box::pin(async move {
            work.await
                .unwrap_or_else(|cause| vec![format!("the end of the desktop failed: {cause}")])
        })
    }

    /// The sessions outside of `live` that have a directory here and of which a process, a
    /// `desktop.json` or the mark of the pool is left. No live session owns these remains.
    pub fn orphans(&self, live: &[SessionId]) -> Vec<SessionId> {
        let mut known = self.0.directories.named();
        known.retain(|session| !live.contains(session));
        let living = process::living_among(&known);
        let is_left = |session: &SessionId| {
            let directory = self.directory(*session);
            living.contains(session)
                || !matches!(directory.saved(), Ok(None))
                || directory.pooled().is_some()
        };
        let (left, ended): (Vec<_>, Vec<_>) = known.into_iter().partition(is_left);
        // Sessions whose users were not free yet, because their end was incomplete.
        for session in ended {
            self.directory(session).release_user();
        }
        left
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.0.settings
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    pub(super) fn ports(&self) -> &Arc<Ports> {
        &self.0.ports
    }

    /// The downloads of a session.
    pub(super) fn downloads_of(&self, session: SessionId) -> Downloads {
        let (directory, settings) = (self.directory(session), self.settings());
        // A confined browser can write to folders of its session only.
        let is_anywhere = !settings.confinement.is_on() || directory.is_single();
        Downloads::of(&directory, settings.downloads, is_anywhere, &self.0.runtime)
    }

    /// Removes the directory of an ended session, including its downloads. Idempotent.
    pub fn remove_directory(&self, session: SessionId) -> BoxFuture<'static, std::io::Result<()>> {
        let directory = self.directory(session);
        let work = self.0.runtime.spawn_blocking(move || directory.remove());
        Box::pin(
            async move { work.await.unwrap_or_else(|cause| Err(std::io::Error::other(cause))) },
        )
    }
}

impl Launch for Desktops {
    fn launch(
        &self,
        order: Order,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, LaunchError>> {
        let (answer, answered) = oneshot::channel();
        let inner = self.clone();
        let span = tracing::info_span!("launch", session.id = %order.session);
        let work = async move {
            let outcome = inner.launch_now(order, call_off).await;
            let outcome = outcome.map(|desktop| -> Box<dyn Desktop> { Box::new(desktop) });
            // The caller is gone, so nothing else could end the desktop.
            if let Err(Ok(desktop)) = answer.send(outcome) {
                for line in desktop.shut_down().await {
                    tracing::error!("{line}");
                }
            }
        };
        self.0.runtime.spawn(traces::carried(work).instrument(span));
        Box::pin(async move {
            answered.await.unwrap_or_else(|_gone| {
                let message = "the launch failed; see the server's log for the cause".to_owned();
                Err(failed(failure("directory", "launch_broke_off", message)))
            })
        })
    }

    fn adopt(&self, order: Order) -> BoxFuture<'static, Result<Box<dyn Desktop>, AdoptError>> {
        let desktops = self.clone();
        let span = tracing::info_span!("adopt", session.id = %order.session);
        let work = self.0.runtime.spawn_blocking(move || {
            let _entered = span.entered();
            desktops.adopt_order(order)
        });
        Box::pin(async move {
            match work.await {
                Ok(Ok((desktop, strays))) => {
                    if strays {
                        desktop.end_strays().await;
                    }
                    let desktop: Box<dyn Desktop> = Box::new(desktop);
                    Ok(desktop)
                }
                Ok(Err(cause)) => Err(cause),
                Err(cause) => Err(AdoptError::Broken { cause: cause.to_string() }),
            }
        })
    }

    fn sweep(&self, session: SessionId, files: Files) -> BoxFuture<'static, Vec<String>> {
        self.end_remains(session, files)
    }

    fn room(&self, coming: u64) -> BoxFuture<'static, Result<(), NoRoom>> {
        self.measured(coming)
    }

    fn downloads_left(&self, session: SessionId) -> Downloads {
        self.downloads_of(session)
    }

    fn disk(&self) -> BoxFuture<'static, Result<(), NoRoom>> {
        self.disk_measured()
    }

    fn usage(&self, session: SessionId) -> Option<Usage> {
        self.used_by(session)
    }

    fn metrics(&self) -> Option<Arc<DesktopMetrics>> {
        Some(Arc::clone(&self.0.metrics))
    }

    fn programs(&self, session: SessionId, with_logs: bool) -> Vec<ProgramReport> {
        self.directory(session).programs_examined(with_logs)
    }

    fn extensions(&self) -> Extensions {
        Extensions::below(self.0.directories.data())
    }
}

/// The VNC server's session and display, and the receivers of its events.
pub(super) struct VncOrder<'a> {
    pub(super) session: SessionId,
    pub(super) display: u16,
    pub(super) password: &'a Password,
    pub(super) record: &'a Arc<Record>,
    pub(super) repairs: &'a Repairs,
}

fn failed(failure: Failure) -> LaunchError {
    LaunchError::Failed(Box::new(failure))
}

impl Desktops {
    async fn launch_now(
        &self,
        order: Order,
        call_off: CancellationToken,
    ) -> Result<LiveDesktop, LaunchError> {
        let directory = self.directory(order.session);
        if let Ok(Some(saved)) = directory.saved()
            && crate::system::process::is_ours(&saved.identity.xvfb, order.session)
        {
            let message = "this session already has a desktop".to_owned();
            return Err(failed(failure("directory", "directory_failed", message)));
        }
        let parts = Parts::new(order.session, directory, Arc::clone(self.settings()));
        let undo = Mutex::new(Undo::new(parts, self.runtime().clone()));
        let outcome = tokio::select! {
            biased;
            () = call_off.cancelled() => Err(LaunchError::CalledOff),
            outcome = self.bring_up(&order, &undo) => outcome.map_err(failed),
        };
        if outcome.is_err() {
            undo.into_inner().run().await;
        }
        outcome
    }

    async fn bring_up(&self, order: &Order, undo: &Mutex<Undo>) -> Result<LiveDesktop, Failure> {
        let (settings, runtime) = (self.settings(), self.runtime());
        let session = order.session;
        let directory = self.directory(session);
        let mut staging = Staging::begin();
        let cookie: Cookie = rand::random();
        let password = Password::fresh(order.spec.rotation);
        let chromium_path = browser::locate(settings, order.spec.settings.executable.as_deref())?;

        let reservation = self.ports().reserve(None);
        let reservation = reservation.ok_or_else(|| vnc::no_port_free(self.ports()))?;
        let mut vnc_port = reservation.port();
        undo.lock().note(|parts| parts.reservation = Some(reservation));
        let password_file = vnc::password::file(settings.vnc_server, &password.text());
        let files = self.prepare(session, &directory, &cookie, &password_file, &chromium_path)?;
        match &order.pooled {
            Some(mark) => directory.mark_pooled(mark),
            // That of a desktop which waited for this session in the pool of a server that was killed.
            None => directory.unmark_pooled(),
        }
        .map_err(|cause| directory_failed(directory.path(), &cause))?;
        let extensions = self.extended(&directory, &order.spec.settings, files).await?;
        self.confine(session, &directory)
            .map_err(|cause| directory_failed(directory.path(), &cause))?;

        // The browser's requirements are prepared while the display starts.
        let profile = directory.profile();
        let way = self.way(order).await;
        undo.lock().note(|parts| parts.way = way.clone());
        staging.ended("files");
        let restored = async {
            match &order.profile {
                Some(packed) => {
                    self.restore(packed.clone(), directory.clone(), &chromium_path).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let (display, no_sandbox, network, restored) = tokio::join!(
            self.display(order, undo, &mut vnc_port),
            self.no_sandbox(&chromium_path, &directory),
            networking::up(way.as_ref()),
            restored,
        );
        let (display_number, xvfb) = display?;
        let network = network?;
        let restored = restored?;
        staging.ended("display");
        undo.lock().note(|parts| parts.display_number = Some(display_number));
        let windows = windows::fit(display_number, cookie);
        browser::prepare(&directory, order.spec.size)
            .map_err(|cause| directory_failed(&profile, &cause))?;

        let record = Arc::new(Record::new(directory.clone()));
        let mut reservation = None;
        undo.lock().note(|parts| reservation = parts.reservation.take());
        let reservation = reservation.ok_or_else(|| vnc::no_port_free(self.ports()))?;
        let repairs = Repairs::new();
        let vnc: Arc<dyn Server> = match settings.vnc_server {
            VncProgram::X11vnc => {
                let seat = VncOrder {
                    session,
                    display: display_number,
                    password: &password,
                    record: &record,
                    repairs: &repairs,
                };
                Arc::new(self.seats(seat, reservation))
            }
            VncProgram::Tigervnc => {
                let reach = self.reach(&directory, display_number);
                Arc::new(Within::new(password.clone(), reservation, reach))
            }
        };
        undo.lock().note(|parts| parts.vnc = Some(Arc::clone(&vnc)));
        let wanted = &order.spec.settings;
        directory
            .set_started_settings(wanted)
            .map_err(|cause| directory_failed(directory.path(), &cause))?;
        let is_separate = network.as_ref().is_some_and(Found::is_separate);
        let policies = managed(&directory, wanted, &chromium_path, is_separate)?;
        self.certified(session, &directory, wanted).await?;
        // The start page is opened once the browser has its login, and the settings are in force.
        let has_state = restored.is_some() || order.storage_state.is_some();
        let must_wait = emulation::is_needed(wanted) || !extensions.is_empty();
        let is_later = must_wait && order.spec.start_url.is_some();
        let start = browser::Start {
            session,
            spec: &order.spec,
            first: if has_state || is_later { First::Nothing } else { First::Page },
            display: display_number,
            authority: &directory.authority(),
            profile: &profile,
            home: &directory.home(),
            temporary: &directory.temporary(),
            downloads: &directory.downloads(),
            uploads: &directory.uploads(),
            extensions: &extensions,
            log: &directory.log("chromium"),
            no_sandbox,
            network: network.as_ref().map(Found::of_browser),
            policies: policies.as_ref(),
        };
        staging.ended("settings");
        let chromium = browser::spawn(&chromium_path, &start, settings, runtime)?;
        undo.lock().note(|parts| parts.chromium = Some(chromium.clone()));
        if let Some(way) = &way {
            way.set_resident(chromium.identity());
        }
        let eager = async { if settings.vnc_eager { vnc.start().await } else { Ok(()) } };
        let (browser::Ready { devtools, page }, ()) =
            tokio::try_join!(browser::ready(&chromium, &start, settings), eager)?;
        staging.ended("browser");
        undo.lock().note(|parts| parts.devtools = Some(devtools.clone()));
        let (reached, process) = (devtools.clone(), chromium.clone());
        let emulation = Emulation::start(reached, process, wanted.clone(), wanted.clone(), runtime);
        emulation.in_force().await;
        if let Some(url) = order.spec.start_url.as_ref().filter(|_url| is_later && !has_state) {
            emulation::navigate(&devtools, &page, url.as_str(), runtime).await;
        }

        let identity = DesktopIdentity {
            display_number,
            vnc_port,
            devtools: devtools.address,
            devtools_path: devtools.path.clone(),
            xvfb: xvfb.identity().clone(),
            vnc: vnc.is_the_display().then(|| xvfb.identity().clone()),
            chromium: chromium.identity().clone(),
            egress: network.map(|network| network.identity),
            files: Some(files),
            sandbox: Some(!no_sandbox),
            start: Some(StartKind::Cold),
        };
        let state = FirstState { restored, storage_state: order.storage_state.clone() };
        let opening = state.open(&order.spec, page, &devtools, &directory).await?;
        let saved = Saved {
            session,
            identity,
            vnc_password: password.reveal(),
            rotation: password.rotation(),
            cookie: Some(Saved::digits(&cookie)),
        };
        let saved = record.up(saved);
        let identity = saved.map_err(|cause| directory_failed(directory.path(), &cause))?;
        staging.ended("page");
        let stages = staging.stages();
        for (name, took) in stages.each() {
            self.0.metrics.record_stage(name, took);
        }
        // From here on nothing is awaited: the caller owns the parts now, and the guard is disarmed.
        let parts = undo.lock().take().ok_or_else(|| {
            failure("directory", "launch_broke_off", "the launch was undone".to_owned())
        })?;
        let made = Made {
            desktops: self.clone(),
            order: order.clone(),
            parts,
            identity,
            record,
            cookie,
            vnc_password: password,
            xvfb,
            chromium,
            windows,
            vnc,
            repairs,
            downloads: self.downloads_of(order.session),
            opening,
            emulation,
            stages,
        };
        Ok(LiveDesktop::new(made, runtime.clone()))
    }

    /// Starts the X server. If it is the VNC server as well, it listens on `vnc_port`.
    async fn display(
        &self,
        order: &Order,
        undo: &Mutex<Undo>,
        vnc_port: &mut u16,
    ) -> Result<(u16, Process), Failure> {
        let (settings, directory) = (self.settings(), self.directory(order.session));
        let is_vnc = settings.vnc_server == VncProgram::Tigervnc;
        let password_file = directory.vnc_password();
        loop {
            let port = *vnc_port;
            let start = display::Start {
                session: order.session,
                size: order.spec.size,
                only: None,
                authority: &directory.authority(),
                number: &directory.display_number(),
                log: &directory.log(display::stage(is_vnc).name),
                vnc: is_vnc.then_some(display::Rfb { port, password_file: &password_file }),
            };
            let started = |process: &Process| {
                undo.lock().note(|parts| parts.displays.push(process.clone()));
            };
            match display::start(start, settings, self.runtime(), started).await {
                Err(failure) if failure.code == display::PORT_BUSY => {
                    let next = self.ports().reserve(Some(port));
                    let next = next.ok_or_else(|| vnc::no_port_free(self.ports()))?;
                    tracing::warn!(
                        port,
                        next = next.port(),
                        "another program has taken a VNC port"
                    );
                    *vnc_port = next.port();
                    undo.lock().note(|parts| parts.reservation = Some(next));
                }
                outcome => return outcome,
            }
        }
    }

    /// The way to a display that is its own VNC server.
    pub(super) fn reach(&self, directory: &Directory, display: u16) -> Reach {
        Reach { display, authority: directory.authority(), path: self.settings().path.clone() }
    }

    /// The VNC server beside a display, which keeps `desktop.json` up to date when it starts.
    pub(super) fn seats(&self, seat: VncOrder<'_>, reservation: Reservation) -> Seats {
        let VncOrder { session, display, password, record, repairs } = seat;
        let directory = self.directory(session);
        let place = VncContext { session, display, password: password.clone(), directory };
        let record = Arc::clone(record);
        let on_started = Box::new(move |process: &ProcessIdentity, port: u16| {
            record.vnc_started(process, port);
        });
        let repairs = repairs.clone();
        let callbacks = VncCallbacks {
            on_started,
            on_repaired: Box::new(move |repair| repairs.report(repair)),
        };
        let settings = Arc::clone(self.settings());
        Seats::new(place, reservation, settings, self.runtime().clone(), callbacks)
    }

    pub(super) async fn no_sandbox(&self, chromium: &Path, directory: &Directory) -> bool {
        let has_user = directory.user().is_some();
        let [own, others] = &self.0.no_sandbox;
        let decide = async || match self.settings().sandbox {
            Sandbox::On => false,
            Sandbox::Off => {
                tracing::warn!("Chromium runs without its sandbox: `sandbox` is off");
                true
            }
            Sandbox::Auto => {
                match browser::obstacle(chromium, &self.settings().path, has_user).await {
                    Some(obstacle) => {
                        tracing::warn!("Chromium runs without its sandbox: {obstacle}");
                        true
                    }
                    None => false,
                }
            }
        };
        *if has_user { others } else { own }.get_or_init(decide).await
    }
}
