//! The X display of a session: Xvfb or Xtigervnc, its cookie, its lock and its socket.
//!
//! The X server itself picks the number atomically and reports it. The cookie is written before the
//! start. It is valid for every address and number, because the number is not known yet.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::runtime::Handle;
use x11rb::errors::ConnectError;
use x11rb::rust_connection::{DefaultStream, RustConnection};

use super::confine::spec::{Landlock, ProgramKind};
use super::failure::{LaunchStage, failure};
use super::proc;
use super::process::{Process, Program, beside, find, may_have_made};
use super::readiness::file_says;
use super::settings::Settings;
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, Size};

const XVFB: LaunchStage = LaunchStage { name: "xvfb", package: "xvfb" };
const TIGERVNC: LaunchStage =
    LaunchStage { name: "tigervnc", package: "tigervnc-standalone-server" };

/// The failure code of an X server with VNC whose port is in use.
pub(super) const PORT_BUSY: &str = "vnc_port_busy";

/// The stage of an X server; `is_vnc` is true if it is a VNC server as well.
pub(super) fn stage(is_vnc: bool) -> LaunchStage {
    if is_vnc { TIGERVNC } else { XVFB }
}

/// The name of the only authorization protocol that is used.
pub(super) const COOKIE_NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// The secret that a client of a display presents.
pub type Cookie = [u8; 16];

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

/// The content of an authority file with one cookie for every address and every display. The format
/// is described in `Xau(3)`: big-endian lengths before address, number, name and data.
pub fn authority(cookie: &Cookie) -> Vec<u8> {
    const FAMILY_WILD: [u8; 2] = [0xff, 0xff];
    const NO_ADDRESS: [u8; 2] = [0, 0];
    const NO_NUMBER: [u8; 2] = [0, 0];
    const NAME_LENGTH: [u8; 2] = [0, 18];
    const COOKIE_LENGTH: [u8; 2] = [0, 16];
    [
        FAMILY_WILD.as_slice(),
        &NO_ADDRESS,
        &NO_NUMBER,
        &NAME_LENGTH,
        COOKIE_NAME,
        &COOKIE_LENGTH,
        cookie,
    ]
    .concat()
}

/// The cookie in an authority file that [`authority`] made.
pub fn cookie_of(authority: &[u8]) -> Option<Cookie> {
    authority.last_chunk().copied().filter(|cookie| self::authority(cookie) == authority)
}

/// Connects to an X server over a socket, as a client of its display.
pub(super) fn client(stream: UnixStream, cookie: &Cookie) -> Result<RustConnection, ConnectError> {
    let (stream, _peer) = DefaultStream::from_unix_stream(stream)?;
    let (name, cookie) = (COOKIE_NAME.to_vec(), cookie.to_vec());
    RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie)
}

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
    let hint = "close a session, or widen `display_first` to `display_last`".to_owned();
    Err(Failure { hint: Some(hint), ..failure(stage.name, "no_display_free", message) })
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

/// True if a server may listen for clients of a display. A socket or lock of a dead server does not
/// occupy a number, because the next server takes it over.
fn is_heard(display: u16) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let dead = |cause: io::Error| matches!(cause.kind(), ConnectionRefused | NotFound);
    !UnixStream::connect(socket(display)).is_err_and(dead)
}

/// The number in the text, once its line is complete.
fn written(text: &str) -> Option<u16> {
    text.split_once('\n')?.0.trim().parse().ok()
}

fn is_taken(process: &Process) -> bool {
    let signs = ["Server is already active", "Cannot establish any listening sockets"];
    process.log_tail().iter().any(|line| signs.iter().any(|sign| line.contains(sign)))
}

/// The directory of displays' locks.
pub(super) const LOCKS: &str = "/tmp";

/// The directory of displays' sockets.
pub(super) const SOCKETS: &str = "/tmp/.X11-unix";

/// Creates the directory of displays' sockets, which X servers create only as root. The sticky bit
/// keeps users from removing sockets of others. Fails if its mode cannot be set.
pub fn make_sockets() -> io::Result<()> {
    const MODE: u32 = 0o1777;
    match DirBuilder::new().mode(MODE).create(SOCKETS) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(SOCKETS)?.mode() & MODE == MODE {
                return Ok(());
            }
        }
        made => made?,
    }
    fs::set_permissions(SOCKETS, fs::Permissions::from_mode(MODE))
}

/// The path of a display's socket.
pub fn socket(display: u16) -> PathBuf {
    Path::new(SOCKETS).join(format!("X{display}"))
}

