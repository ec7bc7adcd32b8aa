//! A world for the actors' tests: a store in memory, fake desktops, a paused clock.

mod desktop;
mod egress;
mod rows;
mod screen;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::desktop::FakeDesktop;
pub use self::egress::FakeEgress;
pub use self::rows::Rows;
use super::ask::{Address, Answering, Ask, Handle};
use super::clock::Clock;
use super::events::{Events, PendingEvents};
use super::journal::{Capacity, Journal};
use super::lanes::Lanes;
use super::passes::Passes;
use super::pool::{self, KeptPools, Pool};
use super::quotas::{self, Quotas};
use super::registry::{Create, Created, Registry, Start};
use super::run::{Run, RunError};
use super::secrets::Secrets;
use super::session::{Session, SessionError};
use super::settings::Settings;
use super::views::{SessionView, Views};
use super::world::{Dial, World};
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::egress::EgressAsked;
use crate::domain::ids::{Mint, NodeId, OrganizationId, SessionId};
use crate::domain::occupancy::{Occupant, RunnableType};
use crate::domain::session::{
    DesktopIdentity, Failure, ProcessIdentity, SessionSpec, SessionStatus,
};
use crate::system::confine::Confinement;
use crate::system::desktop::{AdoptError, Desktop, Directories, Files, Launch, LaunchError, Order};
use crate::system::film::{self, Films};
use crate::system::objects::Objects;
use crate::system::python::Python;
use crate::traces::Traces;
use crate::workflow;
use crate::workflow::host::Devtools;

pub const ORGANIZATION: u64 = 7;

/// The behavior of the fakes. Each operation takes a second unless a test says otherwise.
#[derive(Debug, Clone)]
pub struct Outside {
    pub up: Duration,
    pub down: Duration,
    pub settings: Settings,
    pub pool: pool::Settings,
    /// The directory of objects and of files in transit; without one, none can be stored.
    pub data: PathBuf,
}

impl Default for Outside {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        let data = PathBuf::from("/nonexistent");
        let (settings, pool) = (Settings::default(), pool::Settings::default());
        Self { up: second, down: second, settings, pool, data }
    }
}

/// A world, its registry, and handles to its fakes.
pub struct Stage {
    pub world: Arc<World>,
    pub registry: Address<Registry>,
    pub rows: Arc<Rows>,
    pub desktops: Arc<Desktops>,
    /// The recorded events of this world.
    pub recorded: PendingEvents,
}

impl Stage {
    pub fn new(outside: Outside) -> Self {
        let clock = Clock::start();
        let capacity = Capacity { server: 1000, actor: 50 };
        let (journal, _trail) = Journal::new(clock, Mint::new(2), capacity, Traces::default());
        let (events, recorded) = Events::new(clock);
        let rows = Arc::new(Rows::default());
        let desktops = Arc::new(Desktops {
            up: outside.up,
            down: outside.down,
            alive: Arc::default(),
            fail: Mutex::default(),
            kill: Arc::default(),
            close: Arc::default(),
            launched: AtomicUsize::new(0),
            settings: Mutex::default(),
            adopt: Mutex::default(),
            identity: Mutex::default(),
            unrevived: Arc::default(),
            unequipped: Arc::default(),
            sanitized: Arc::default(),
            marked: Arc::default(),
            packing: Arc::default(),
            rotation: Arc::default(),
            swept: Mutex::default(),
            egress: Mutex::new(Some(Arc::default())),
        });
        let world = Arc::new(World {
            node: NodeId::from(1),
            clock,
            mint: Mint::new(1),
            journal,
            metrics: Arc::default(),
            events,
            views: Views::default(),
            secrets: Secrets::new([3; 32]),
            store: rows.clone(),
            launcher: desktops.clone(),
            pool: Pool::new(
                &outside.pool,
                KeptPools::default(),
                String::new(),
                clock,
                runtime::Handle::current(),
            ),
            films: no_films(),
            browsers: Arc::new(NoBrowser),
            settings: outside.settings,
            workflow: workflow::Settings::default(),
            python: Python::new(
                None,
                "/nonexistent",
                Confinement::default(),
                runtime::Handle::current(),
            ),
            passes: Passes::default(),
            quotas: Quotas::new(&quotas::Settings::default(), clock),
            lanes: Lanes::default(),
            reach: OnceLock::new(),
            runtime: runtime::Handle::current(),
            directories: Directories::below("/nonexistent"),
            objects: Objects::in_directory(&outside.data),
            transit: outside.data,
            pictures: PathBuf::from("/nonexistent"),
        });
        let registry = Registry::start(Arc::clone(&world), Vec::new());
        Self { world, registry: registry.used_by("test"), rows, desktops, recorded }
    }

