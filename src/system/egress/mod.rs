//! The egress program of a desktop, from the server's side: its start, supervision and restart.
//!
//! ```text
//! none --up--> running --ends or hangs--> (waits) --up, into the same network--> running
//!                 |
//!                end, detach
//! ```
//!
//! The program (`crate::egress`) holds the session's network and forwards the traffic that its
//! policy permits. It outlives the server. When it dies, the browser is without a network until the
//! restart. The new process has the same address and, if a program of the session is still in the
//! namespace, the same namespace.

mod following;
mod joined;
mod policy;
mod program;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::confine::spec::Network;
use super::process::Process;
use super::settings::Settings as SystemSettings;
use crate::domain::egress::{EgressAsked, EgressIdentity, NetworkLevel};
use crate::domain::ids::SessionId;
use crate::domain::sealing::{Vault, is_sealed};
use crate::domain::session::{Failure, ProcessIdentity};
use crate::egress::files::{self, CONTROL, Key};
use crate::egress::launch::Ready;
use crate::system::seam::{Egress, EgressError, EgressOutcome, EgressStatus};

pub use joined::Joined;
pub use program::{available, level};
pub use settings::{Mode, Settings};

pub(in crate::system) use following::{EgressCallbacks, Follower};

/// The longest wait for an answer of the program. A check may take as long as a connection.
const ANSWERS: std::time::Duration = std::time::Duration::from_secs(45);

/// The session and the files of an egress program.
#[derive(Debug, Clone)]
pub struct EgressContext {
    /// The session that owns the program.
    pub session: SessionId,
    /// The directory that the server and the program share.
    pub directory: PathBuf,
    /// The path of the log file.
    pub log: PathBuf,
    /// The network separation of a newly started program.
    pub level: NetworkLevel,
}

/// The egress program of one desktop. Clones share it.
#[derive(Debug, Clone)]
pub struct Way(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: EgressContext,
    settings: Arc<SystemSettings>,
    runtime: Handle,
    asked: Mutex<EgressAsked>,
    running: Mutex<Option<Running>>,
    /// A process in the network's namespace, by which a new program finds the namespace.
    resident: Mutex<Option<ProcessIdentity>>,
    /// Held during a start.
    starting: tokio::sync::Mutex<()>,
    /// Held while a policy is applied.
    applying: tokio::sync::Mutex<()>,
    status: watch::Sender<Option<EgressStatus>>,
}

/// A program that runs, or ran last.
#[derive(Debug, Clone)]
struct Running {
    process: Process,
    identity: EgressIdentity,
    network: Option<Network>,
    /// True if it can unseal policies, unlike the program of an older server.
    opens: bool,
}

impl Way {
    /// A program that does not run yet.
    pub fn new(
        place: EgressContext,
        asked: EgressAsked,
        settings: Arc<SystemSettings>,
        runtime: Handle,
    ) -> Self {
        Self(Arc::new(Inner {
            place,
            settings,
            runtime,
            asked: Mutex::new(asked),
            running: Mutex::new(None),
            resident: Mutex::new(None),
            starting: tokio::sync::Mutex::default(),
            applying: tokio::sync::Mutex::default(),
            status: watch::Sender::new(None),
        }))
    }

    /// Adopts the program that a previous server left; `resident` lives in its network.
    pub fn adopt(&self, identity: EgressIdentity, resident: ProcessIdentity) {
        let EgressContext { session, log, .. } = &self.0.place;
        let process =
            Process::adopt(identity.process.clone(), *session, log.clone(), &self.0.runtime);
        let ready = std::fs::read(identity.directory.join(files::READY)).ok();
        let ready = ready.and_then(|text| serde_json::from_slice::<Ready>(&text).ok());
        let opens = ready.as_ref().is_some_and(|ready| ready.opens);
        let network = ready.and_then(|ready| program::network(&ready));
        *self.0.running.lock() = Some(Running { process, identity, network, opens });
        *self.0.resident.lock() = Some(resident);
    }

    /// Records a process that lives in the network.
    pub fn set_resident(&self, process: &ProcessIdentity) {
        *self.0.resident.lock() = Some(process.clone());
    }

    /// Resolves with the running program, which is started if necessary.
    pub async fn up(&self) -> Result<EgressIdentity, Failure> {
        let _one_at_a_time = self.0.starting.lock().await;
        let running = self.0.running.lock().clone();
        if let Some(Running { process, identity, .. }) = &running
            && !process.has_exited()
        {
            return Ok(identity.clone());
        }
        if let Some(former) = running {
            former.process.kill().await;
        }
        let asked = self.0.asked.lock().clone();
        if asked.upstream.as_ref().is_some_and(|url| is_sealed(url.as_str())) {
            let cause = policy::SEALED_ELSEWHERE.to_owned();
            return Err(super::failure::failure(program::STAGE.name, "proxy_sealed", cause));
        }
        self.write_policy(&asked, true)?;
        let resident = self.0.resident.lock().clone();
        let started = |process: &Process| self.note(process);
        let running = program::start(&self.0, resident, started).await?;
        let identity = running.identity.clone();
        *self.0.running.lock() = Some(running);
        Ok(identity)
    }

