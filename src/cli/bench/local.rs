//! The programs of a session, where they run on this machine and the command may see them.

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use crate::system::process::{Running, of_session};

/// A program of a session that is killed to measure its recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The browser; its tabs and cookies are restored.
    Chromium,
    /// The X server, with which the browser ends as well.
    Xvfb,
}

impl Part {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Xvfb => "xvfb",
        }
    }

    fn is_of(self, process: &Running) -> bool {
        let has = |start: &str| process.arguments.iter().any(|it| it.starts_with(start));
        // A script is not the first of the arguments.
        let runs = |name: &str| process.arguments.iter().take(6).any(|it| it.ends_with(name));
        process.leads
            && match self {
                Self::Chromium => has("--user-data-dir=") && !has("--type="),
                Self::Xvfb => runs("Xvfb") || runs("Xtigervnc"),
            }
    }

    /// Returns the program among the processes of a session.
    fn find(self, processes: &[Running]) -> Option<&Running> {
        processes.iter().find(|process| self.is_of(process))
    }
}

/// Returns the processes of a session on this machine; none where they cannot be seen.
pub(super) fn processes(session: &str) -> anyhow::Result<Vec<Running>> {
    Ok(of_session(session.parse().context("the server gave a session a strange id")?))
}

/// Returns the process of a session's browser.
pub(super) fn browser(session: &str) -> anyhow::Result<Option<i32>> {
    Ok(Part::Chromium.find(&processes(session)?).map(|process| process.pid))
}

/// Kills a program of a session with `SIGKILL`.
pub(super) fn kill(session: &str, part: Part) -> anyhow::Result<()> {
    let processes = processes(session)?;
    let found = part.find(&processes).and_then(|process| Pid::from_raw(process.pid));
    let Some(pid) = found else {
        let name = part.name();
        anyhow::bail!(
            "no {name} of session {session} is to be seen here; run this command on the machine of the server, as \
             root or as the user of the server"
        );
    };
    let pid_of_it = pid.as_raw_nonzero();
    kill_process(pid, Signal::KILL)
        .with_context(|| format!("process {pid_of_it} of session {session} cannot be killed"))
}

/// Returns the address of the browser's own DevTools, if the browser is to be seen here.
pub(super) fn devtools(session: &str) -> anyhow::Result<Option<String>> {
    let processes = processes(session)?;
    let Some(browser) = Part::Chromium.find(&processes) else { return Ok(None) };
    let mut arguments = browser.arguments.iter();
    let profile = arguments.find_map(|argument| argument.strip_prefix("--user-data-dir="));
    let profile = profile.context("the browser has no profile")?;
    let Ok(text) = std::fs::read_to_string(format!("{profile}/DevToolsActivePort")) else {
        return Ok(None);
    };
    let (port, path) = text.trim().split_once('\n').context("the browser's port is not known")?;
    ensure!(path.starts_with('/'), "the browser's port is not known");
    Ok(Some(format!("ws://127.0.0.1:{port}{path}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn process(leads: bool, line: &str) -> Running {
        let arguments = line.split(' ').map(str::to_owned).collect();
        Running { pid: 1, leads, used: Duration::ZERO, arguments }
    }

    #[test]
    fn a_browser_is_told_from_its_processes_and_an_x_server_by_its_name() {
        let renderer = "/usr/lib/chromium --type=renderer --user-data-dir=/s/profile";
        let processes = [
            process(true, "/usr/bin/python3 /usr/bin/other --user-data=x"),
            process(false, "/usr/lib/chromium --user-data-dir=/s/profile"),
            process(true, renderer),
            process(true, "/usr/bin/Xvfb :7 -screen 0"),
            process(true, "/usr/lib/chromium --no-first-run --user-data-dir=/s/profile"),
        ];
        let line = |part: Part| part.find(&processes).map(|found| found.arguments.join(" "));
        let expected = "/usr/lib/chromium --no-first-run --user-data-dir=/s/profile";
        assert_eq!(line(Part::Chromium).as_deref(), Some(expected));
        assert_eq!(line(Part::Xvfb).as_deref(), Some("/usr/bin/Xvfb :7 -screen 0"));
    }
}
