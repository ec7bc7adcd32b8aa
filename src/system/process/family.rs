//! The processes below one of ours: a browser's renderers, its zygotes, its network process.

use std::fs;
use std::os::fd::AsFd as _;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Process;
use super::group;
use super::identity::{self, is_alive, stat};
use crate::domain::session::ProcessIdentity;
use crate::system::proc;

/// How deep a family is looked through: a browser's zygote has renderers, which have nobody.
const DEPTH: usize = 4;

/// One of the processes below a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    identity: ProcessIdentity,
    /// What a browser calls it, such as `renderer` or `network.mojom.NetworkService`; empty if it has
    /// no such name.
    pub role: String,
}

impl Member {
    fn of(pid: i32) -> Option<Self> {
        Some(Self { identity: identity::of(pid).ok()?, role: role(pid) })
    }

    /// Which process it is.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Whether that very process lives.
    pub fn is_alive(&self) -> bool {
        is_alive(&self.identity)
    }

    /// Resolves when it has ended.
    pub async fn ended(&self) {
        let flags = PidfdFlags::empty();
        let pidfd = Pid::from_raw(self.identity.pid).and_then(|pid| pidfd_open(pid, flags).ok());
        // Looked at with the descriptor in hand, which no other process can take over.
        if let Some(pidfd) = pidfd.filter(|_pidfd| self.is_alive()) {
            group::wait(pidfd).await;
        }
    }
}

impl Process {
    /// Those below it. Costs one small file for each of its threads and two for each that is found.
    pub fn members(&self) -> Vec<Member> {
        let mut members = Vec::new();
        let mut generation = vec![self.identity().pid];
        for _ in 0..DEPTH {
            generation = generation.into_iter().flat_map(children).collect();
            members.extend(generation.iter().filter_map(|pid| Member::of(*pid)));
        }
        members
    }

    /// Those that it has started itself.
    pub fn children(&self) -> Vec<Member> {
        children(self.identity().pid).into_iter().filter_map(Member::of).collect()
    }

    /// Those below it that were stopped by a signal such as `SIGSTOP`.
    pub fn stopped_members(&self) -> Vec<Member> {
        let members = self.members().into_iter();
        members.filter(|member| identity::is_stopped(&member.identity)).collect()
    }

    /// Ends one of those below it, and no other process that has its number by now.
    pub fn kill_member(&self, member: &Member) {
        let pid = member.identity.pid;
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // Looked at with the descriptor in hand, which no other process can take over.
        if let Some(pidfd) = pidfd
            && is_alive(&member.identity)
            && stat(pid).is_some_and(|stat| stat.group == self.identity().pid)
        {
            let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL); // It has ended in between.
        }
    }
}

/// The children that each thread of a process has, see `proc_pid_task(5)`.
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
