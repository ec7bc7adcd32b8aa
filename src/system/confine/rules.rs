//! The rulesets: what each kind of program may reach of the machine, as data.
//!
//! Its session's paths come with the specification, see `order`. A path
//! that is not there is passed over: machines differ. Symbolic links are followed when the ruleset is
//! made, so that a rule for `/etc/resolv.conf` is one for the file that it leads to.
//!
//! Nothing of a session can be executed: only [`Access::Execute`] gives that, and it never goes with a
//! right to write.

use super::spec::Kind;

/// Rights below a path, or over a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, list and execute.
    Execute,
    /// Read and list.
    Read,
    /// Read and write what is there: devices, and files of `/proc`.
    Use,
    /// Read, list, write, make, rename and remove; no devices.
    Write,
    /// Make, write, read and remove plain files and sockets, but list nothing.
    Drop,
}

/// One rule.
pub type Rule = (&'static str, Access);

use Access::{Drop, Execute, Read, Use, Write};

/// Programs and libraries.
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

/// What the C library loads and reads to resolve names, after the start.
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

/// Devices that hold nothing of anybody.
const DEVICES: &[Rule] = &[
    ("/dev/null", Use),
    ("/dev/zero", Use),
    ("/dev/full", Use),
    ("/dev/random", Use),
    ("/dev/urandom", Use),
];

/// The process itself, and the machine's size. For programs of one process: a child's own directory
/// is another.
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

/// Names and certificates.
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

/// An X server: its lock in `/tmp` and its socket below (their names are fixed), its keymap (made by
/// `xkbcomp`, which a shell starts, in `/var/lib/xkb` as root and in `/tmp` as any other user), pictures
/// that it shares.
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

/// The browser. Its sandbox writes `uid_map` and `oom_score_adj` of processes that are not there yet,
/// so that `/proc` cannot be narrower; what of it belongs to others is kept from it by their user and
/// by the rule of Landlock that no process traces one outside of its domain.
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

/// `code` blocks: the driver is a child with a directory of its own in `/proc`.
const PYTHON: &[Rule] = &[
    ("/etc/mime.types", Read),
    ("/etc/os-release", Read),
    ("/etc/python3", Read),
    ("/etc/python3.11", Read),
    ("/etc/python3.13", Read),
    ("/proc", Read),
    ("/sys/fs/cgroup", Read),
];

/// The rules of a kind, in groups.
pub fn of(kind: Kind) -> Vec<Rule> {
    let groups: &[&[Rule]] = match kind {
        Kind::Xvfb => &[PROGRAMS, DEVICES, ITSELF, X_SERVER],
        Kind::Xtigervnc => &[PROGRAMS, DEVICES, ITSELF, X_SERVER, NAMES, XTIGERVNC],
        Kind::X11vnc => &[PROGRAMS, DEVICES, ITSELF, X_CLIENT, NAMES],
        Kind::Chromium => &[PROGRAMS, DEVICES, X_CLIENT, NAMES, CHROMIUM],
        Kind::Python => &[PROGRAMS, DEVICES, ITSELF, NAMES, PYTHON],
        Kind::Ffmpeg => &[PROGRAMS, DEVICES, ITSELF],
        Kind::Egress => &[LIBRARIES, DEVICES, ITSELF, NAMES],
    };
    groups.iter().flat_map(|group| group.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_written_where_it_can_be_executed() {
        for kind in Kind::ALL {
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
        for kind in Kind::ALL {
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
