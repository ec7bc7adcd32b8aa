//! The rulesets: the parts of the machine that each kind of program may reach, as data.
//!
//! The paths of its session come with the specification, see `order`. A path that does not exist is
//! skipped, because machines differ. Symbolic links are followed when the ruleset is made, so that
//! a rule for `/etc/resolv.conf` applies to the file that it points to.
//!
//! Nothing of a session can be executed: only [`Access::Execute`] grants that, and it is never
//! combined with a right to write.

use super::spec::ProgramKind;

/// Rights below a path, or over a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, list and execute below a path.
    Execute,
    /// Read files and list directories.
    Read,
    /// Read and write existing entries: devices, and files of `/proc`.
    Use,
    /// Read, list, write, create, rename and remove; no devices.
    Write,
    /// Create, write, read and remove regular files and sockets, but not list directories.
    Drop,
}

/// A path and the access to it.
pub type Rule = (&'static str, Access);

use Access::{Drop, Execute, Read, Use, Write};

/// The rules for programs and libraries.
const PROGRAMS: &[Rule] = &[
    ("/usr", Execute),
    ("/lib", Execute),
    ("/lib32", Execute),
    ("/lib64", Execute),
    ("/bin", Execute),
    ("/sbin", Execute),
    ("/etc/alternatives", Execute),
    ("/etc/ld.so.cache", Read),
    ("/etc/ld.so.preload", Read),
    ("/etc/localtime", Read),
    ("/etc/timezone", Read),
    ("/etc/nsswitch.conf", Read),
    ("/etc/passwd", Read),
    ("/etc/group", Read),
];

/// The files that the C library loads and reads to resolve names, after the start.
const LIBRARIES: &[Rule] = &[
    ("/usr/lib", Execute),
    ("/lib", Execute),
    ("/lib64", Execute),
    ("/usr/share/ca-certificates", Read),
    ("/usr/local/share/ca-certificates", Read),
    ("/etc/ld.so.cache", Read),
    ("/etc/nsswitch.conf", Read),
    ("/etc/localtime", Read),
    ("/proc/net", Read),
];

/// Devices that hold no data of any user.
const DEVICES: &[Rule] = &[
    ("/dev/null", Use),
    ("/dev/zero", Use),
    ("/dev/full", Use),
    ("/dev/random", Use),
    ("/dev/urandom", Use),
];

/// The process itself, and the size of the machine. For programs of one process only, because a
/// child has another directory in `/proc`.
const ITSELF: &[Rule] = &[
    ("/proc/self", Read),
    ("/proc/cpuinfo", Read),
    ("/proc/meminfo", Read),
    ("/proc/stat", Read),
    ("/proc/loadavg", Read),
    ("/proc/filesystems", Read),
    ("/proc/version", Read),
    ("/proc/sys/kernel", Read),
    ("/proc/sys/vm", Read),
    ("/sys/devices/system", Read),
];

/// The rules for name resolution and certificates.
const NAMES: &[Rule] = &[
    ("/etc/hosts", Read),
    ("/etc/host.conf", Read),
    ("/etc/gai.conf", Read),
    ("/etc/resolv.conf", Read),
    ("/etc/services", Read),
    ("/etc/protocols", Read),
    ("/etc/ssl", Read),
    ("/etc/ca-certificates", Read),
    ("/etc/pki", Read),
];

/// The rules for an X server. Its lock and its socket are in `/tmp`, under fixed names. Its keymap
/// is made by `xkbcomp`, which a shell starts, in `/var/lib/xkb` as root and in `/tmp` as any other
/// user. Its shared pictures are in `/dev/shm`.
const X_SERVER: &[Rule] = &[
    ("/tmp", Drop),
    ("/var/lib/xkb", Drop),
    ("/dev/shm", Write),
    ("/etc/X11", Read),
    ("/etc/fonts", Read),
    ("/var/cache/fontconfig", Read),
];

const XTIGERVNC: &[Rule] = &[("/etc/tigervnc", Read), ("/etc/pam.d", Read)];

const X_CLIENT: &[Rule] = &[("/tmp/.X11-unix", Read)];

/// The browser. Its sandbox writes `uid_map` and `oom_score_adj` of processes that do not exist
/// yet, so `/proc` cannot be narrower. The entries of other programs are protected by their user,
/// and by Landlock's rule that no process traces one outside of its domain.
const CHROMIUM: &[Rule] = &[
    ("/opt", Execute),
    ("/etc/chromium", Read),
    ("/etc/chromium.d", Read),
    ("/etc/chromium-browser", Read),
    ("/etc/opt/chrome", Read),
    ("/etc/fonts", Read),
    ("/etc/mime.types", Read),
    ("/etc/machine-id", Read),
    ("/etc/os-release", Read),
    ("/var/cache/fontconfig", Read),
    ("/var/lib/dbus/machine-id", Read),
    ("/proc", Use),
    ("/sys", Read),
    ("/dev/shm", Write),
];

/// The rules for `code` blocks, whose driver is a child with its own directory in `/proc`.
const PYTHON: &[Rule] = &[
    ("/etc/mime.types", Read),
    ("/etc/os-release", Read),
    ("/etc/python3", Read),
    ("/etc/python3.11", Read),
    ("/etc/python3.13", Read),
    ("/proc", Read),
    ("/sys/fs/cgroup", Read),
];

/// The rules of a kind of program.
pub fn of(kind: ProgramKind) -> Vec<Rule> {
    let groups: &[&[Rule]] = match kind {
        ProgramKind::Xvfb => &[PROGRAMS, DEVICES, ITSELF, X_SERVER],
        ProgramKind::Xtigervnc => &[PROGRAMS, DEVICES, ITSELF, X_SERVER, NAMES, XTIGERVNC],
        ProgramKind::X11vnc => &[PROGRAMS, DEVICES, ITSELF, X_CLIENT, NAMES],
        ProgramKind::Chromium => &[PROGRAMS, DEVICES, X_CLIENT, NAMES, CHROMIUM],
        ProgramKind::Python => &[PROGRAMS, DEVICES, ITSELF, NAMES, PYTHON],
        ProgramKind::Ffmpeg | ProgramKind::Nss => &[PROGRAMS, DEVICES, ITSELF],
        ProgramKind::Egress => &[LIBRARIES, DEVICES, ITSELF, NAMES],
    };
    groups.iter().flat_map(|group| group.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_written_where_it_can_be_executed() {
        for kind in ProgramKind::ALL {
            let rules = of(kind);
            let writes = rules.iter().filter(|(_, access)| matches!(access, Write | Drop | Use));
            for (path, _) in writes {
                let executes = rules.iter().any(|(above, access)| {
                    *access == Execute && std::path::Path::new(path).starts_with(above)
                });
                assert!(!executes, "{kind:?}: {path}");
            }
        }
    }

    #[test]
    fn no_kind_reaches_homes_data_or_devices_of_people() {
        for kind in ProgramKind::ALL {
            for (path, access) in of(kind) {
                for forbidden in
                    ["/root", "/home", "/var/lib/greenroom", "/run", "/dev/pts", "/etc/shadow"]
                {
                    let inner = std::path::Path::new(forbidden);
                    assert!(!inner.starts_with(path), "{kind:?}: {path} {access:?}");
                    assert!(!std::path::Path::new(path).starts_with(inner), "{kind:?}: {path}");
                }
            }
        }
    }
}
