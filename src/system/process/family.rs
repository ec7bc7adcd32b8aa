//! The descendants of a program: a browser's renderers, its zygotes, its network process.

use std::fs;
use std::os::fd::AsFd as _;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Process;
use super::group;
use super::identity::{self, is_alive, stat};
use crate::domain::session::ProcessIdentity;
use crate::system::proc;

/// The depth to which descendants are listed: a browser's zygote has renderers, which have no children.
const DEPTH: usize = 4;

/// A descendant of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    identity: ProcessIdentity,
    /// The role in a browser, such as `renderer` or `network.mojom.NetworkService`; empty if it has none.
    pub role: String,
}

impl Member {
    fn of(pid: i32) -> Option<Self> {
        Some(Self { identity: identity::of(pid).ok()?, role: role(pid) })
    }

    /// The identity of the process.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// True if this very process is alive.
    pub fn is_alive(&self) -> bool {
        is_alive(&self.identity)
    }

    /// Resolves when the process has ended.
    pub async fn ended(&self) {
        let flags = PidfdFlags::empty();
        let pidfd = Pid::from_raw(self.identity.pid).and_then(|pid| pidfd_open(pid, flags).ok());
        // Checked after the descriptor is open, because no other process can take over the descriptor.
        if let Some(pidfd) = pidfd.filter(|_pidfd| self.is_alive()) {
            group::wait(pidfd).await;
        }
    }
}

impl Process {
    /// The descendants. Costs one small file for each thread and two for each descendant.
    pub fn members(&self) -> Vec<Member> {
        descendants(self.identity().pid)
    }

    /// The direct children of the process.
    pub fn children(&self) -> Vec<Member> {
        children(self.identity().pid).into_iter().filter_map(Member::of).collect()
    }

    /// The descendants that a signal such as `SIGSTOP` has stopped.
    pub fn stopped_members(&self) -> Vec<Member> {
        let members = self.members().into_iter();
        members.filter(|member| identity::is_stopped(&member.identity)).collect()
    }

    /// Kills a descendant, and never another process that has reused its pid.
    pub fn kill_member(&self, member: &Member) {
        let pid = member.identity.pid;
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // Checked after the descriptor is open, because no other process can take over the descriptor.
        if let Some(pidfd) = pidfd
            && is_alive(&member.identity)
            && stat(pid).is_some_and(|stat| stat.group == self.identity().pid)
        {
            let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL); // The process has ended since.
        }
    }
}

/// The descendants of a process, those of the first generation first.
pub fn descendants(pid: i32) -> Vec<Member> {
    let mut members = Vec::new();
    let mut generation = vec![pid];
    for _ in 0..DEPTH {
        generation = generation.into_iter().flat_map(children).collect();
        members.extend(generation.iter().filter_map(|pid| Member::of(*pid)));
    }
    members
}

/// The children of each thread of a process, see `proc_pid_task(5)`.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    lists
        .iter()
        .flat_map(|list| list.split_ascii_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn role(pid: i32) -> String {
    proc::role(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
}
