//! Parsers for the files below `/proc`, see `proc(5)`. They open no file.
//!
//! Programs control parts of these files (their names, their arguments), so every parser accepts
//! any text. `fuzz/` runs them under libFuzzer.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The flag that the kernel sets first of all when a process ends (`include/linux/sched.h`).
const PF_EXITING: u32 = 0x4;

/// The used fields of `/proc/<pid>/stat`, see `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Field 3, the state of the process.
    pub state: char,
    /// Field 5, the process group.
    pub group: i32,
    /// Field 9, the kernel's flags of the process.
    pub flags: u32,
    /// Fields 14 and 15: processor time in user and in kernel mode, in clock ticks.
    pub used: u128,
    /// Field 22, the start time in clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    /// Parses the line. The name of a program may contain spaces and parentheses, so fields are
    /// counted from the last parenthesis.
    pub fn parse(text: &str) -> Option<Self> {
        let (_number_and_name, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let flags = fields.nth(3)?.parse().ok()?;
        let user: u64 = fields.nth(4)?.parse().ok()?;
        let kernel: u64 = fields.next()?.parse().ok()?;
        let start_time = fields.nth(6)?.parse().ok()?;
        Some(Self { state, group, flags, used: u128::from(user) + u128::from(kernel), start_time })
    }

    /// True if the process has not ended; a zombie has.
    pub fn is_living(self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// True if the process has begun to end. Its files and sockets may be closed before it is a zombie.
    pub fn is_ending(self) -> bool {
        !self.is_living() || self.flags & PF_EXITING != 0
    }

    /// True if a signal such as `SIGSTOP` stopped the process.
    pub fn is_stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// The value of a variable in `/proc/<pid>/environ`.
pub fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|found| found.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// True if a program has erased its environment, as Chromium does to make room for a title.
pub fn is_wiped(environment: &[u8]) -> bool {
    !environment.is_empty() && environment.iter().all(|byte| *byte == 0)
}

/// The name of the first entry below `folder` in the arguments of `/proc/<pid>/cmdline`. `folder`
/// must end with a slash.
pub fn entry_below(arguments: &[u8], folder: &str) -> Option<String> {
    let arguments = String::from_utf8_lossy(arguments);
    let (_before, behind) = arguments.split_once(folder)?;
    behind.split(['/', '\0']).next().map(str::to_owned)
}

/// The role of a Chromium process by its arguments, such as `renderer` or
/// `network.mojom.NetworkService`; empty for any other.
pub fn role(arguments: &[u8]) -> String {
    // A child of Chromium writes its arguments as one string, separated by spaces.
    let arguments = String::from_utf8_lossy(arguments).replace('\0', " ");
    let named = |name| arguments.split(' ').find_map(|argument| argument.strip_prefix(name));
    named("--utility-sub-type=").or_else(|| named("--type=")).unwrap_or_default().to_owned()
}

/// The inode and the port of a row of `/proc/net/tcp`, if a process listens there.
pub fn listener(row: &str) -> Option<(u64, u16)> {
    const LISTENS: &str = "0A";
    let mut columns = row.split_ascii_whitespace();
    let (_address, port) = columns.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let is_listening = columns.nth(1)? == LISTENS;
    let inode = columns.nth(5)?.parse().ok()?;
    is_listening.then_some((inode, port))
}

/// The inode and the path of a row of `/proc/net/unix`, if a process listens on the socket.
pub fn unix_listener(row: &str) -> Option<(u64, &str)> {
    const LISTENS: &str = "00010000";
    let columns: Vec<&str> = row.split_ascii_whitespace().collect();
    let [_address, _references, _protocol, LISTENS, _kind, _state, inode, path] =
        columns.as_slice()
    else {
        return None;
    };
    Some((inode.parse().ok()?, *path))
}

/// The inode of the socket that an entry of `/proc/<pid>/fd` refers to.
pub fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The number of established connections to a port of 127.0.0.1 in `/proc/net/tcp`.
pub fn established(table: &str, port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let local = format!("0100007F:{port:04X}");
    let is_one = |line: &&str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        words.next() == Some(&local) && words.nth(1) == Some(ESTABLISHED)
    };
    table.lines().filter(is_one).count()
}

/// The inodes of the sockets in `/proc/net/tcp` that have an established connection to a port of 127.0.0.1.
pub fn clients(table: &str, port: u16) -> Vec<u64> {
    const ESTABLISHED: &str = "01";
    let remote = format!("0100007F:{port:04X}");
    let inode = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(2);
        let is_one = words.next() == Some(&remote) && words.next() == Some(ESTABLISHED);
        words.nth(5).filter(|_inode| is_one)?.parse().ok()
    };
    table.lines().filter_map(inode).collect()
}

