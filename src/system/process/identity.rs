//! The identity of processes, from `/proc`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{BESIDE, MARKER};
use crate::domain::ids::SessionId;
use crate::domain::session::ProcessIdentity;
pub(super) use crate::system::proc::Stat;
use crate::system::proc::{self, entry_below, is_wiped, kibibytes, variable};

/// The ticks per second in `/proc` (`USER_HZ`), which is the same on every architecture of Chromium.
const TICKS_PER_SECOND: u64 = 100;

impl Stat {
    /// The processor time in user and in kernel mode.
    pub(in crate::system) fn processor_time(self) -> Duration {
        let milliseconds = self.used.saturating_mul(1000) / u128::from(TICKS_PER_SECOND);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }
}

pub(super) fn stat(pid: i32) -> Option<Stat> {
    // A program sets its own name, in arbitrary bytes.
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Stat::parse(&String::from_utf8_lossy(&text))
}

/// The state of this very process, if it exists; a zombie still does.
pub fn stat_of(identity: &ProcessIdentity) -> Option<Stat> {
    let is_of_this_boot = boot_id().is_ok_and(|boot| boot == identity.boot_id);
    stat(identity.pid).filter(|stat| is_of_this_boot && stat.start_time == identity.start_time)
}

/// Every process that `/proc` lists, including zombies.
pub(super) fn all() -> Vec<(i32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

/// The id that distinguishes this boot of the machine from any other.
pub fn boot_id() -> io::Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(ID.get_or_init(|| text.trim().to_owned()))
}

pub fn of(pid: i32) -> io::Result<ProcessIdentity> {
    let stat = stat(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(ProcessIdentity { pid, start_time: stat.start_time, boot_id: boot_id()?.to_owned() })
}

/// True if this very process is alive, and not another one with its pid.
pub fn is_alive(identity: &ProcessIdentity) -> bool {
    boot_id().is_ok_and(|boot| boot == identity.boot_id)
        && stat(identity.pid)
            .is_some_and(|stat| stat.is_living() && stat.start_time == identity.start_time)
}

/// True if this very process has ended or begun to end: a killed process closes its sockets a moment before
/// its end is reported, and a program that was connected to it may be seen to end first.
pub fn is_ending(identity: &ProcessIdentity) -> bool {
    !is_alive(identity) || stat(identity.pid).is_none_or(Stat::is_ending)
}

/// True if this very process was stopped by a signal.
pub(super) fn is_stopped(identity: &ProcessIdentity) -> bool {
    is_alive(identity) && stat(identity.pid).is_some_and(Stat::is_stopped)
}

/// True if this very process is alive and carries the marker of `session`.
pub fn is_ours(identity: &ProcessIdentity, session: SessionId) -> bool {
    is_alive(identity) && is_marked(identity.pid, session)
}

/// True if a process carries the marker of `session` in its environment. Chromium erases its environment to
/// make room for a title; then the directory `<session>` must be in the path of an argument.
pub(super) fn is_marked(pid: i32, session: SessionId) -> bool {
    is_marked_with(pid, &session.to_string())
}

fn is_marked_with(pid: i32, session: &str) -> bool {
    let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let environment = read("environ");
    if variable(&environment, MARKER) == Some(session.as_bytes()) {
        return true;
    }
    is_wiped(&environment) && entry_below(&read("cmdline"), &format!("/{session}/")).is_some()
}

/// True if a process works beside a desktop, see [`BESIDE`], or may do so: while a process executes another
/// program, as a confined one does at its start, its environment is empty.
pub(super) fn is_beside(pid: i32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.is_empty() || variable(&environment, BESIDE).is_some()
}

/// The sessions of `sessions` that have a living process.
pub fn living_among(sessions: &[SessionId]) -> Vec<SessionId> {
    let names: Vec<_> = sessions.iter().map(|session| (*session, session.to_string())).collect();
    let living: Vec<i32> =
        all().into_iter().filter(|(_, stat)| stat.is_living()).map(|(pid, _)| pid).collect();
    let found = names
        .into_iter()
        .filter(|(_, session)| living.iter().any(|pid| is_marked_with(*pid, session)));
    found.map(|(session, _name)| session).collect()
}

/// A living process that carries the marker of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The session of the marker.
    pub session: SessionId,
    /// The identity of the process.
    pub identity: ProcessIdentity,
    /// The name of its program, as a text for people.
    pub name: String,
}

