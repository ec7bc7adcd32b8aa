//! Supervision of a process group to its end, and search for processes that left it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_open, pidfd_send_signal,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::identity::{Stat, all, is_alive, is_marked, stat};
use super::{Exit, Inner, KILLED, LINGER};
use crate::domain::ids::SessionId;
use crate::domain::session::ProcessIdentity;
use crate::system::readiness::observed;

/// The polling interval while processes stop.
const STOPS: Duration = Duration::from_millis(2);

/// The most passes over a group to find processes that it starts meanwhile.
const ROUNDS: usize = 100;

/// Reports the exit of the leader, waits for or kills the rest of its group, and reaps.
pub(super) async fn watch(
    process: Arc<Inner>,
    pidfd: OwnedFd,
    exited: watch::Sender<Option<Exit>>,
) {
    let pidfd = wait(pidfd).await;
    exited.send_replace(Some(how(&pidfd)));

    let group = process.identity.pid;
    if !emptied(|| living(group), LINGER).await {
        process.signal(Signal::KILL);
        // If others have reaped the leader, another group may have its pid.
        let is_child = process.leader.is_some();
        let ours = |pid: &i32| is_child || is_marked(*pid, process.session);
        if !emptied(|| living(group).into_iter().filter(ours).collect(), KILLED).await {
            tracing::error!(pid = group, "the kernel does not end a process group");
        }
    }
    let Some(leader) = process.leader else {
        *process.reaped.lock() = true;
        process.gone.cancel();
        return;
    };
    {
        let mut reaped = process.reaped.lock();
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        // Orphans belong to this process if it is the reaper of its container.
        while let Ok(Some(_orphan)) = rustix::process::waitpgid(leader, WaitOptions::NOHANG) {}
        *reaped = true;
    }
    process.gone.cancel();
}

/// Resolves when the process of `pidfd` has ended, reaped or not.
pub(super) async fn wait(pidfd: OwnedFd) -> OwnedFd {
    match observed(pidfd) {
        Ok(pidfd) => {
            let _ = pidfd.readable().await;
            pidfd.into_inner()
        }
        Err(refused) => {
            let (pidfd, cause) = refused.into_parts();
            tracing::error!(error = %cause, "the end of a process cannot be awaited: polling instead");
            while !has_ended(&pidfd) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            pidfd
        }
    }
}

/// True if the process of `pidfd` has ended; it need not be our child.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

fn how_without_hang(pidfd: &OwnedFd) -> io::Result<Option<Exit>> {
    // Not reaped: its pid must stay reserved while its group is signalled.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)?;
    Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Exit::Status(status),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }))
}

fn how(pidfd: &OwnedFd) -> Exit {
    how_without_hang(pidfd).ok().flatten().unwrap_or(Exit::Unknown)
}

/// The pids of a group's living processes.
pub fn living(group: i32) -> Vec<i32> {
    let members = all().into_iter().filter(|(_, stat)| stat.group == group && stat.is_living());
    members.map(|(pid, _)| pid).collect()
}

/// Resolves with `true` when all living processes of a group are stopped, or with `false` after
/// `limit`. The kernel reports a stop only to the parent, so it is polled.
pub(super) async fn stopped(group: i32, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let mut members = all().into_iter().filter(|(_, stat)| stat.group == group);
        if members.all(|(_, stat)| stat.is_stopped() || !stat.is_living()) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(STOPS).await;
    }
}

/// Signals the group of a leader that is not our child, one member at a time. As long as the leader
/// lives, all members are signalled; afterwards, those that carry the marker of `session`.
pub(super) fn signal_each(leader: &ProcessIdentity, session: SessionId, signal: Signal) {
    let leads = is_alive(leader);
    for pid in living(leader.pid) {
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = pidfd
            && stat(pid).is_some_and(|stat| stat.group == leader.pid)
            && ((leads && is_alive(leader)) || is_marked(pid, session))
        {
            let _ = pidfd_send_signal(pidfd, signal); // The process has ended since.
        }
    }
}

/// Resolves with `true` when `members` returns none, or with `false` after `limit`.
pub(super) async fn emptied(members: impl Fn() -> Vec<i32>, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    for _ in 0..ROUNDS {
        let members = members();
        if members.is_empty() {
            return true;
        }
        let open = |pid: &i32| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok();
        let members = members.iter().filter_map(open).map(wait);
        if timeout_at(end, join_all(members)).await.is_err() {
            return false;
        }
    }
    members().is_empty()
}

/// Kills the marked processes that are `meant`. Returns their pids, and a text for each that could
/// not be ended.
pub(super) async fn sweep(
    session: SessionId,
    meant: impl Fn(i32, Stat) -> bool,
) -> (Vec<i32>, Vec<String>) {
    let marked = || -> Vec<i32> {
        let is_meant = |(pid, stat): &(i32, Stat)| stat.is_living() && meant(*pid, *stat);
        let living = all().into_iter().filter(is_meant);
        let of_session = living.filter(|(pid, _)| is_marked(*pid, session));
        // Again, because a new process has its marker and all that distinguishes it at the same moment.
        of_session.filter(is_meant).map(|(pid, _)| pid).collect()
    };
    let found = marked();
    for pid in found.iter().copied() {
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // Checked again after the descriptor is open, because no other process can take over the
        // descriptor.
        if let Some(pidfd) = pidfd
            && is_marked(pid, session)
            && stat(pid).is_some_and(|stat| meant(pid, stat))
        {
            tracing::warn!(pid, "a process is in an unknown group; it is killed");
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
    if emptied(marked, KILLED).await {
        return (found, Vec::new());
    }
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let left = marked()
        .into_iter()
        .filter(|pid| stat(*pid).is_some())
        .map(|pid| format!("process {pid} ({}) does not end", name(pid).trim()))
        .collect();
    (found, left)
}
