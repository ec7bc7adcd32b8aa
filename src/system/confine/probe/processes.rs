//! Tests of processes: access to those of others, and privileges that this one may gain.

use std::fs;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};

use rustix::fs::Uid;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit};

use super::files::found;
use super::{Targets, Try};

/// The number of pids that are tested, from 1 on.
const NUMBERS: i32 = 200_000;

pub(super) fn run(targets: &Targets) -> Vec<Try> {
    let mut tries = Vec::new();
    if let Some(server) = targets.server {
        for file in ["environ", "cmdline", "maps"] {
            let read = read(&format!("/proc/{server}/{file}"));
            tries.push(Try::new(format!("server's {file}"), read));
        }
        for folder in ["fd", "root", "cwd", "map_files"] {
            let opened = through(&format!("/proc/{server}/{folder}"));
            tries.push(Try::new(format!("server's {folder}"), opened));
        }
        tries.push(Try::new("server's memory (ptrace)", open_memory(server)));
        tries.push(Try::new("server's oom_score_adj", write_back(server)));
        if let Some(pid) = Pid::from_raw(server) {
            tries.push(Try::new("signal the server", signal(pid)));
            tries.push(Try::new("prlimit of the server", limit(pid)));
            tries.push(Try::new("descriptor of the server", steal(pid)));
        }
    }
    tries.push(Try::new("signal all processes (kill -1)", anybody()));
    let core = rustix::process::getrlimit(Resource::Core).maximum;
    tries.push(Try::new("core dumps", found(core != Some(0), &format!("{core:?}"))));
    let sets = rustix::thread::capabilities(None);
    let has = sets.is_ok_and(|sets| !sets.effective.is_empty() || !sets.permitted.is_empty());
    tries.push(Try::new("capabilities", found(has, &format!("{sets:?}"))));
    let gained = rustix::thread::no_new_privs().map(|is_set| !is_set).unwrap_or(true);
    tries.push(Try::new("new privileges", found(gained, "no_new_privs is not set")));
    tries.push(Try::new("become root", become_root()));
    let uid = rustix::process::getuid().as_raw();
    tries.push(Try::new("is root", found(uid == 0, "uid 0")));
    tries
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(64).read_to_end(&mut bytes)?;
    Ok(format!("{} bytes", bytes.len()))
}

/// Resolves a directory's entries, and links among them: a mere list of numbers is harmless.
fn through(folder: &str) -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for entry in fs::read_dir(folder)? {
        match entry.and_then(|entry| entry.path().metadata()) {
            Ok(_) => return Ok("an entry is reached".to_owned()),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// Opens the file that a debugger needs for attaching.
fn open_memory(pid: i32) -> io::Result<String> {
    let path = format!("/proc/{pid}/mem");
    OpenOptions::new().read(true).write(true).open(path).map(|_| "opened".to_owned())
}

/// Writes the value that the file has already: a higher one would make the server the first to be killed.
fn write_back(pid: i32) -> io::Result<String> {
    let path = format!("/proc/{pid}/oom_score_adj");
    let value = fs::read_to_string(&path)?;
    OpenOptions::new().write(true).open(&path)?.write_all(value.trim().as_bytes())?;
    Ok("written".to_owned())
}

fn signal(pid: Pid) -> io::Result<String> {
    rustix::process::test_kill_process(pid)?;
    Ok("permitted".to_owned())
}

/// Disables core dumps of the process, which is harmless.
fn limit(pid: Pid) -> io::Result<String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::prlimit(Some(pid), Resource::Core, none)?;
    Ok("set".to_owned())
}

fn steal(pid: Pid) -> io::Result<String> {
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    rustix::process::pidfd_getfd(&process, 0, PidfdGetfdFlags::empty())?;
    Ok("duplicated".to_owned())
}

/// The processes that a signal to all processes would reach.
fn anybody() -> io::Result<String> {
    let own = rustix::process::getpid();
    let all = (1..NUMBERS).filter_map(Pid::from_raw).filter(|pid| *pid != own);
    let reached: Vec<String> = all
        .filter(|pid| rustix::process::test_kill_process(*pid).is_ok())
        .map(|pid| pid.as_raw_nonzero().to_string())
        .collect();
    let first: Vec<&str> = reached.iter().take(5).map(String::as_str).collect();
    found(!reached.is_empty(), &format!("{} processes: {} …", reached.len(), first.join(" ")))
}

fn become_root() -> io::Result<String> {
    if rustix::process::getuid().is_root() {
        return Ok("it is root".to_owned());
    }
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    Ok("it is root now".to_owned())
}
