//! The only module that starts programs and signals them.
//!
//! ```text
//! spawn --> living --its leader ends--> lingering --its group is empty--> gone (reaped)
//! ```
//!
//! # Invariants
//!
//! 1. A program leads its own process group, has no standard input and no inherited environment,
//!    and writes to files. It is marked with `GREENROOM_SESSION`.
//! 2. The leader of a started program is reaped last, when no process of its group is alive. Until
//!    then its pid cannot be reused, so a signal to the group reaches no other process. An adopted
//!    program is reaped by others: its processes are signalled one at a time through descriptors, and
//!    each is checked again after its descriptor is open.
//! 3. Dropping a [`Process`] ends nothing: programs outlive the server on purpose.

mod family;
mod group;
mod identity;
mod log;
mod program;
mod sockets;

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use family::{Member, descendants};
pub use group::living as group_of;
pub use identity::{
    Marked, Running, boot_id, is_alive, is_ending, is_ours, living_among, marked, may_have_made,
    of as identity_of, of_session, processor_time, resident_memory, started_at, stat_of,
};
pub use log::{GROUP, STARTED, USER, cut, started, tail, user_in};
pub use program::{find, output, output_with, start_owned};
pub use sockets::listened_to;

use crate::domain::ids::SessionId;
use crate::domain::session::ProcessIdentity;
use crate::system::confine::{self, Confined};
use crate::system::executable;
use crate::system::limits::Group;

/// The environment variable that marks the processes of a session.
pub const MARKER: &str = "GREENROOM_SESSION";

/// The environment variable of helpers that work beside a desktop, such as the encoder of its
/// films. They are not part of the desktop, and not strays of it either.
pub const BESIDE: &str = "GREENROOM_BESIDE";

/// The longest time for the rest of a group to end after its leader.
const LINGER: Duration = Duration::from_secs(2);

/// The longest time for the kernel to end killed processes.
const KILLED: Duration = Duration::from_secs(10);

/// A program to start, with its environment and files.
#[derive(Debug, Clone)]
pub struct Program {
    /// The path of the program's file.
    pub path: PathBuf,
    /// The arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// The complete environment, without the marker.
    pub environment: Vec<(OsString, OsString)>,
    /// The session that owns the program.
    pub session: SessionId,
    /// The directory of the session's logs. The file [`GROUP`] in it names the control group of the
    /// program. The file [`USER`] contains the user of confined programs, and the file [`STARTED`]
    /// records the start.
    pub records: PathBuf,
    /// The file for standard error, and also for standard output without `output`.
    pub log: PathBuf,
    /// The file for standard output, if it is separate.
    pub output: Option<PathBuf>,
    /// The most files that it may have open.
    pub open_files: Option<u32>,
    /// The confinement of the program; none if programs are not confined.
    pub confined: Option<Confined>,
}

/// The reasons for which a program did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program does not exist.
    #[error("the program {} is missing", .program.display())]
    Missing {
        /// The path of the missing program.
        program: PathBuf,
    },
    /// The program exists, but could not be started.
    #[error("{} could not be started", .program.display())]
    Failed {
        /// The path of the program.
        program: PathBuf,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
}

/// The exit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The process exited with this status.
    Status(i32),
    /// The process was ended by this signal.
    Signal(i32),
    /// Another process has received the status.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::Unknown => f.write_str("unknown exit"),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// A program that was started here, or by a previous server. Clones share the process.
#[derive(Debug, Clone)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: ProcessIdentity,
    session: SessionId,
    /// The pid of our child; none if it was adopted.
    leader: Option<Pid>,
    log: PathBuf,
    exit: watch::Receiver<Option<Exit>>,
    gone: CancellationToken,
    /// Held while a signal is sent and while the leader is reaped: see invariant 2.
    reaped: Mutex<bool>,
    /// True while a guard stops the group.
    paused: AtomicBool,
}

