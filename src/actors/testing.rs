//! A world for the actors' tests: a store in memory, fake desktops, a paused clock.

mod desktop;
mod egress;
mod screen;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ask::{Address, Answering, Ask, Handle};
use super::clock::Clock;
use super::events::{Events, PendingEvents};
use super::journal::{Capacity, Journal};
use super::lanes::Lanes;
use super::passes::Passes;
use super::quotas::{self, Quotas};
use super::registry::{Create, Created, Registry, Start};
use super::run::{Run, RunError};
use super::secrets::Secrets;
use super::session::{Session, SessionError};
use super::settings::Settings;
use super::views::{SessionView, Views};
use super::world::{Dial, World};
use desktop::FakeDesktop;
pub use egress::FakeEgress;

use crate::db::store::{Ended, Full, Rotated, RunChange, Started, Store, StoreError, Stored};
use crate::db::{Outage, Reason, Rejection};
use crate::domain::audit::AuditEvent;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::{EgressAsked, EgressLists};
use crate::domain::ids::{Mint, NodeId, OrganizationId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::occupancy::{Event, Generation, Occupancy, Occupant, RunnableType};
use crate::domain::quota::{Limits, Quota};
use crate::domain::run::{ArtifactRecord, BlockRecord, BlockStatus, RunRecord, WorkflowRecord};
use crate::domain::session::{
    DesktopIdentity, Failure, ProcessIdentity, SessionRecord, SessionSpec, SessionStatus,
};
use crate::system::confine::Confinement;
use crate::system::desktop::{AdoptError, Desktop, Directories, Files, Launch, LaunchError, Order};
use crate::system::film::{self, Films};
use crate::system::python::Python;
use crate::workflow;
use crate::workflow::host::Devtools;

pub const ORGANIZATION: u64 = 7;

/// The behavior of the fakes. Each operation takes a second unless a test says otherwise.
#[derive(Debug, Clone)]
pub struct Outside {
    pub up: Duration,
    pub down: Duration,
    pub settings: Settings,
}

impl Default for Outside {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { up: second, down: second, settings: Settings::default() }
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
        let (journal, _trail) = Journal::new(clock, Mint::new(2), capacity);
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
            adopt: Mutex::default(),
            identity: Mutex::default(),
            unrevived: Arc::default(),
            sanitized: Arc::default(),
            rotation: Arc::default(),
            swept: Mutex::default(),
            egress: Mutex::new(Some(Arc::default())),
        });
        let world = Arc::new(World {
            node: NodeId::from(1),
            clock,
            mint: Mint::new(1),
            journal,
            events,
            views: Views::default(),
            secrets: Secrets::new([3; 32]),
            store: rows.clone(),
            launcher: desktops.clone(),
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
            artifacts: PathBuf::from("/nonexistent"),
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

/// A store in memory. Each write takes a millisecond, plus `slow`. `broken` makes it unavailable;
/// with `mute` it writes, but reports an error; `refuses` makes it refuse all writes.
#[derive(Debug, Default)]
pub struct Rows {
    pub sessions: Mutex<HashMap<SessionId, SessionRecord>>,
    pub runs: Mutex<HashMap<RunId, RunRecord>>,
    pub blocks: Mutex<Vec<BlockRecord>>,
    pub workflows: Mutex<Vec<WorkflowRecord>>,
    /// The lists of the organization.
    pub egress: Mutex<EgressLists>,
    pub broken: Mutex<bool>,
    pub refuses: Mutex<bool>,
    pub mute: Mutex<bool>,
    pub slow: Mutex<Duration>,
    pub writes: AtomicUsize,
}

impl Rows {
    pub fn session(&self, id: SessionId) -> SessionRecord {
        self.sessions.lock().get(&id).cloned().expect("the session is stored")
    }

    pub fn run(&self, id: RunId) -> RunRecord {
        self.runs.lock().get(&id).cloned().expect("the run is stored")
    }

    fn write<T: Send + 'static>(
        self: &Rows,
        outcome: impl FnOnce(&Rows) -> Result<T, StoreError>,
    ) -> Stored<T> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let outcome = if *self.broken.lock() {
            Err(StoreError::Unavailable(Outage::new("it is broken")))
        } else if *self.refuses.lock() {
            Err(StoreError::Rejected(Rejection::new(Reason::Data, "a NUL in a text")))
        } else {
            outcome(self)
        };
        let outcome = if *self.mute.lock() {
            Err(StoreError::Unavailable(Outage::new("it does not answer")))
        } else {
            outcome
        };
        let takes = Duration::from_millis(1) + *self.slow.lock();
        Box::pin(async move {
            sleep(takes).await;
            outcome
        })
    }

    fn change_session(
        &self,
        id: SessionId,
        change: impl FnOnce(&mut SessionRecord) -> Result<(), StoreError>,
    ) -> Stored {
        self.write(|rows| {
            let mut sessions = rows.sessions.lock();
            let record = sessions.get_mut(&id).ok_or(StoreError::Missing)?;
            if record.status.is_final() {
                return Err(StoreError::Final);
            }
            change(record)
        })
    }
}