/// The path of a display's lock.
pub fn lock(display: u16) -> PathBuf {
    Path::new(LOCKS).join(format!(".X{display}-lock"))
}

/// The pid that a display's lock names, and the time at which the lock was made.
pub(super) fn holder(display: u16) -> Option<(i32, SystemTime)> {
    let path = lock(display);
    let pid = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    Some((pid, path.symlink_metadata().ok()?.modified().ok()?))
}

/// The displays on whose sockets a process listens. An X server has its socket well before it
/// writes its number.
pub fn served_by(pid: i32) -> Vec<u16> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let served: Vec<_> = table.lines().filter_map(listener).collect();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let sockets = open.filter_map(|entry| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        proc::socket_inode(target.to_str()?)
    });
    let sockets: Vec<u64> = sockets.collect();
    let mut displays: Vec<u16> = served
        .into_iter()
        .filter(|(inode, _display)| sockets.contains(inode))
        .map(|(_inode, display)| display)
        .collect();
    displays.sort_unstable();
    displays.dedup();
    displays
}

/// The inode and the display of a row of `/proc/net/unix`, if a process listens on a display's
/// socket there.
fn listener(row: &str) -> Option<(u64, u16)> {
    let (inode, path) = proc::unix_listener(row)?;
    Some((inode, path.strip_prefix(SOCKETS)?.strip_prefix("/X")?.parse().ok()?))
}

/// The number in the file of an X server, once its line is complete.
pub fn number_in(file: &Path) -> Option<u16> {
    written(&fs::read_to_string(file).ok()?)
}

/// Removes the locks and sockets of X servers that have ended. Files of others are not touched,
/// even if their server has been given the same pid since. Returns a line for each file that could
/// not be removed.
pub fn remove_remains(pids: &[i32]) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/tmp") else { return Vec::new() };
    let displays = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.strip_prefix(".X")?.strip_suffix("-lock")?.parse::<u16>().ok()
    });
    let held = |display: &u16| {
        holder(*display).is_some_and(|(by, at)| pids.contains(&by) && !may_have_made(by, at))
    };
    // The lock goes last: as long as it exists, most other servers leave the socket alone.
    let ours: Vec<u16> = displays.filter(held).collect();
    let removed = |display: u16| [remove_unheard(display), remove(&lock(display))];
    ours.into_iter().flat_map(removed).flatten().collect()
}

/// Removes the socket of a display that has neither a lock nor a listener.
pub fn remove_dead_socket(display: u16) -> Option<String> {
    if lock(display).exists() { None } else { remove_unheard(display) }
}

/// Removes a socket that has no listener. A server that picks its number by itself takes over the
/// socket of a dead server before it takes over the lock.
fn remove_unheard(display: u16) -> Option<String> {
    let socket = socket(display);
    match UnixStream::connect(&socket) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => remove(&socket),
        Ok(_) | Err(_) => None,
    }
}

fn remove(file: &Path) -> Option<String> {
    match fs::remove_file(file) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Some(format!("{} could not be removed: {cause}", file.display()))
        }
        Ok(()) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_file_holds_one_cookie_for_everything() {
        let cookie = [7; 16];
        let bytes = authority(&cookie);
        assert_eq!(&bytes[..8], b"\xff\xff\0\0\0\0\0\x12");
        assert_eq!(&bytes[8..26], b"MIT-MAGIC-COOKIE-1");
        assert_eq!(&bytes[26..], [&[0, 16][..], &cookie].concat());
        assert_eq!(usize::from(bytes[7]), COOKIE_NAME.len());
        assert_eq!(cookie_of(&bytes), Some(cookie));
        assert_eq!(cookie_of(&bytes[1..]), None);
    }

    #[test]
    fn a_number_counts_when_its_line_is_complete() {
        assert_eq!(written("1"), None);
        assert_eq!(written("12\n"), Some(12));
        assert_eq!(written("x\n"), None);
    }

    #[test]
    fn a_display_is_found_by_the_process_that_listens_on_its_socket() {
        let row = |flags: &str, path: &str| {
            listener(&format!("0000000000000000: 00000002 00000000 {flags} 0001 01 4711 {path}"))
        };
        assert_eq!(row("00010000", "/tmp/.X11-unix/X99"), Some((4711, 99)));
        assert_eq!(row("00000000", "/tmp/.X11-unix/X99"), None);
        for other in ["@/tmp/.X11-unix/X99", "/tmp/.X11-unix/Xa", "/tmp/.X11-unix/X70000", ""] {
            assert_eq!(row("00010000", other), None, "{other}");
        }
    }
}
