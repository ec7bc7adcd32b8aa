//! A server with stand-ins for desktops, which the command starts for itself and ends.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::cli::client::Client;
use crate::domain::secret::Secret;
use crate::system::process::{processor_time, resident_memory, start_owned};

/// The longest time for a start or a stop.
const DEADLINE: Duration = Duration::from_secs(300);

/// The time that the kernel has to end a killed process, in seconds.
const KILLED: i64 = 10;

/// A running server with a data directory of its own. Both are gone when this is dropped.
#[derive(Debug)]
pub(super) struct OwnServer {
    running: Option<Running>,
    directory: PathBuf,
    key: Secret,
    operator_key: Secret,
    most_sessions: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    base: String,
    /// Kept open: a server whose output nobody can read fails to write it.
    output: Lines<BufReader<ChildStdout>>,
}

impl OwnServer {
    /// Prepares a server for this many sessions in a new directory.
    pub(super) fn new(most_sessions: u64) -> anyhow::Result<Self> {
        let secret = || Secret::from(format!("bench-{:032x}", rand::random::<u128>()));
        let name = format!("greenroom-bench-{:016x}", rand::random::<u64>());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("{} cannot be created", directory.display()))?;
        let (key, operator_key) = (secret(), secret());
        Ok(Self { running: None, directory, key, operator_key, most_sessions })
    }

    /// Starts it, and returns the time until it listens.
    pub(super) async fn start(&mut self) -> anyhow::Result<Duration> {
        let program =
            std::env::current_exe().context("the program of this command is not known")?;
        let log = self.directory.join("server.log");
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        let began = Instant::now();
        let mut child = self.spawn(&program, output)?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let lines = BufReader::new(stdout).lines();
        // From here on, it is ended with this.
        let running = self.running.insert(Running { child, base: String::new(), output: lines });
        let base = timeout(DEADLINE, listening(&mut running.output, &log)).await;
        running.base = base.context("the server does not start")??;
        Ok(began.elapsed())
    }

    fn spawn(&self, program: &Path, log: File) -> anyhow::Result<Child> {
        let data = self.directory.join("data");
        let programs = self.directory.join("programs");
        let most = (self.most_sessions + 10).to_string();
        let mut environment: Vec<(&str, &OsStr)> = vec![
            ("HOME", self.directory.as_os_str()),
            ("TMPDIR", self.directory.as_os_str()),
            ("GREENROOM_DATA", data.as_os_str()),
            ("GREENROOM_ISOLATION__PROGRAMS", programs.as_os_str()),
            ("GREENROOM_SESSIONS__MAX_SESSIONS", most.as_ref()),
        ];
        let fixed = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("GREENROOM_LISTEN", "127.0.0.1:0"),
            ("GREENROOM_LOG", "warn"),
            ("GREENROOM_BOOTSTRAP_KEY", self.key.expose()),
            ("GREENROOM_OPERATOR_KEY", self.operator_key.expose()),
            // There are no programs to limit, to isolate and to film.
            ("GREENROOM_LIMITS__ENABLED", "false"),
            ("GREENROOM_ISOLATION__FILES", "off"),
            ("GREENROOM_ISOLATION__NETWORK", "off"),
            ("GREENROOM_RECORDING__BLACK_BOX", "false"),
            ("GREENROOM_STOP__GRACE_SECONDS", "0"),
        ];
        environment.extend(fixed.map(|(name, value)| (name, OsStr::new(value))));
        let arguments = ["serve", "--stand-ins", "--keep-sessions"].map(OsStr::new);
        start_owned(program, &arguments, &environment, log).context("the server cannot be started")
    }

    fn running(&self) -> anyhow::Result<&Running> {
        self.running.as_ref().context("the server does not run")
    }

    /// Returns a client with the key of its organization.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Client::of_own_server(self.running()?.base.clone(), self.key.clone())
    }

    /// Returns a client with the key of its operator.
    pub(super) fn operator(&self) -> anyhow::Result<Client> {
        Client::of_own_server(self.running()?.base.clone(), self.operator_key.clone())
    }

    /// Returns its resident memory, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let pid = self.running()?.child.id().context("the server has ended")?;
        resident_memory(pid).context("the memory of the server is not known")
    }

    /// Returns the processor time that it has used since its start.
    pub(super) fn used(&self) -> anyhow::Result<Duration> {
        let pid = self.running()?.child.id().context("the server has ended")?;
        processor_time(pid).context("the processor time of the server is not known")
    }

    /// Stops it. Its sessions stay for the next start.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if let Some(pid) = pid(&running.child) {
            kill_process(pid, Signal::TERM)?;
        }
        let ended = timeout(DEADLINE, running.child.wait()).await;
        let status = ended.context("the server does not stop")??;
        self.running = None;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

/// Reads the output of a server until it has printed its address.
async fn listening(
    lines: &mut Lines<BufReader<ChildStdout>>,
    log: &Path,
) -> anyhow::Result<String> {
    while let Some(line) = lines.next_line().await? {
        if let Some(base) = line.strip_prefix("listening on ") {
            return Ok(base.to_owned());
        }
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    bail!("the server ended: {}", last.join("; "))
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let descriptor =
                pid(&running.child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // It may have ended by itself.
            let _gone = running.child.start_kill();
            if let Some(descriptor) = descriptor {
                let deadline = Timespec { tv_sec: KILLED, tv_nsec: 0 };
                let _late = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&deadline));
            }
        }
        if let Err(cause) = fs::remove_dir_all(&self.directory) {
            tracing::warn!("{} is not removed: {cause}", self.directory.display());
        }
    }
}
