//! Leftovers of a server: processes, locks and sockets of displays, shared memory, files.

use std::fs;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// The processes that name a directory, or another text, in their arguments or their environment. For the
/// directory of a server these are the server, its programs, and their children.
pub fn processes_of(directory: &Path) -> Vec<(i32, String)> {
    processes_naming(&[directory.to_str().unwrap()])
}

/// Returns the processes whose command line or environment has one of these names.
pub fn processes_naming(names: &[&str]) -> Vec<(i32, String)> {
    let has = |file: PathBuf| {
        let text = fs::read(file).unwrap_or_default();
        names.iter().any(|name| text.windows(name.len()).any(|part| part == name.as_bytes()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        if has(path.join("cmdline")) || has(path.join("environ")) {
            let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&arguments).replace('\0', " ")));
        }
    }
    found
}

/// Kills the remaining programs of a directory after a failed test.
pub fn kill_all(directory: &Path) {
    for _ in 0..5 {
        let processes = processes_of(directory);
        if processes.is_empty() {
            return;
        }
        for (pid, _) in processes {
            let pid = Pid::from_raw(pid).filter(|_| u32::try_from(pid) != Ok(std::process::id()));
            let _gone = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The locks and sockets of these displays.
pub fn display_files(displays: &RangeInclusive<u16>) -> Vec<PathBuf> {
    let of = |number: u16| [format!("/tmp/.X{number}-lock"), format!("/tmp/.X11-unix/X{number}")];
    displays.clone().flat_map(of).map(PathBuf::from).filter(|path| path.exists()).collect()
}

/// The ports among these that have a listener.
pub fn busy_ports(ports: impl IntoIterator<Item = u16>) -> Vec<u16> {
    ports.into_iter().filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()).collect()
}

/// The number of shared memory segments that these processes, live or ended, have created.
pub fn segments_of(pids: &[i32]) -> usize {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let creator = |row: &str| row.split_whitespace().nth(4).and_then(|pid| pid.parse().ok());
    table.lines().filter_map(creator).filter(|pid: &i32| pids.contains(pid)).count()
}

/// The files that these processes have open in the machine's temporary directories, outside of `directory`.
/// The temporary directories are not counted: servers search them for displays, and launchers open them to
/// confine a program.
pub fn open_outside(processes: &[i32], directory: &Path) -> Vec<PathBuf> {
    const SHARED: [&str; 4] = ["/tmp", "/tmp/.X11-unix", "/dev/shm", "/var/tmp"];
    let mut found = Vec::new();
    for process in processes {
        // A process that has ended since has no open files.
        let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        let files = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        found.extend(files.filter(|file| {
            let is_shared = SHARED.iter().any(|at| file.as_path() == Path::new(at));
            let is_below = SHARED.iter().any(|at| file.starts_with(at));
            is_below && !is_shared && !file.starts_with(directory)
        }));
    }
    found
}

/// All files below a directory, as paths relative to it.
pub fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path.strip_prefix(directory).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    files
}
