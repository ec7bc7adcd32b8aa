//! The control group of one session: its limits, its usage and its removal. See the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{MIB, Settings};
use crate::system::readiness::changes_until;

/// The longest time for killed processes to leave a group.
const EMPTIED: Duration = Duration::from_secs(5);

/// The length of a period of `cpu.max`, in microseconds.
const PERIOD: u64 = 100_000;

/// A control group, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    path: PathBuf,
}

/// The resources that a session uses; none for those that the machine does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// The memory in use, including its cached files.
    pub memory_bytes: Option<u64>,
    /// The most memory that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// The processor time since it began, in seconds of one processor.
    pub cpu_seconds: Option<f64>,
    /// The number of threads and processes.
    pub tasks: Option<u64>,
    /// The number of out-of-memory kills of its processes by the kernel.
    pub out_of_memory_kills: Option<u64>,
}

impl Group {
    /// The group with this directory.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The group whose path is in `file`, if it exists.
    pub fn named_in(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let path = PathBuf::from(text.trim_end_matches('\n'));
        (path.is_absolute() && path.is_dir()).then_some(Self { path })
    }

    /// The directory of the group.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the group with these limits, or applies them if it exists already.
    pub(super) fn make(&self, settings: &Settings) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(cause),
            Ok(()) | Err(_) => {}
        }
        let limit = |most: u64, unit: u64| match most {
            0 => "max".to_owned(),
            most => most.saturating_mul(unit).to_string(),
        };
        let cpu = match settings.session_cpu_percent {
            0 => "max".to_owned(),
            percent => (percent.saturating_mul(PERIOD) / 100).to_string(),
        };
        self.set("memory.max", &limit(settings.session_memory_mib, MIB))?;
        // A swapped-out browser would be within its limit but unusable.
        self.set("memory.swap.max", if settings.session_memory_mib == 0 { "max" } else { "0" })?;
        self.set("cpu.max", &format!("{cpu} {PERIOD}"))?;
        self.set("pids.max", &limit(settings.session_tasks, 1))
    }

    /// Sets a limit if the machine has that controller.
    fn set(&self, name: &str, value: &str) -> io::Result<()> {
        let file = self.path.join(name);
        if file.exists() { fs::write(file, value) } else { Ok(()) }
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name)).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.trim().parse().ok()
    }

    /// The current usage: a few short reads of virtual files.
    pub fn usage(&self) -> Usage {
        let used = self.read("cpu.stat").and_then(|text| field(&text, "usage_usec"));
        Usage {
            memory_bytes: self.number("memory.current"),
            memory_limit_bytes: self.number("memory.max"),
            cpu_seconds: used.map(|microseconds| Duration::from_micros(microseconds).as_secs_f64()),
            tasks: self.number("pids.current"),
            out_of_memory_kills: self.out_of_memory_kills(),
        }
    }

    /// The number of its processes that the kernel has killed for lack of memory.
    pub fn out_of_memory_kills(&self) -> Option<u64> {
        field(&self.read("memory.events")?, "oom_kill")
    }

    /// Resolves when that number exceeds `before`, with the number. Never resolves if the machine
    /// does not report it.
    pub async fn more_out_of_memory_kills(&self, before: u64) -> u64 {
        let file = self.path.join("memory.events");
        let more = |text: &str| field(text, "oom_kill").filter(|count| *count > before);
        match changes_until(&file, more).await {
            Some(count) => count,
            None => std::future::pending().await,
        }
    }

    fn is_empty(&self) -> bool {
        self.read("cgroup.procs").is_none_or(|text| text.trim().is_empty())
    }

    /// Kills the processes in the group, and removes it. Resolves with the obstacle if it stays.
    /// Idempotent.
    pub async fn remove(&self) -> Option<String> {
        if !self.path.exists() {
            return None;
        }
        if !self.is_empty() {
            tracing::warn!("{} is not empty; its processes are killed", self.path.display());
            if let Err(cause) = fs::write(self.path.join("cgroup.kill"), "1") {
                tracing::warn!(error = %cause, "{} cannot be killed", self.path.display());
            }
        }
        let end = Instant::now() + EMPTIED;
        loop {
            match fs::remove_dir(&self.path) {
                Ok(()) => return None,
                Err(cause) if cause.kind() == ErrorKind::NotFound => return None,
                // A process that has just ended is in the group until it is reaped.
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(10)).await,
                Err(cause) => {
                    return Some(format!("{} is not removed: {cause}", self.path.display()));
                }
            }
        }
    }
}

/// The value of a line `name value`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