/// A segment of System V shared memory that was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The segment's id, as `ipcrm` takes it.
    pub id: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The pid of the process that created it.
    pub creator: i32,
    /// The time of its creation or last change of owner, as Unix time.
    pub changed_at: i64,
}

/// Parses the segments of `/proc/sysvipc/shm`.
pub fn segments(table: &str) -> Vec<Segment> {
    /// `SHM_DEST`: marked for removal, and freed when the X server detaches it.
    const REMOVED: u32 = 0o1000;
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        let [_key, id, mode, bytes, creator, rest @ ..] = columns.as_slice() else { return None };
        let mode = u32::from_str_radix(mode, 8).ok()?;
        let changed_at = rest.get(8).and_then(|time| time.parse().ok()).unwrap_or_default();
        let (id, creator) = ((*id).to_owned(), creator.parse().ok()?);
        let segment = Segment { id, bytes: bytes.parse().ok()?, creator, changed_at };
        (mode & REMOVED == 0).then_some(segment)
    })
    .collect()
}

/// The directory of a process's control group, from its `mountinfo` and its `cgroup`; none without
/// a `cgroup2` file system.
pub fn control_group(mounts: &str, groups: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (root, mount) = mounts.lines().find_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let kind = behind.split(' ').next()?;
        let mut fields = before.split(' ').skip(3);
        (kind == "cgroup2").then_some((fields.next()?, fields.next()?))
    })?;
    // In a container, the root of the mount may be any group.
    let below = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    Some(Path::new(mount).join(below))
}

/// The value of `MemAvailable` in `/proc/meminfo`, in bytes.
pub fn available_memory(text: &str) -> Option<u64> {
    kibibytes(text, "MemAvailable")
}

/// The value in bytes of a row such as `Pss:  812 kB`.
pub fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = rows.next()?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The value of `VmRSS` in `/proc/<pid>/status`, in bytes. A zombie has none.
pub fn resident_memory(text: &str) -> Option<u64> {
    kibibytes(text, "VmRSS")
}