    /// Records a program that is not ready yet, so that it is ended with the others.
    fn note(&self, process: &Process) {
        let Inner { place, running, .. } = &*self.0;
        let identity = EgressIdentity {
            process: process.identity().clone(),
            level: place.level,
            directory: place.directory.clone(),
            proxy: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        *running.lock() =
            Some(Running { process: process.clone(), identity, network: None, opens: true });
    }

    /// The namespace that programs of the session join; none at the level `proxied`.
    pub fn network(&self) -> Option<Network> {
        self.0.running.lock().as_ref()?.network.clone()
    }

    /// Ends the program. Resolves with a line if it does not end.
    pub async fn end(&self) -> Option<String> {
        let process = self.0.running.lock().as_ref().map(|running| running.process.clone())?;
        let ended = process.stop(self.0.settings.stop_grace()).await;
        (!ended).then(|| format!("process {} (egress) does not end", process.identity().pid))
    }

    /// Kills the program without waiting.
    pub fn kill_now(&self) {
        if let Some(running) = &*self.0.running.lock() {
            running.process.kill_now();
        }
    }

    /// The pid of the program.
    pub fn number(&self) -> Option<i32> {
        Some(self.0.running.lock().as_ref()?.process.identity().pid)
    }

    /// True if the running program can unseal policies.
    fn opens(&self) -> bool {
        self.0.running.lock().as_ref().is_none_or(|running| running.opens)
    }

    fn write_policy(&self, asked: &EgressAsked, sealed: bool) -> Result<(), Failure> {
        let directory = &self.0.place.directory;
        let wrong = |cause: io::Error| super::failure::directory(directory, &cause);
        let mut text = policy::document(&self.0.settings.network, asked);
        if let Some(vault) = self.0.settings.vault.filter(|_vault| sealed) {
            let vault = Vault::new(program::secret(&vault, &self.0.place));
            policy::seal(&vault, &mut text).map_err(|cause| wrong(io::Error::other(cause)))?;
        }
        let text = text.to_string();
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(directory).map_err(wrong)?;
        Key::make(directory).map_err(wrong)?;
        files::replace(&directory.join(files::POLICY), text.as_bytes()).map_err(wrong)
    }

    /// Writes the server's own address, to which the gateway of `code` blocks leads.
    pub fn name_server(directory: &Path, address: SocketAddr) -> io::Result<()> {
        files::replace(&directory.join(files::SERVER), address.to_string().as_bytes())
    }

    async fn put_in_force(&self, asked: EgressAsked) -> Result<(), EgressError> {
        policy::check(&self.0.settings.network, &asked).map_err(EgressError::Invalid)?;
        let _in_order = self.0.applying.lock().await;
        let former = self.0.asked.lock().clone();
        let written = |failure: Failure| EgressError::Unanswered(failure.message);
        self.write_policy(&asked, self.opens()).map_err(written)?;
        *self.0.asked.lock() = asked;
        match self.command("reload").await {
            Ok(_state) => Ok(()),
            Err(cause) => {
                // Only an acknowledged policy stays in force.
                *self.0.asked.lock() = former.clone();
                self.write_policy(&former, self.opens()).map_err(written)?;
                Err(EgressError::Unanswered(cause.to_string()))
            }
        }
    }

    async fn try_out(
        &self,
        url: String,
        asked: Option<EgressAsked>,
    ) -> Result<EgressOutcome, EgressError> {
        let settings = &self.0.settings.network;
        if let Some(asked) = &asked {
            policy::check(settings, asked).map_err(EgressError::Invalid)?;
        }
        let policy = asked.map(|asked| policy::document(settings, &asked));
        let request = serde_json::json!({ "url": url, "policy": policy });
        let answer = self.command(&format!("check {request}")).await;
        let answer = answer.map_err(|cause| EgressError::Unanswered(cause.to_string()))?;
        serde_json::from_str(&answer).map_err(|cause| EgressError::Unanswered(cause.to_string()))
    }

    async fn command(&self, command: &str) -> io::Result<String> {
        let answered = tokio::time::timeout(ANSWERS, self.ask(command));
        answered.await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask(&self, command: &str) -> io::Result<String> {
        let mut lines = self.connected(command).await?;
        let mut line = String::new();
        if lines.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    /// Sends a command; the answer can be read from the result.
    async fn connected(&self, command: &str) -> io::Result<BufReader<tokio::net::UnixStream>> {
        let directory = &self.0.place.directory;
        let key = Key::read(directory)?;
        let mut socket = files::socket(directory, CONTROL).await?;
        socket.write_all(format!("{} {command}\n", key.text()).as_bytes()).await?;
        Ok(BufReader::new(socket))
    }
}

impl Egress for Way {
    fn apply(&self, asked: EgressAsked) -> BoxFuture<'static, Result<(), EgressError>> {
        let way = self.clone();
        Box::pin(async move { way.put_in_force(asked).await })
    }

    fn check(
        &self,
        url: String,
        asked: Option<EgressAsked>,
    ) -> BoxFuture<'static, Result<EgressOutcome, EgressError>> {
        let way = self.clone();
        Box::pin(async move { way.try_out(url, asked).await })
    }

    fn status(&self) -> watch::Receiver<Option<EgressStatus>> {
        self.0.status.subscribe()
    }
}
