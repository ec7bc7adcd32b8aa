//! The locks and sockets of displays: by whom they are held, and the removal of those that are left.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::system::proc;
use crate::system::process::may_have_made;

/// The directory of displays' locks.
pub(in crate::system) const LOCKS: &str = "/tmp";

/// The directory of displays' sockets.
pub(in crate::system) const SOCKETS: &str = "/tmp/.X11-unix";

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

/// The file in which a display's server has its keymap compiled. A server that is killed meanwhile leaves it, and
/// then no server of another user can have that display.
fn keymap(display: u16) -> PathBuf {
    Path::new(LOCKS).join(format!("server-{display}.xkm"))
}

/// The pid that a display's lock names, and the time at which the lock was made.
pub(in crate::system) fn holder(display: u16) -> Option<(i32, SystemTime)> {
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

/// True if a server may listen for clients of a display. A socket or lock of a dead server does not
/// occupy a number, because the next server takes it over.
pub(super) fn is_heard(display: u16) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let dead = |cause: io::Error| matches!(cause.kind(), ConnectionRefused | NotFound);
    !UnixStream::connect(socket(display)).is_err_and(dead)
}

/// Removes the locks, sockets and keymaps of X servers that have ended. Files of others are not touched,
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
    let removed =
        |display: u16| [remove_unheard(display), remove(&keymap(display)), remove(&lock(display))];
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
    fn a_keymap_goes_with_the_lock_of_its_display_and_no_other_one_does() {
        // Beyond the pids of any kernel.
        let dead = 2_000_000_000;
        // Beyond the displays of servers and of other tests.
        let (ours, other) = (64_801, 64_802);
        for display in [ours, other] {
            fs::write(keymap(display), "keymap").unwrap();
        }
        fs::write(lock(ours), format!("{dead:10}\n")).unwrap();
        assert_eq!(remove_remains(&[dead]), Vec::<String>::new());
        assert!(!keymap(ours).exists() && !lock(ours).exists());
        assert!(keymap(other).exists(), "its display is not ours");
        fs::remove_file(keymap(other)).unwrap();
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
