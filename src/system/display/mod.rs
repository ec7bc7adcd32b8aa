//! The X display of a session: Xvfb or Xtigervnc, its cookie, its lock and its socket.
//!
//! The X server itself picks the number atomically and reports it. The cookie is written before the
//! start. It is valid for every address and number, because the number is not known yet.

mod cookie;
mod files;

use std::fs;
use std::io;
use std::path::Path;

use tokio::runtime::Handle;

pub(super) use cookie::{COOKIE_NAME, client};
pub use cookie::{Cookie, authority, cookie_of};
use files::is_heard;
pub(super) use files::{LOCKS, SOCKETS, holder};
pub use files::{lock, make_sockets, remove_dead_socket, remove_remains, served_by, socket};

use super::confine::spec::{Landlock, ProgramKind};
use super::failure::{LaunchStage, failure};
use super::process::{Process, Program, beside, find};
use super::readiness::file_says;
use super::settings::Settings;
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, Size};

const XVFB: LaunchStage = LaunchStage { name: "xvfb", package: "xvfb" };
const TIGERVNC: LaunchStage =
    LaunchStage { name: "tigervnc", package: "tigervnc-standalone-server" };

/// The failure code of an X server with VNC whose port is in use.
pub(in crate::system) const PORT_BUSY: &str = "vnc_port_busy";

/// The stage of an X server; `is_vnc` is true if it is a VNC server as well.
pub(in crate::system) fn stage(is_vnc: bool) -> LaunchStage {
    if is_vnc { TIGERVNC } else { XVFB }
}

/// The arguments by which an X server serves VNC: on loopback, with a password, to many clients at once.
const SERVES_VNC: &[&str] = &[
    "-depth",
    "24",
    "-localhost",
    "-UseIPv6=0",
    "-SecurityTypes",
    "VncAuth",
    // A mere port probe would otherwise blacklist all clients of this machine.
    "-UseBlacklist=0",
    "-AlwaysShared",
    "-DisconnectClients=0",
    // The browser's window fills the display, whose size is fixed by the session.
    "-AcceptSetDesktopSize=0",
    // The longest text that the bridge forwards.
    "-MaxCutText=1048576",
    // The PRIMARY selection, which is only marked text, is not sent.
    "-SendPrimary=0",
];

/// The parameters for the start of an X server.
#[derive(Debug)]
pub struct Start<'a> {
    /// The session that owns the display.
    pub session: SessionId,
    /// The size of the screen.
    pub size: Size,
    /// The number that the display must have; any free number if none.
    pub only: Option<u16>,
    /// The file with the cookie.
    pub authority: &'a Path,
    /// The file to which the number is written.
    pub number: &'a Path,
    /// The path of the log file.
    pub log: &'a Path,
    /// The VNC parameters; none for a server without VNC.
    pub vnc: Option<Rfb<'a>>,
}

/// The parameters of an X server that is a VNC server as well.
#[derive(Debug, Clone, Copy)]
pub struct Rfb<'a> {
    /// The port on the loopback address.
    pub port: u16,
    /// The file with the password, in the format of `vnc::password_file`.
    pub password_file: &'a Path,
}

