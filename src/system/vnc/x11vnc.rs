//! x11vnc: a VNC server for an existing display.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use tokio::runtime::Handle;

use super::STAGE;
use super::seats::VncContext;
use crate::domain::session::Failure;
use crate::system::beneath::Tree;
use crate::system::confine::spec::{Landlock, ProgramKind};
use crate::system::failure::directory;
use crate::system::process::{Process, Program, find};
use crate::system::readiness::file_says;
use crate::system::settings::Settings;

/// The limit of open files: x11vnc closes every possible descriptor, which takes minutes with a
/// large limit.
const OPEN_FILES: u32 = 1_024;

const FLAGS: &[&str] = &[
    "-norc",
    "-localhost",
    // Without it, and with the IPv4 port in use, x11vnc serves IPv6 only, without an error.
    "-no6",
    "-noipv6",
    "-shared",
    "-forever",
    "-repeat",
    // The PRIMARY selection, which is only marked text, is not sent.
    "-noprimary",
    // Detection of dragged windows and of scrolling by copies within the display, which browsers do
    // not use. Without it, a key press is visible after 13 ms instead of 26 ms.
    "-noscr",
    "-nowf",
    // Three segments of shared memory instead of 62.
    "-onetile",
    // Without it, the first picture and the first click after a pause are late.
    "-nonap",
    // Without it, x11vnc measures the connection of its first viewer and paints nothing meanwhile:
    // a moving page was black for 5 s.
    "-speeds",
    "1000,10000,1",
    "-wait",
    "5",
    "-defer",
    "5",
    // The time for which a viewer that does not read can block all others.
    "-readtimeout",
    "5",
];

/// The arguments that keep x11vnc from sending copied texts to its viewers.
const KEEPS_TO_ITSELF: [&str; 2] = ["-seldir", "recv"];

/// True if the clipboard setting of an adopted server matches the current settings.
pub(super) fn is_as_set(process: &Process, settings: &Settings) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", process.identity().pid)).unwrap_or_default();
    let [flag, _] = KEEPS_TO_ITSELF;
    let keeps = line.split(|byte| *byte == 0).any(|argument| argument == flag.as_bytes());
    keeps != settings.vnc_sends_clipboard
}

/// The form of the argument that has it read the password again for each client.
const READ_AGAIN: &[u8] = b"read:";

/// True if it notices another password in its file.
pub(super) fn reads_password_again(process: &Process) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", process.identity().pid)).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| argument.starts_with(READ_AGAIN))
}

/// The reason why it did not start.
pub(super) enum NotStarted {
    /// Another program uses the port.
    Busy,
    /// Any other failure of the start.
    Failed(Failure),
}

/// Starts x11vnc on `port` and resolves when it accepts connections. `started` gets the process
/// before it is awaited.
pub(super) async fn start(
    place: &VncContext,
    port: u16,
    settings: &Settings,
    runtime: &Handle,
    started: impl FnOnce(&Process),
) -> Result<(), NotStarted> {
    let failed = NotStarted::Failed;
    let path = find(&settings.x11vnc, &settings.path)
        .ok_or_else(|| failed(STAGE.missing(&settings.x11vnc)))?;
    let flag = place.directory.vnc_flag();
    // The folder is missing if an older server made the desktop.
    let made = flag.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| remove_flag(&flag)).map_err(|cause| failed(directory(&flag, &cause)))?;
    let (authority, password_file) = (place.directory.authority(), place.directory.vnc_password());
    let mut arguments: Vec<_> = FLAGS.iter().map(Into::into).collect();
    arguments.extend(["-display".into(), format!(":{}", place.display).into()]);
    arguments.extend(["-auth".into(), authority.clone().into()]);
    let mut read_again = OsString::from("read:");
    read_again.push(&password_file);
    arguments.extend(["-passwdfile".into(), read_again]);
    arguments.extend(["-rfbport".into(), port.to_string().into()]);
    arguments.extend(["-desktop".into(), place.session.to_string().into()]);
    arguments.extend(["-flag".into(), flag.clone().into()]);
    if !settings.vnc_sends_clipboard {
        arguments.extend(KEEPS_TO_ITSELF.map(Into::into));
    }
    let landlock = Landlock {
        read: vec![authority, password_file],
        write: flag.parent().map(Into::into).into_iter().collect(),
        signals: true,
        ..Landlock::default()
    };
    let program = Program {
        confined: settings.confinement.of(ProgramKind::X11vnc, &path, landlock),
        path,
        arguments,
        environment: vec![("PATH".into(), settings.path.clone().into())],
        session: place.session,
        records: place.directory.logs(),
        log: place.log(),
        output: None,
        open_files: Some(OPEN_FILES),
    };
    let process =
        Process::spawn(&program, runtime).map_err(|cause| failed(STAGE.not_spawned(&cause)))?;
    started(&process);

    let expected = format!("PORT={port}");
    let says = |text: &str| text.lines().any(|line| line.trim() == expected).then_some(());
    let sign = file_says(&flag, says);
    match STAGE.ready(&process, settings.start_deadline(), sign).await {
        Ok(()) => Ok(()),
        Err(_) if process.has_exited() && says_busy(&process.log_tail()) => Err(NotStarted::Busy),
        Err(failure) => Err(failed(failure)),
    }
}

/// Removes the readiness flag, which is in a folder of the program.
pub(super) fn remove_flag(flag: &Path) -> io::Result<()> {
    match (flag.parent(), flag.file_name()) {
        (Some(folder), Some(name)) => match Tree::open(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened?.remove_file(Path::new(name)),
        },
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn says_busy(log: &[String]) -> bool {
    log.iter().any(|line| {
        line.contains("Address already in use") || line.contains("could not obtain listening port")
    })
}