/// The limit that is reached, if one is.
fn full(quota: Quota, limits: &Limits, there: usize) -> Option<Full> {
    let (limit, used) = (limits.get(quota)?, u64::try_from(there).unwrap());
    (used >= limit).then_some(Full { quota, limit, used, oldest: None })
}

impl Store for Rows {
    fn insert_session(&self, session: SessionRecord, limits: Limits) -> Stored<Option<Full>> {
        self.write(|rows| {
            let mut sessions = rows.sessions.lock();
            let own = sessions.values().filter(|it| it.organization == session.organization);
            let live = own.filter(|it| !it.status.is_final() && it.id != session.id).count();
            let full = full(Quota::Sessions, &limits, live);
            if full.is_none() {
                sessions.insert(session.id, session);
            }
            Ok(full)
        })
    }

    fn stored_bytes(&self, _: OrganizationId) -> Stored<u64> {
        Box::pin(async { Ok(0) })
    }

    fn session(
        &self,
        organization: OrganizationId,
        id: SessionId,
    ) -> Stored<Option<SessionRecord>> {
        self.write(|rows| {
            let row = rows.sessions.lock().get(&id).cloned();
            Ok(row.filter(|row| row.organization == organization))
        })
    }

    fn occupy(
        &self,
        id: SessionId,
        expected: Generation,
        next: Occupancy,
        idle: Option<DateTime<Utc>>,
    ) -> Stored {
        self.change_session(id, |record| {
            if record.occupancy.generation() != expected {
                return Err(StoreError::Conflict { stored: record.occupancy.clone() });
            }
            record.occupancy = next;
            record.deadlines.idle_expires_at = idle.or(record.deadlines.idle_expires_at);
            Ok(())
        })
    }

    fn start_session(&self, id: SessionId, started: Started) -> Stored {
        self.change_session(id, |record| {
            record.status = SessionStatus::Running;
            record.desktop = Some(started.desktop);
            record.started_at = Some(started.at);
            record.deadlines = started.deadlines;
            Ok(())
        })
    }

    fn retry_session(&self, id: SessionId) -> Stored {
        self.change_session(id, |record| {
            record.status = SessionStatus::Retry;
            Ok(())
        })
    }

    fn restart_session(&self, id: SessionId, desktop: DesktopIdentity) -> Stored {
        self.change_session(id, |record| {
            record.status = SessionStatus::Running;
            record.desktop = Some(desktop);
            Ok(())
        })
    }

    fn amend_session(&self, id: SessionId, echo: Value) -> Stored {
        self.change_session(id, |record| {
            record.spec.echo = echo;
            Ok(())
        })
    }

    fn set_sanitize_after(&self, id: SessionId, after: Option<Generation>) -> Stored {
        self.change_session(id, |record| {
            record.spec.sanitize_after = after;
            Ok(())
        })
    }

    fn set_sanitize_due(&self, id: SessionId, due: Option<Generation>) -> Stored {
        self.change_session(id, |record| {
            record.spec.sanitize_due = due;
            Ok(())
        })
    }

    fn rotate_session(&self, id: SessionId, next: Rotated) -> Stored {
        self.change_session(id, |record| {
            if record.occupancy.generation() != next.expected {
                return Err(StoreError::Conflict { stored: record.occupancy.clone() });
            }
            record.occupancy = next.occupancy;
            record.deadlines.idle_expires_at = next.idle.or(record.deadlines.idle_expires_at);
            record.spec.rotation = next.rotation;
            Ok(())
        })
    }

    fn change_settings(&self, id: SessionId, settings: BrowserSettings) -> Stored {
        self.change_session(id, |record| {
            record.spec.settings = settings;
            Ok(())
        })
    }

    fn change_egress(&self, id: SessionId, spec: SessionSpec) -> Stored {
        self.change_session(id, |record| {
            record.spec = spec;
            Ok(())
        })
    }

    fn organization_egress(&self, _: OrganizationId) -> Stored<EgressLists> {
        let lists = self.egress.lock().clone();
        Box::pin(async move { Ok(lists) })
    }