    pub fn organization() -> OrganizationId {
        OrganizationId::from(ORGANIZATION)
    }

    pub async fn create(&self) -> Created {
        let organization = Self::organization();
        let create = Create {
            organization,
            spec: SessionSpec::default(),
            start: Start::Now,
            run: None,
            id: None,
            must_write: false,
            storage_state: None,
        };
        self.registry.ask(create).await.unwrap().unwrap()
    }

    /// A session whose browser can be driven.
    pub async fn running(&self) -> (SessionId, watch::Receiver<SessionView>) {
        let Created { id, mut view } = self.create().await;
        view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
        (id, view)
    }
}

/// Makes a session's actor panic.
#[derive(Debug)]
pub struct BreakSession;

impl Ask for BreakSession {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "break_session";
}

impl Handle<BreakSession> for Session {
    fn handle(
        &mut self,
        BreakSession: BreakSession,
        _: &mut actix::Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        panic!("as the test wants it");
    }
}

/// Makes a run's actor panic.
#[derive(Debug)]
pub struct BreakRun;

impl Ask for BreakRun {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "break_run";
}

impl Handle<BreakRun> for Run {
    fn handle(
        &mut self,
        BreakRun: BreakRun,
        _: &mut actix::Context<Self>,
    ) -> Answering<Result<(), RunError>> {
        panic!("as the test wants it");
    }
}

pub fn occupant(name: &str) -> Occupant {
    Occupant { runnable_type: RunnableType::External, runnable_id: name.parse().unwrap() }
}

/// Films that cannot be made: without a display to film and without `ffmpeg`.
fn no_films() -> Films {
    let settings = film::Settings {
        ffmpeg: "/nonexistent/ffmpeg".into(),
        black_box: false,
        ..film::Settings::default()
    };
    Films::new(
        Directories::below("/nonexistent"),
        settings,
        String::new(),
        Confinement::default(),
        runtime::Handle::current(),
    )
}

#[derive(Debug)]
struct NoBrowser;

impl Dial for NoBrowser {
    fn dial(&self, _: &DesktopIdentity) -> BoxFuture<'static, Result<Arc<dyn Devtools>, String>> {
        Box::pin(async { Err("there is no browser here".to_owned()) })
    }
}

/// A launcher of fake desktops, which counts those that are alive.
#[derive(Debug)]
pub struct Desktops {
    up: Duration,
    down: Duration,
    alive: Arc<AtomicUsize>,
    /// The failure of the next launch.
    pub fail: Mutex<Option<Failure>>,
    /// Notified to kill every desktop that is up.
    pub kill: Arc<Notify>,
    /// Notified to close the browser of every desktop that is up, in good order.
    pub close: Arc<Notify>,
    launched: AtomicUsize,
    /// The settings of each browser that was launched.
    pub settings: Mutex<Vec<BrowserSettings>>,
    /// The error of the next adoption; `None` finds a running desktop.
    pub adopt: Mutex<Option<AdoptError>>,
    /// The identity of the desktop that an adoption finds.
    pub identity: Mutex<Option<DesktopIdentity>>,
    /// The number of upcoming recoveries that fail.
    pub unrevived: Arc<AtomicUsize>,
    /// True if the next desktop of the pool cannot be given to a session.
    pub unequipped: Arc<AtomicBool>,
    /// The number of times that a desktop was sanitized.
    pub sanitized: Arc<AtomicUsize>,
    /// True if a restart completes a sanitizing that was interrupted.
    pub marked: Arc<AtomicBool>,
    /// The time that the profile of a running browser takes to pack.
    pub packing: Arc<Mutex<Duration>>,
    /// The rotation that the VNC password of the desktop belongs to.
    pub rotation: Arc<AtomicI64>,
    /// The sessions that were swept, each with true if its files were kept.
    pub swept: Mutex<Vec<(SessionId, Files)>>,
    /// The egress program of every desktop; `None` where the network is not separated.
    pub egress: Mutex<Option<Arc<FakeEgress>>>,
}