/// Starts an X server. `started` gets each process before it is awaited, so that the caller can end
/// it when this future is dropped or fails.
pub async fn start(
    Start { session, size, only, authority, number, log, vnc }: Start<'_>,
    settings: &Settings,
    runtime: &Handle,
    started: impl Fn(&Process),
) -> Result<(u16, Process), Failure> {
    let stage = stage(vnc.is_some());
    let program = if vnc.is_some() { &settings.tigervnc } else { &settings.xvfb };
    let path = find(program, &settings.path).ok_or_else(|| stage.missing(program))?;
    let spawn = |display: Option<u16>| {
        // A number of a previous server would be mistaken for the number of the new one.
        match fs::remove_file(number) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(super::failure::directory(number, &cause));
            }
            Ok(()) | Err(_) => (),
        }
        let mut arguments: Vec<_> =
            display.map(|number| format!(":{number}").into()).into_iter().collect();
        arguments
            .extend(["-displayfd", "1", "-nolisten", "tcp", "-noreset", "-s", "0"].map(Into::into));
        arguments.extend(["-auth".into(), authority.into()]);
        match vnc {
            None => arguments.extend(["-screen", "0", &format!("{size}x24")].map(Into::into)),
            Some(Rfb { port, password_file }) => {
                arguments.extend(SERVES_VNC.iter().map(Into::into));
                arguments.extend(["-geometry", &size.to_string()].map(Into::into));
                arguments.extend(["-rfbport", &port.to_string()].map(Into::into));
                arguments.extend(["-desktop", &session.to_string()].map(Into::into));
                arguments.extend(["-PasswordFile".into(), password_file.into()]);
                if !settings.vnc_sends_clipboard {
                    arguments.push("-SendCutText=0".into());
                }
            }
        }
        if !settings.glx {
            arguments.extend(["-extension", "GLX"].map(Into::into));
        }
        let (kind, read) = match vnc {
            None => (ProgramKind::Xvfb, vec![authority.into()]),
            Some(Rfb { password_file, .. }) => {
                (ProgramKind::Xtigervnc, vec![authority.into(), password_file.into()])
            }
        };
        let landlock =
            Landlock { read, signals: true, abstract_sockets: true, ..Landlock::default() };
        let program = Program {
            confined: settings.confinement.of(kind, &path, landlock),
            path: path.clone(),
            arguments,
            environment: vec![("PATH".into(), settings.path.clone().into())],
            session,
            records: beside(log),
            log: log.to_owned(),
            output: Some(number.to_owned()),
            open_files: None,
        };
        let process =
            Process::spawn(&program, runtime).map_err(|cause| stage.not_spawned(&cause))?;
        started(&process);
        Ok(process)
    };
    let deadline = settings.start_deadline();

    if only.is_some() {
        let process = spawn(only)?;
        return Ok((ready(stage, &process, deadline, number).await?, process));
    }
    let Some(range) = range(settings) else {
        let process = spawn(None)?;
        return Ok((ready(stage, &process, deadline, number).await?, process));
    };
    for candidate in range.clone().filter(|number| !is_heard(*number)) {
        let process = spawn(Some(candidate))?;
        match ready(stage, &process, deadline, number).await {
            Ok(display) => return Ok((display, process)),
            // Another server took the number meanwhile.
            Err(_) if process.has_exited() && is_taken(&process) => (),
            Err(failure) => return Err(failure),
        }
    }
    let message = format!("none of the displays :{} to :{} is free", range.start(), range.end());
    let hint = "close a session, or widen `display_first` to `display_last`";
    Err(failure(stage.name, "no_display_free", message).hint(hint))
}

/// Resolves with the number of the display, once the server reports it.
async fn ready(
    stage: LaunchStage,
    process: &Process,
    deadline: std::time::Duration,
    number: &Path,
) -> Result<u16, Failure> {
    let failure = match stage.ready(process, deadline, file_says(number, written)).await {
        Ok(display) => return Ok(display),
        Err(failure) => failure,
    };
    let has_no_port = |line: &String| line.contains("Address already in use");
    if process.has_exited() && failure.log_tail.iter().any(has_no_port) {
        return Err(Failure { code: PORT_BUSY.to_owned(), ..failure });
    }
    Err(failure)
}

fn range(settings: &Settings) -> Option<std::ops::RangeInclusive<u16>> {
    match (settings.display_first, settings.display_last) {
        (None, None) => None,
        (first, last) => Some(first.unwrap_or(0)..=last.unwrap_or(u16::MAX)),
    }
}

/// The number in the file of an X server, once its line is complete.
pub fn number_in(file: &Path) -> Option<u16> {
    written(&fs::read_to_string(file).ok()?)
}

/// The number in the text, once its line is complete.
fn written(text: &str) -> Option<u16> {
    text.split_once('\n')?.0.trim().parse().ok()
}

fn is_taken(process: &Process) -> bool {
    let signs = ["Server is already active", "Cannot establish any listening sockets"];
    process.log_tail().iter().any(|line| signs.iter().any(|sign| line.contains(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_when_its_line_is_complete() {
        assert_eq!(written("1"), None);
        assert_eq!(written("12\n"), Some(12));
        assert_eq!(written("x\n"), None);
    }
}