impl Process {
    /// Starts a program and watches its end on `runtime`. A missing or broken program is an error
    /// here, even if a shell or launcher starts it, which could report that only by its exit.
    pub fn spawn(program: &Program, runtime: &Handle) -> Result<Self, SpawnError> {
        let failed = |cause: io::Error| SpawnError::Failed { program: program.path.clone(), cause };
        if !program.path.exists() {
            return Err(SpawnError::Missing { program: program.path.clone() });
        }
        executable::check(&program.path).map_err(|broken| failed(broken.cause.into()))?;
        let stderr = append(&program.log).map_err(failed)?;
        let stdout = match &program.output {
            Some(path) => append(path),
            None => stderr.try_clone(),
        };
        let (mut command, specification) = command(program).map_err(failed)?;
        command.stdout(stdout.map_err(failed)?).stderr(stderr);
        let child = command.spawn().map_err(failed)?;

        // From here on a failure ends the child instead of losing it.
        let mut child = Unwatched(Some(child));
        let watched = child.watched().map_err(failed)?;
        if let (Some(specification), Some(child)) = (specification, &mut child.0) {
            confine::send(child.stdin.take(), &specification).map_err(failed)?;
        }
        if let Err(cause) = log::note(&program.records, &watched.identity) {
            let program = program.path.display();
            tracing::warn!(error = %cause, "the start of {program} is not on record");
        }
        let (exited, exit) = watch::channel(None);
        let process = Self(Arc::new(Inner {
            identity: watched.identity,
            session: program.session,
            leader: Some(watched.leader),
            log: program.log.clone(),
            exit,
            gone: CancellationToken::new(),
            reaped: Mutex::new(false),
            paused: AtomicBool::new(false),
        }));
        child.0 = None;
        runtime.spawn(group::watch(Arc::clone(&process.0), watched.pidfd, exited));
        Ok(process)
    }

    /// Adopts a program that a previous server started for `session`, and watches its end on
    /// `runtime`. If it has ended meanwhile, or another process has its pid, it counts as exited
    /// and is never signalled. Its exit status is unknown, because it is not our child.
    pub fn adopt(
        identity: ProcessIdentity,
        session: SessionId,
        log: PathBuf,
        runtime: &Handle,
    ) -> Self {
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = Pid::from_raw(identity.pid)
            .and_then(|pid| rustix::process::pidfd_open(pid, flags).ok())
            // Checked after the descriptor is open, because no other process can take over the descriptor.
            .filter(|_pidfd| is_ours(&identity, session));
        let (exited, exit) = watch::channel(None);
        let process = Self(Arc::new(Inner {
            identity,
            session,
            leader: None,
            log,
            exit,
            gone: CancellationToken::new(),
            reaped: Mutex::new(pidfd.is_none()),
            paused: AtomicBool::new(false),
        }));
        match pidfd {
            Some(pidfd) => drop(runtime.spawn(group::watch(Arc::clone(&process.0), pidfd, exited))),
            None => {
                exited.send_replace(Some(Exit::Unknown));
                process.0.gone.cancel();
            }
        }
        process
    }

    /// Stops all processes of its group by `SIGSTOP`. They go on when the guard is dropped. Resolves
    /// with none if they have not all stopped after `limit`, or if the group is stopped so already.
    pub async fn pause(&self, limit: Duration) -> Option<Paused> {
        if self.has_exited() || self.0.paused.swap(true, Ordering::SeqCst) {
            return None;
        }
        let paused = Paused(Arc::clone(&self.0));
        self.0.signal(Signal::STOP);
        group::stopped(self.0.identity.pid, limit).await.then_some(paused)
    }

    /// Lets its group go on after a `SIGSTOP`.
    pub fn resume(&self) {
        self.0.signal(Signal::CONT);
    }

    /// True while a [`Paused`] stops its processes.
    pub fn is_paused(&self) -> bool {
        self.0.paused.load(Ordering::SeqCst)
    }

    /// True if a signal such as `SIGSTOP` has stopped it.
    pub fn is_stopped(&self) -> bool {
        identity::is_stopped(&self.0.identity)
    }

    /// The identity of the leader.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.0.identity
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> Vec<String> {
        tail(&self.0.log)
    }

    /// True if its leader has ended.
    pub fn has_exited(&self) -> bool {
        self.0.exit.borrow().is_some()
    }

    /// Resolves with the exit of its leader.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.0.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.map(|exit| *exit);
        match ended {
            Ok(exit) => exit.unwrap_or(Exit::Unknown),
            // The watching runtime is gone, so the exit is unknown. The process may still be alive.
            Err(_unwatched) => std::future::pending().await,
        }
    }

    /// Resolves with `true` when no process of its group is left, or with `false` after `limit`.
    pub async fn gone_within(&self, limit: Duration) -> bool {
        timeout(limit, self.0.gone.cancelled()).await.is_ok()
    }

    /// Ends it with `SIGTERM` to its group, and `SIGKILL` after `grace`. Resolves with `true` when
    /// no process of the group is left, or with `false` if even the kernel could not end it.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.0.signal(Signal::TERM);
        self.gone_within(grace).await || self.kill().await
    }

    /// Sends `SIGWINCH` to its group, which processes ignore unless they handle it.
    pub fn notify(&self) {
        self.0.signal(Signal::WINCH);
    }

    /// Sends `SIGKILL` to its group without waiting.
    pub fn kill_now(&self) {
        self.0.signal(Signal::KILL);
    }

    /// Ends it with `SIGKILL` to its group. Resolves as [`stop`](Self::stop) does.
    pub async fn kill(&self) -> bool {
        self.0.signal(Signal::KILL);
        self.gone_within(KILLED).await
    }
}

