//! The programs of a session as the kernel sees them: whether they run, the resources that they
//! use, and the ends of their logs.
//!
//! A stopped program has no event of its own, and the watchdog of a desktop examines it only while the
//! desktop is used. This module is for a person who asks why nothing happens. It reads `/proc` and
//! files, and therefore blocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::domain::masking::masked_url;
use crate::domain::session::ProcessIdentity;
use crate::system::proc::{self, Stat};
use crate::system::process;

/// The most processes of a session that are examined, the latest first.
const MOST: usize = 200;

/// The longest line of a log that is shown, in characters.
const LONGEST_LINE: usize = 500;

/// A program that a session is known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownProgram {
    /// The name of the program, which is also that of its log: `chromium`, `xvfb`, `x11vnc`, `egress`.
    pub name: &'static str,
    /// The process of the program.
    pub process: ProcessIdentity,
}

/// The state of a process, see `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    Running,
    Sleeping,
    /// The process waits for a disk or another device, and no signal reaches it.
    Blocked,
    /// A signal such as `SIGSTOP` has stopped the process.
    Stopped,
    /// A debugger has stopped the process.
    Traced,
    /// The process has ended, and its parent has not noticed yet.
    Zombie,
    /// There is no such process any more.
    Gone,
    /// A state that only newer kernels have.
    Other(char),
}

impl ProcessState {
    fn of(letter: char) -> Self {
        match letter {
            'R' => Self::Running,
            'S' | 'I' => Self::Sleeping,
            'D' => Self::Blocked,
            'T' => Self::Stopped,
            't' => Self::Traced,
            'Z' => Self::Zombie,
            'X' | 'x' => Self::Gone,
            other => Self::Other(other),
        }
    }

    /// Returns the letter of the state, as `ps` shows it.
    pub const fn letter(self) -> char {
        match self {
            Self::Running => 'R',
            Self::Sleeping => 'S',
            Self::Blocked => 'D',
            Self::Stopped => 'T',
            Self::Traced => 't',
            Self::Zombie => 'Z',
            Self::Gone => 'X',
            Self::Other(letter) => letter,
        }
    }

    /// True if the process does nothing until something else intervenes.
    pub const fn is_stuck(self) -> bool {
        match self {
            Self::Stopped | Self::Traced | Self::Zombie | Self::Gone => true,
            Self::Running | Self::Sleeping | Self::Blocked | Self::Other(_) => false,
        }
    }
}

/// One program of a session, or a process below it that is stuck.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramReport {
    /// The name of the program: that of [`KnownProgram`], or the kernel's name of the process.
    pub name: String,
    /// The role of a process below a browser, such as `renderer`; none for the program itself.
    pub role: Option<String>,
    pub pid: i32,
    pub state: ProcessState,
    /// The time since a stuck process last ran; none if the kernel does not report it.
    pub stuck_for: Option<Duration>,
    /// The processor time that it and the processes below it have used.
    pub cpu: Duration,
    /// The resident memory of it and of the processes below it. Memory that they share counts for each.
    pub memory_bytes: u64,
    /// The number of processes: itself and those below it.
    pub processes: usize,
    /// The time at which it started.
    pub started_at: Option<SystemTime>,
    /// The last lines of its log, with masked addresses.
    pub log: Vec<String>,
}

/// Examines the programs of one session: those that are `known`, and those that live among the
/// processes that the file `started` names. `log` is the path of a program's log, if its end is wanted.
pub fn examine(
    known: &[KnownProgram],
    started: &Path,
    log: impl Fn(&str) -> Option<PathBuf>,
) -> Vec<ProgramReport> {
    let tail = |name: &str| log(name).map(|path| process::tail(&path)).unwrap_or_default();
    let mut reports = Vec::new();
    for KnownProgram { name, process } in known {
        reports.extend(report((*name).to_owned(), process, tail(name)));
    }
    let named: Vec<i32> = known.iter().map(|known| known.process.pid).collect();
    for other in process::started(started).iter().rev().take(MOST) {
        if named.contains(&other.pid) || !exists(other) {
            continue;
        }
        // The kernel's name is that of the program's file, at most 15 bytes.
        let name = fs::read_to_string(format!("/proc/{}/comm", other.pid)).unwrap_or_default();
        let name = name.trim().to_lowercase();
        // A process chooses its name itself, which may lead to another file.
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let tail = if is_plain { tail(&name) } else { Vec::new() };
        reports.extend(report(name, other, tail));
    }
    reports
}