    fn extend_deadlines(&self, id: SessionId, deadlines: Deadlines) -> Stored {
        self.change_session(id, |record| {
            record.deadlines = record.deadlines.later(&deadlines);
            Ok(())
        })
    }

    fn end_session(&self, id: SessionId, ended: Ended) -> Stored {
        self.change_session(id, |record| {
            record.status = ended.status;
            record.failure = ended.failure;
            record.completed_at = Some(ended.at);
            record.occupancy = record.occupancy.after(Event::Close).expect("it may always close");
            Ok(())
        })
    }

    fn insert_run(&self, run: RunRecord, limits: Limits) -> Stored<Option<Full>> {
        self.write(|rows| {
            let mut runs = rows.runs.lock();
            let own = runs.values().filter(|it| it.organization == run.organization);
            let unfinished = own.filter(|it| !it.status.is_final() && it.id != run.id).count();
            let full = full(Quota::Runs, &limits, unfinished);
            if full.is_none() {
                runs.insert(run.id, run);
            }
            Ok(full)
        })
    }

    fn change_run(&self, id: RunId, change: RunChange) -> Stored {
        self.write(|rows| {
            let mut runs = rows.runs.lock();
            let record = runs.get_mut(&id).ok_or(StoreError::Missing)?;
            if record.status.is_final() {
                return Err(StoreError::Final);
            }
            record.status = change.status.unwrap_or(record.status);
            if record.status.is_final() {
                let mut blocks = rows.blocks.lock();
                let is_open =
                    |it: &&mut BlockRecord| it.run == id && it.status == BlockStatus::Running;
                for block in blocks.iter_mut().filter(is_open) {
                    block.status = BlockStatus::cut_off_by(record.status);
                    block.finished_at = change.finished_at;
                }
            }
            record.session = change.session.or(record.session);
            record.owns_session = change.owns_session.unwrap_or(record.owns_session);
            record.outputs = change.outputs.unwrap_or(Value::Null);
            record.failure = change.failure.or(record.failure.take());
            record.queued_at = change.queued_at.or(record.queued_at);
            record.started_at = change.started_at.or(record.started_at);
            record.finished_at = change.finished_at.or(record.finished_at);
            Ok(())
        })
    }

    fn insert_block(&self, block: BlockRecord) -> Stored {
        self.write(|rows| {
            rows.blocks.lock().push(block);
            Ok(())
        })
    }

    fn end_block(&self, block: BlockRecord) -> Stored {
        self.write(|rows| {
            let mut blocks = rows.blocks.lock();
            let stored = blocks.iter_mut().find(|stored| stored.id == block.id);
            *stored.ok_or(StoreError::Missing)? = block;
            Ok(())
        })
    }

    fn insert_artifact(&self, _: ArtifactRecord) -> Stored {
        self.write(|_| Ok(()))
    }

    fn workflow(
        &self,
        organization: OrganizationId,
        id: WorkflowPermanentId,
    ) -> Stored<Option<WorkflowRecord>> {
        self.write(|rows| {
            let workflows = rows.workflows.lock();
            let is_it =
                |it: &&WorkflowRecord| it.organization == organization && it.permanent_id == id;
            Ok(workflows.iter().find(is_it).cloned())
        })
    }

    fn retire_artifacts(
        &self,
        _: OrganizationId,
        _: String,
        _: u32,
        _: DateTime<Utc>,
    ) -> Stored<Vec<ArtifactRecord>> {
        self.write(|_| Ok(Vec::new()))
    }

    fn insert_audit(&self, _: Vec<AuditEvent>) -> Stored {
        self.write(|_| Ok(()))
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
    /// The error of the next adoption; `None` finds a running desktop.
    pub adopt: Mutex<Option<AdoptError>>,
    /// The identity of the desktop that an adoption finds.
    pub identity: Mutex<Option<DesktopIdentity>>,
    /// The number of upcoming recoveries that fail.
    pub unrevived: Arc<AtomicUsize>,
    /// The number of times that a desktop was sanitized.
    pub sanitized: Arc<AtomicUsize>,
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
        let alive = Arc::clone(&self.alive);
        let (up, down) = (self.up, self.down);
        let fail = self.fail.lock().take();
        let (kill, close) = (Arc::clone(&self.kill), Arc::clone(&self.close));
        let (unrevived, sanitized) = (Arc::clone(&self.unrevived), Arc::clone(&self.sanitized));
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
                sanitized,
                rotation,
                egress,
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
            sanitized: Arc::clone(&self.sanitized),
            rotation: Arc::clone(&self.rotation),
            egress: self.egress.lock().clone(),
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
    }
}
