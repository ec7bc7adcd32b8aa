//! The control group of one session: its limits, what it uses, its end. See the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{MIB, Settings};
use crate::system::readiness::changes_until;

/// How long processes that were killed may stay in a group.
const EMPTIED: Duration = Duration::from_secs(5);

/// The length of a period of `cpu.max`, in microseconds.
const PERIOD: u64 = 100_000;

/// A control group, there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    path: PathBuf,
}

/// What a session uses. What the machine does not count is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Now, its files in memory included.
    pub memory_bytes: Option<u64>,
    /// The most that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// Of one processor, since it began.
    pub cpu_seconds: Option<f64>,
    /// Threads and processes.
    pub tasks: Option<u64>,
    /// How often the kernel has ended one of its processes for want of memory.
    pub out_of_memory_kills: Option<u64>,
}

impl Group {
    /// The group of this directory.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The group that `file` names, if it names one that is there.
    pub fn named_in(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let path = PathBuf::from(text.trim_end_matches('\n'));
        (path.is_absolute() && path.is_dir()).then_some(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, with these limits; where it is there already it is given them.
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
        // Swapped out, a browser would be within its limit and of no use.
        self.set("memory.swap.max", if settings.session_memory_mib == 0 { "max" } else { "0" })?;
        self.set("cpu.max", &format!("{cpu} {PERIOD}"))?;
        self.set("pids.max", &limit(settings.session_tasks, 1))
    }

    /// Sets a limit where the machine has that controller.
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

    /// What it uses now: a few short reads of files that are none.
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

    /// How often the kernel has ended one of its processes for want of memory.
    pub fn out_of_memory_kills(&self) -> Option<u64> {
        field(&self.read("memory.events")?, "oom_kill")
    }

    /// Resolves when that has happened more than `before` times, with how often; never where the
    /// machine does not tell.
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

    /// Ends whatever is in it, and removes it. Resolves with what stands in the way. It may be
    /// repeated.
    pub async fn remove(&self) -> Option<String> {
        if !self.path.exists() {
            return None;
        }
        if !self.is_empty() {
            tracing::warn!("{} is not empty; what is in it is killed", self.path.display());
            if let Err(cause) = fs::write(self.path.join("cgroup.kill"), "1") {
                tracing::warn!(error = %cause, "{} cannot be killed", self.path.display());
            }
        }
        let end = Instant::now() + EMPTIED;
        loop {
            match fs::remove_dir(&self.path) {
                Ok(()) => return None,
                Err(cause) if cause.kind() == ErrorKind::NotFound => return None,
                // A process that has just ended is in it until it is reaped.
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(10)).await,
                Err(cause) => {
                    return Some(format!("{} is not removed: {cause}", self.path.display()));
                }
            }
        }
    }
}

/// A line `name value`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