/// The report about a program, followed by those about processes below it that are stuck.
fn report(name: String, identity: &ProcessIdentity, log: Vec<String>) -> Vec<ProgramReport> {
    let log = log.iter().map(|line| shown(line)).collect();
    let stat = process::stat_of(identity);
    let mut whole = one(name.clone(), None, identity, stat);
    whole.log = log;
    let mut reports = Vec::new();
    if stat.is_some() {
        for member in process::descendants(identity.pid).into_iter().take(MOST) {
            let Some(stat) = process::stat_of(member.identity()) else { continue };
            let below = one(name.clone(), Some(member.role.clone()), member.identity(), Some(stat));
            whole.cpu += below.cpu;
            whole.memory_bytes = whole.memory_bytes.saturating_add(below.memory_bytes);
            whole.processes += 1;
            // A zombie below a program is reaped by that program, in its own time.
            if matches!(below.state, ProcessState::Stopped | ProcessState::Traced) {
                reports.push(below);
            }
        }
    }
    reports.insert(0, whole);
    reports
}

fn one(
    name: String,
    role: Option<String>,
    identity: &ProcessIdentity,
    stat: Option<Stat>,
) -> ProgramReport {
    let pid = identity.pid;
    let state = stat.map_or(ProcessState::Gone, |stat| ProcessState::of(stat.state));
    let status = stat.and_then(|_exists| fs::read_to_string(format!("/proc/{pid}/status")).ok());
    ProgramReport {
        name,
        role,
        pid,
        state,
        stuck_for: if state.is_stuck() { unmoved_for(pid) } else { None },
        cpu: stat.map(Stat::processor_time).unwrap_or_default(),
        memory_bytes: status.as_deref().and_then(proc::resident_memory).unwrap_or_default(),
        processes: 1,
        started_at: process::started_at(identity.start_time),
        log: Vec::new(),
    }
}

fn exists(identity: &ProcessIdentity) -> bool {
    process::stat_of(identity).is_some()
}

/// The time since a process last had a processor. The kernel counts it on a clock of its own, which is
/// read from the thread that runs now.
fn unmoved_for(pid: i32) -> Option<Duration> {
    let last = |path: &str| proc::last_ran(&fs::read_to_string(path).ok()?);
    let then = last(&format!("/proc/{pid}/sched"))?;
    Some(last("/proc/thread-self/sched")?.saturating_sub(then))
}

/// A line of a log for readers: without secrets in addresses, without characters that control a
/// terminal, and cut if it is long.
fn shown(line: &str) -> String {
    let masked = line.split(' ').map(|word| {
        let quotes = |c: char| matches!(c, '"' | '\'' | '(' | ')' | '<' | '>' | ',' | ';');
        let address = word.trim_matches(quotes);
        if address.contains("://") {
            word.replacen(address, &masked_url(address), 1)
        } else {
            word.to_owned()
        }
    });
    let text = masked.collect::<Vec<_>>().join(" ");
    let visible = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    visible.take(LONGEST_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_log_has_no_secret_and_controls_no_terminal() {
        let line = "\u{1b}[31mGET \"https://ann:hunter2@a.example/?token=s3cret\", again";
        let shown = shown(line);
        assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
        assert!(!shown.contains('\u{1b}') && shown.ends_with(", again"), "{shown}");
        assert_eq!(super::shown(&"a".repeat(9_999)).len(), LONGEST_LINE);
    }

    #[test]
    fn this_process_is_examined_and_a_former_one_is_gone() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = process::identity_of(pid).unwrap();
        let former = ProcessIdentity { start_time: own.start_time + 1, ..own.clone() };
        let known = [
            KnownProgram { name: "chromium", process: own },
            KnownProgram { name: "xvfb", process: former },
        ];
        let nowhere = |_: &str| Some(PathBuf::from("/nonexistent"));
        let reports = examine(&known, Path::new("/nonexistent"), nowhere);
        let [chromium, .., xvfb] = reports.as_slice() else { panic!("{reports:?}") };
        assert!(!chromium.state.is_stuck() && chromium.memory_bytes > 0, "{chromium:?}");
        assert_eq!((xvfb.state, xvfb.memory_bytes), (ProcessState::Gone, 0));
    }
}