/// Every process that carries the marker of any session. The marker is in its environment or, if
/// that is erased, the path of a session's directory below one of `roots` is in its arguments.
pub fn marked(roots: &[PathBuf]) -> Vec<Marked> {
    let Ok(boot) = boot_id() else { return Vec::new() };
    let folders: Vec<_> = roots.iter().map(|root| format!("{}/", root.display())).collect();
    let session_of = |pid: i32| -> Option<SessionId> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        if let Some(value) = variable(&environment, MARKER) {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
        if !is_wiped(&environment) {
            return None;
        }
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        folders.iter().find_map(|folder| entry_below(&arguments, folder)?.parse().ok())
    };
    let living = all().into_iter().filter(|(_, stat)| stat.is_living());
    living
        .filter_map(|(pid, stat)| {
            let session = session_of(pid)?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let start_time = stat.start_time;
            let identity = ProcessIdentity { pid, start_time, boot_id: boot.to_owned() };
            Some(Marked { session, identity, name: name.trim().to_owned() })
        })
        .collect()
}

/// Every living process that carries the marker of `session`, with its arguments.
pub fn of_session(session: SessionId) -> Vec<Running> {
    let name = session.to_string();
    let living = all().into_iter().filter(|(_, stat)| stat.is_living());
    let marked = living.filter(|(pid, _)| is_marked_with(*pid, &name));
    marked
        .map(|(pid, stat)| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments);
            // A child of Chromium writes its arguments as one string, separated by spaces.
            let arguments = arguments.split(['\0', ' ']).map(str::to_owned).collect();
            Running { pid, leads: stat.group == pid, used: stat.processor_time(), arguments }
        })
        .collect()
}

/// A living process of a session.
#[derive(Debug, Clone)]
pub struct Running {
    pub pid: i32,
    /// True if it leads its process group, as a started program does.
    pub leads: bool,
    /// The processor time that it has used.
    pub used: Duration,
    /// The name of the program, and the arguments.
    pub arguments: Vec<String>,
}

impl Running {
    /// The memory of the process in bytes, in which memory shared by `n` processes counts as its `n`th part (PSS, see
    /// `proc_pid_smaps(5)`). `None` if the kernel does not show it to this user.
    pub fn memory(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        kibibytes(&text, "Pss")
    }
}

/// The resident memory of a process in bytes (RSS).
pub fn resident_memory(pid: u32) -> Option<u64> {
    proc::resident_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The processor time that a process has used.
pub fn processor_time(pid: u32) -> Option<Duration> {
    stat(i32::try_from(pid).ok()?).map(Stat::processor_time)
}

/// The time at which a process started, given as `ticks` after the boot, by the machine's current clock.
pub fn started_at(ticks: u64) -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let booted = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let seconds = ticks.checked_div(TICKS_PER_SECOND)?;
    Some(UNIX_EPOCH + Duration::from_secs(booted) + Duration::from_secs(seconds))
}

/// True if the process that has this pid now, if any, may have made a file at `made`, because it
/// had started by then.
pub fn may_have_made(pid: i32, made: SystemTime) -> bool {
    /// The tolerance: both times are rounded, and a file has the time of the last tick.
    const ROUNDED: Duration = Duration::from_secs(2);
    let Some(stat) = stat(pid).filter(|stat| stat.is_living()) else { return false };
    started_at(stat.start_time).is_none_or(|started| started <= made + ROUNDED)
}