impl Desktops {
    /// The number of desktops that were launched.
    pub fn launched(&self) -> usize {
        self.launched.load(Ordering::SeqCst)
    }

    /// The number of desktops that are starting, running, or shutting down.
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

pub fn failure(code: &str) -> Failure {
    Failure {
        code: code.to_owned(),
        stage: Some("chromium".to_owned()),
        message: format!("chromium: {code}"),
        exit: Some("signal 9 (SIGKILL)".to_owned()),
        log_tail: vec!["the last line".to_owned()],
        hint: None,
    }
}

impl Launch for Desktops {
    fn launch(
        &self,
        order: Order,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, LaunchError>> {
        let number = self.launched.fetch_add(1, Ordering::SeqCst);
        self.settings.lock().push(order.spec.settings.clone());
        let alive = Arc::clone(&self.alive);
        let (up, down) = (self.up, self.down);
        let fail = self.fail.lock().take();
        let (kill, close) = (Arc::clone(&self.kill), Arc::clone(&self.close));
        let (unrevived, sanitized) = (Arc::clone(&self.unrevived), Arc::clone(&self.sanitized));
        let unequipped = Arc::clone(&self.unequipped);
        let (marked, packing) = (Arc::clone(&self.marked), Arc::clone(&self.packing));
        let rotation = Arc::clone(&self.rotation);
        rotation.store(order.spec.rotation, Ordering::SeqCst);
        let egress = self.egress.lock().clone();
        if let Some(egress) = &egress {
            egress.policies.lock().push(EgressAsked::from(&order));
        }
        alive.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let outcome = tokio::select! {
                () = sleep(up) => fail.map_or(Ok(()), |fail| Err(LaunchError::Failed(Box::new(fail)))),
                () = call_off.cancelled() => Err(LaunchError::CalledOff),
            };
            if let Err(cause) = outcome {
                alive.fetch_sub(1, Ordering::SeqCst);
                return Err(cause);
            }
            let identity = identity(number);
            let desktop = FakeDesktop {
                identity,
                up,
                down,
                alive,
                kill,
                close,
                unrevived,
                unequipped,
                sanitized,
                marked,
                packing,
                rotation,
                egress,
                at_end: None,
            };
            let desktop: Box<dyn Desktop> = Box::new(desktop);
            Ok(desktop)
        })
    }

    fn adopt(&self, order: Order) -> BoxFuture<'static, Result<Box<dyn Desktop>, AdoptError>> {
        let refused = self.adopt.lock().take();
        if refused.is_none() {
            self.alive.store(1, Ordering::SeqCst);
        }
        let desktop = FakeDesktop {
            identity: self.identity.lock().clone().unwrap_or_else(|| identity(0)),
            up: self.up,
            down: self.down,
            alive: Arc::clone(&self.alive),
            kill: Arc::clone(&self.kill),
            close: Arc::clone(&self.close),
            unrevived: Arc::clone(&self.unrevived),
            unequipped: Arc::clone(&self.unequipped),
            sanitized: Arc::clone(&self.sanitized),
            marked: Arc::clone(&self.marked),
            packing: Arc::clone(&self.packing),
            rotation: Arc::clone(&self.rotation),
            egress: self.egress.lock().clone(),
            at_end: None,
        };
        if let Some(egress) = &desktop.egress {
            egress.policies.lock().push(EgressAsked::from(&order));
        }
        Box::pin(async move {
            sleep(Duration::from_millis(10)).await;
            let desktop: Box<dyn Desktop> = Box::new(desktop);
            refused.map_or(Ok(desktop), Err)
        })
    }

    fn sweep(&self, session: SessionId, files: Files) -> BoxFuture<'static, Vec<String>> {
        self.swept.lock().push((session, files));
        self.alive.store(0, Ordering::SeqCst);
        Box::pin(async { Vec::new() })
    }
}

fn identity(number: usize) -> DesktopIdentity {
    let number = u16::try_from(number).unwrap();
    let process = ProcessIdentity { pid: 1, start_time: 1, boot_id: "boot".to_owned() };
    DesktopIdentity {
        display_number: 100 + number,
        vnc_port: 5900 + number,
        devtools: "127.0.0.1:9".parse().unwrap(),
        devtools_path: "/devtools/browser/x".to_owned(),
        xvfb: process.clone(),
        vnc: None,
        chromium: process,
        egress: None,
        files: None,
        sandbox: None,
        start: None,
    }
}
