//! Tests of files: reading, writing, executing, terminals.

use std::fs;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Targets, Try};

/// Files that only their owners may read, on every machine.
const SECRETS: [&str; 8] = [
    "/etc/shadow",
    "/etc/sudoers",
    "/root",
    "/home",
    "/run",
    "/var/lib",
    "/var/log",
    "/proc/1/environ",
];

/// Directories in which a program without a ruleset may write.
const WRITABLE: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/"];

/// Devices that receive keyboard input.
const TERMINALS: [&str; 5] = ["/dev/tty", "/dev/console", "/dev/tty1", "/dev/pts", "/dev/ptmx"];

pub(super) fn run(targets: &Targets) -> Vec<Try> {
    let mut tries = Vec::new();
    let named = SECRETS.iter().map(Path::new);
    for path in named.chain(targets.read.iter().map(AsRef::as_ref)) {
        tries.push(Try::new(format!("read {}", path.display()), read(path)));
    }
    let named = WRITABLE.iter().map(Path::new);
    for folder in named.chain(targets.write.iter().map(AsRef::as_ref)) {
        tries.push(Try::new(format!("write {}", folder.display()), write(folder)));
    }
    if let Some(folder) = &targets.execute {
        tries.push(Try::new("execute an own file", execute(folder)));
    }
    for path in TERMINALS {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        tries.push(Try::new(format!("terminal {path}"), opened.map(|_| "opened".to_owned())));
    }
    let standard =
        [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    let terminal = standard.iter().any(|is| *is);
    tries.push(Try::new("terminal inherited", found(terminal, "a standard descriptor")));
    tries.push(Try::new("descriptors inherited", descriptors()));
    tries
}

/// Reads a byte of a file, or lists a directory.
fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path).is_ok_and(|stat| stat.is_dir()) {
        let count = fs::read_dir(path)?.count();
        return Ok(format!("{count} entries"));
    }
    let length = fs::File::open(path)?.take(16).read(&mut [0; 16])?;
    Ok(format!("{length} bytes"))
}

fn write(folder: &Path) -> io::Result<String> {
    let path = folder.join(format!(".confine-probe-{}", std::process::id()));
    fs::write(&path, "probe")?;
    fs::remove_file(&path)?;
    Ok("made and removed".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "the try is to start a program")]
fn execute(folder: &Path) -> io::Result<String> {
    let path = folder.join(format!("program-{}", std::process::id()));
    fs::copy("/bin/true", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    let ran = std::process::Command::new(&path).env_clear().status();
    fs::remove_file(&path)?;
    ran.map(|status| status.to_string())
}

fn descriptors() -> io::Result<String> {
    let open = fs::read_dir("/proc/self/fd")?.filter_map(|entry| {
        let entry = entry.ok()?;
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        // One of the descriptors is that of the listing itself.
        let is_listing = target.to_string_lossy().ends_with("/fd");
        (number > 2 && !is_listing).then(|| format!("{number}: {}", target.display()))
    });
    let open: Vec<String> = open.collect();
    found(!open.is_empty(), &open.join(", "))
}

/// The outcome of a test that reads a state.
pub(super) fn found(is: bool, what: &str) -> io::Result<String> {
    if is { Ok(what.to_owned()) } else { Err(io::Error::other("none")) }
}
