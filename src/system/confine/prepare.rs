//! The steps that need no privilege: control group, session and limits.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::status::{ConfineError, Step, failed};

/// Moves the process into a control group, so that every child is inside it. A refusal is only a
/// warning: without its group a program has no limits, but works.
pub(super) fn join(group: &Path) -> Option<String> {
    // 0 stands for the writing process, whatever its pid is in other namespaces.
    let joined = OpenOptions::new().write(true).open(group.join("cgroup.procs"));
    let joined = joined.and_then(|mut file| file.write_all(b"0"));
    let cause = joined.err()?;
    Some(format!("the control group {} was not joined: {cause}", group.display()))
}

/// Makes the process the leader of a new session and process group. It then has no terminal into
/// which input could be injected.
pub(super) fn lead_session() -> Result<(), ConfineError> {
    let failed =
        || failed::<Errno>(Step::Session, "the program has no session (setsid) of its own");
    match rustix::process::setsid() {
        Ok(_session) => return Ok(()),
        // The process leads a process group already, because the server or a shell made it do so.
        Err(Errno::PERM) => (),
        Err(cause) => return Err(failed()(cause)),
    }
    let parent = rustix::process::getppid();
    let group = parent.and_then(|parent| rustix::process::getpgid(Some(parent)).ok());
    rustix::process::setpgid(None, group).map_err(failed())?;
    rustix::process::setsid().map(drop).map_err(failed())
}

/// Keeps the process and its descendants from gaining privileges through setuid programs.
pub(super) fn no_new_privileges() -> Result<(), ConfineError> {
    rustix::thread::set_no_new_privs(true)
        .map_err(failed(Step::Privileges, "no_new_privs cannot be set"))
}

/// Forbids core dumps, which contain page content and typed text, and lowers the limit of open files.
pub(super) fn limit(open_files: Option<u64>) -> Result<(), ConfineError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)
        .map_err(failed(Step::Limits, "the size of core dumps"))?;
    let Some(most) = open_files else { return Ok(()) };
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let most = maximum.map_or(most, |maximum| most.min(maximum));
    let lower = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::setrlimit(Resource::Nofile, lower)
        .map_err(failed(Step::Limits, "the number of open files"))
}
