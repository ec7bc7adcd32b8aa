//! Measurement of the machine's room for another session.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::{MIB, Settings};
use crate::system::proc;

/// The size in bytes below which browsers are configured to use files instead of `/dev/shm`.
const USED_SHARED_MEMORY: u64 = 1024 * MIB;

/// The number of files that the server has open for a session during its start.
const OPEN_FILES: u64 = 16;

/// The resource that is insufficient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{available} {unit} of {what} are free, and {needed} are needed for another session")]
pub struct NoRoom {
    /// The resource: `memory`, `/dev/shm`, the path of the data directory, or `open files`.
    pub what: String,
    /// The amount that is available.
    pub available: u64,
    /// The amount that is required.
    pub needed: u64,
    /// The unit of both amounts.
    pub unit: &'static str,
    /// The setting that requires the amount.
    pub setting: &'static str,
}

/// Checks that there is room for `coming` more sessions, including those that are starting already.
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

/// Checks that the file system of the data directory has the free space that is required.
pub fn disk(settings: &Settings, data: &Path) -> Result<(), NoRoom> {
    let free = space(data).map(|space| space.free);
    let what = data.display().to_string();
    mebibytes(&what, free, settings.spare_disk_mib, "limits.spare_disk_mib")
}

/// Compares amounts in MiB. An amount that cannot be measured counts as sufficient.
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

/// The number of further files that this process may open; none if there is no limit.
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

/// The memory that programs can still be given: the machine's, or less if a control group of this
/// process has a limit.
fn available_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(proc::available_memory);
    let own = super::subtree::own();
    let groups = own.as_deref().map(|own| own.ancestors()).into_iter().flatten();
    let within = groups.take_while(|group| group.join("cgroup.controllers").exists());
    machine.into_iter().chain(within.filter_map(left_in)).min()
}

/// The memory that a control group's limit leaves. Unused cached files can be evicted and do not count.
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
