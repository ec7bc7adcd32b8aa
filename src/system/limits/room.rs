//! Whether the machine has room for another session.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::{MIB, Settings};
use crate::system::proc;

/// Below this size, browsers do not use `/dev/shm`: they are told to use files.
const USED_SHARED_MEMORY: u64 = 1024 * MIB;

/// How many files the server has open for a session while it comes up.
const OPEN_FILES: u64 = 16;

/// What there is too little of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{available} {unit} of {what} are free, and {needed} are needed for another session")]
pub struct NoRoom {
    /// `memory`, `/dev/shm`, the path of the data directory, `open files`.
    pub what: String,
    /// How much there is.
    pub available: u64,
    /// How much there must be.
    pub needed: u64,
    /// Of what both are numbers.
    pub unit: &'static str,
    /// Which setting says so.
    pub setting: &'static str,
}

/// Measures whether there is room for `coming` more sessions, those that are coming up already
/// among them.
pub fn room(settings: &Settings, data: &Path, coming: u64) -> Result<(), NoRoom> {
    let needed = settings.new_session_memory_mib.saturating_mul(coming);
    let needed = needed.saturating_add(settings.spare_memory_mib);
    mebibytes("memory", available_memory(), needed, "limits.spare_memory_mib")?;

    let shared = space(Path::new("/dev/shm")).filter(|space| space.size >= USED_SHARED_MEMORY);
    let free = shared.map(|space| space.free);
    let setting = "limits.spare_shared_memory_mib";
    mebibytes("/dev/shm", free, settings.spare_shared_memory_mib, setting)?;

    disk(settings, data)?;

    let needed = OPEN_FILES.saturating_mul(coming).saturating_add(settings.spare_open_files);
    match free_descriptors() {
        Some(available) if available < needed => Err(NoRoom {
            what: "open files".to_owned(),
            available,
            needed,
            unit: "descriptors",
            setting: "limits.spare_open_files",
        }),
        Some(_) | None => Ok(()),
    }
}

/// Measures whether the file system of the data directory has the room that must be free.
pub fn disk(settings: &Settings, data: &Path) -> Result<(), NoRoom> {
    let free = space(data).map(|space| space.free);
    let what = data.display().to_string();
    mebibytes(&what, free, settings.spare_disk_mib, "limits.spare_disk_mib")
}

/// What cannot be measured is taken to suffice.
fn mebibytes(
    what: &str,
    available: Option<u64>,
    needed: u64,
    setting: &'static str,
) -> Result<(), NoRoom> {
    match available.map(|bytes| bytes / MIB) {
        Some(available) if available < needed => {
            Err(NoRoom { what: what.to_owned(), available, needed, unit: "MiB", setting })
        }
        Some(_) | None => Ok(()),
    }
}

/// How many more files this process may open; none when there is no limit.
fn free_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile).current?;
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(limit.saturating_sub(u64::try_from(open).unwrap_or(u64::MAX)))
}

struct Space {
    size: u64,
    free: u64,
}

fn space(path: &Path) -> Option<Space> {
    let statistics = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(statistics.f_frsize);
    Some(Space { size: bytes(statistics.f_blocks), free: bytes(statistics.f_bavail) })
}

/// The memory that programs can still be given: the machine's, or less where a control group that
/// this process is in has a limit.
fn available_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(proc::available_memory);
    let own = super::subtree::own();
    let groups = own.as_deref().map(|own| own.ancestors()).into_iter().flatten();
    let within = groups.take_while(|group| group.join("cgroup.controllers").exists());
    machine.into_iter().chain(within.filter_map(left_in)).min()
}

/// What the limit of a control group leaves. Files that are in memory for nobody can be let go.
pub(super) fn left_in(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let most: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let files = read("memory.stat").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
        line.trim().parse::<u64>().ok()
    });
    Some(most.saturating_sub(used.saturating_sub(files.unwrap_or_default())))
}