/// A guard of a process group that stands still.
#[derive(Debug)]
pub struct Paused(Arc<Inner>);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
        self.0.paused.store(false, Ordering::SeqCst);
    }
}

impl Inner {
    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock();
        if *reaped {
            return;
        }
        match self.leader {
            // This fails if no process is left, or if a launcher is moving to its own group. In
            // both cases the signal may go to the leader alone.
            Some(leader) => {
                if rustix::process::kill_process_group(leader, signal).is_err() {
                    let _ = rustix::process::kill_process(leader, signal);
                }
            }
            None => group::signal_each(&self.identity, self.session, signal),
        }
    }
}

/// Kills all processes that carry the marker of `session`, in any group, and resolves when they
/// have ended. Returns a line for each that could not be ended.
pub async fn sweep(session: SessionId) -> Vec<String> {
    group::sweep(session, |_pid, _stat| true).await.1
}

/// Kills the process group leaders that carry the marker of `session`, except `spared` and those
/// that work [beside](BESIDE) the desktop; their descendants follow. Returns their pids, and a line
/// for each that could not be ended.
pub async fn sweep_leaders(session: SessionId, spared: &[i32]) -> (Vec<i32>, Vec<String>) {
    // A browser's crash handlers are in separate groups, which they do not lead.
    let leads = |pid: i32, stat: identity::Stat| stat.group == pid && !spared.contains(&pid);
    group::sweep(session, |pid, stat| leads(pid, stat) && !identity::is_beside(pid)).await
}

/// Resolves with `true` when a process, started by any program, has ended, or with `false` after `limit`.
pub async fn ended_within(identity: &ProcessIdentity, limit: Duration) -> bool {
    group::emptied(|| is_alive(identity).then_some(identity.pid).into_iter().collect(), limit).await
}

/// The directory of a log. It is also that of the session's [records](Program::records) if the log
/// is among the others.
pub fn beside(log: &Path) -> PathBuf {
    log.parent().unwrap_or(Path::new("/")).to_owned()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The script by which a shell prepares a start. It joins a control group, so that every child is
/// inside it, and lowers the limit of open files. A refusal is printed to the log.
const BEFORE: &str = r#"
[ "$1" = /dev ] || echo "$$" >> "$1/cgroup.procs"
[ -z "$2" ] || ulimit -n "$2"
shift 2
exec "$@""#;

/// The command that starts a program, and the specification for its launcher, if it has one.
#[expect(clippy::disallowed_methods, reason = "this is the module that starts programs")]
fn command(program: &Program) -> io::Result<(std::process::Command, Option<Vec<u8>>)> {
    let group = Group::named_in(&program.records.join(GROUP));
    if let Some(confined) = &program.confined {
        let (mut command, specification) = confined.command(
            program,
            group.as_ref().map(Group::path),
            user_in(&program.records),
        )?;
        command.current_dir("/").process_group(0);
        return Ok((command, Some(specification)));
    }
    let mut command = match (&group, program.open_files) {
        (None, None) => std::process::Command::new(&program.path),
        // Both must be set between `fork` and `exec`, where only unsafe code can run.
        (group, limit) => {
            let mut shell = std::process::Command::new("/bin/sh");
            shell.args(["-c", BEFORE, "sh"]);
            shell.arg(group.as_ref().map_or(Path::new("/dev"), Group::path));
            shell.arg(limit.map_or_else(String::new, |limit| limit.to_string()));
            shell.arg(&program.path);
            shell
        }
    };
    command
        .args(&program.arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .env(MARKER, program.session.to_string())
        .stdin(Stdio::null())
        .current_dir("/")
        .process_group(0);
    Ok((command, None))
}

struct Watched {
    identity: ProcessIdentity,
    leader: Pid,
    pidfd: std::os::fd::OwnedFd,
}

/// A child that is not watched yet. Dropping it ends the child.
struct Unwatched(Option<std::process::Child>);

impl Unwatched {
    fn watched(&self) -> io::Result<Watched> {
        let child = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let number = i32::try_from(child.id()).map_err(io::Error::other)?;
        let leader = Pid::from_raw(number).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = rustix::process::pidfd_open(leader, rustix::process::PidfdFlags::empty())?;
        Ok(Watched { identity: identity::of(number)?, leader, pidfd })
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests;