/// The value of `se.exec_start` in `/proc/<pid>/sched`: the time at which the thread last had a
/// processor, on the clock of the scheduler.
pub fn last_ran(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("se.exec_start"))?;
    let milliseconds: f64 = line.trim_start().strip_prefix(':')?.trim().parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_program_calls_itself() {
        let fields = "S 1 812 812 0 -1 4194560 1 0 0 0 7 5 0 0 20 0 1 0 4711 1 1";
        let expected =
            Stat { state: 'S', group: 812, flags: 0x40_0100, used: 12, start_time: 4711 };
        for name in ["x11vnc", "a) S 9 (b", "", "\u{fffd}\n"] {
            assert_eq!(Stat::parse(&format!("812 ({name}) {fields}")), Some(expected));
        }
        for cut in ["812 (cut", "812 (cut) S 1", ""] {
            assert_eq!(Stat::parse(cut), None);
        }
    }

    #[test]
    fn a_process_that_has_begun_to_end_is_living_until_it_is_a_zombie() {
        let line = |state, flags| {
            format!("7 (Xvfb) {state} 1 7 7 0 -1 {flags} 1 0 0 0 7 5 0 0 20 0 1 0 9")
        };
        let read = |state, flags| Stat::parse(&line(state, flags)).unwrap();
        assert!(!read('S', 0x40_0100).is_ending());
        assert!(read('R', 0x40_0104).is_ending() && read('R', 0x40_0104).is_living());
        assert!(read('Z', 0x40_0100).is_ending() && !read('Z', 0x40_0100).is_living());
    }

    #[test]
    fn established_connections_are_counted_and_others_are_not() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                       0: 0100007F:170C 00000000:0000 0A 00000000\n\
                       1: 0100007F:170C 0100007F:D2F0 01 00000000\n\
                       2: 0100007F:170C 0100007F:D2F2 08 00000000\n\
                       3: 0100007F:D2F0 0100007F:170C 01 00000000\n";
        assert_eq!(established(table, 5900), 1);
    }

    #[test]
    fn the_sockets_of_clients_are_found_by_the_port_that_they_are_connected_to() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:170C 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 11 1 0\n\
            1: 0100007F:170C 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000 0 0 12 1 0\n\
            2: 0100007F:D2F0 0100007F:170C 01 00000000:00000000 00:00000000 00000000 0 0 13 1 0\n\
            3: 0100007F:D2F2 0100007F:170C 06 00000000:00000000 00:00000000 00000000 0 0 0 1 0\n";
        assert_eq!(clients(table, 5900), [13]);
    }

    #[test]
    fn a_socket_is_found_by_its_path_and_its_inode() {
        let row = "0000000000000000: 00000002 00000000 00010000 0001 01 4711 /tmp/.X11-unix/X99";
        assert_eq!(unix_listener(row), Some((4711, "/tmp/.X11-unix/X99")));
        assert_eq!(unix_listener(&row.replace("00010000", "00000000")), None);
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("pipe:[4711]"), None);
    }

    #[test]
    fn a_segment_is_read_with_its_size_and_its_time() {
        let table = "       key      shmid perms                  size  cpid  lpid nattch   uid   \
            gid  cuid  cgid      atime      dtime      ctime                   rss                  \
            swap\n         0         32   600               4196352   812   700      2     0     0     \
            0     0 1793000001 1793000002 1793000003               4198400                     0\n\
            0 33 1600 1024 812 812 1 0\n";
        let expected =
            Segment { id: "32".into(), bytes: 4_196_352, creator: 812, changed_at: 1_793_000_003 };
        assert_eq!(segments(table), [expected]);
    }

    #[test]
    fn a_size_is_found_by_the_whole_name_of_its_row() {
        let text = "Rss:             2000 kB\nPss_Dirty:  7 kB\nPss:              812 kB\n";
        assert_eq!(kibibytes(text, "Pss"), Some(812 * 1024));
        assert_eq!(kibibytes(text, "Swap"), None);
        assert_eq!(kibibytes("Pss: many kB", "Pss"), None);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environment = b"A=1\0AB=2\0B\0=3\0";
        assert_eq!(variable(environment, "A"), Some(&b"1"[..]));
        assert_eq!(variable(environment, "AB"), Some(&b"2"[..]));
        assert_eq!(variable(environment, "B"), None);
        assert!(is_wiped(&[0, 0]) && !is_wiped(&[]) && !is_wiped(environment));
    }

    #[test]
    fn the_memory_and_the_last_run_of_a_process_are_read() {
        let status = "Name:\tchromium\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        assert_eq!(resident_memory(status), Some(2048 * 1024));
        assert_eq!(resident_memory("Name:\tchromium\nState:\tZ (zombie)\n"), None);
        let sched = "cat (7, #threads: 1)\n---\nse.exec_start      :      26250.500000\n";
        assert_eq!(last_ran(sched), Some(Duration::from_micros(26_250_500)));
        assert_eq!(last_ran("se.exec_start : NaN"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*\n?\\PC*", bytes: Vec<u8>, port: u16) {
            let _ = (Stat::parse(&text), listener(&text), segments(&text), available_memory(&text));
            let _ = (unix_listener(&text), socket_inode(&text));
            let _ = (established(&text, port), control_group(&text, &text));
            let _ = (resident_memory(&text), last_ran(&text));
            let _ = (role(&bytes), entry_below(&bytes, "/"), variable(&bytes, "A"));
        }
    }
}
