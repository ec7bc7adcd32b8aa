//! The System V shared memory that x11vnc leaves behind when it is killed.
//!
//! The machine has 4,096 segments in total. Segments are found by the pid of their creator, and
//! only those of ended processes of this server are removed.

use std::path::Path;
use std::time::Duration;

use crate::system::proc::{self, Segment};
use crate::system::process::{find, output};

/// The kernel's list of segments.
const TABLE: &str = "/proc/sysvipc/shm";

/// Every segment of the machine that is not marked for removal.
pub(in crate::system) fn all() -> Vec<Segment> {
    proc::segments(&std::fs::read_to_string(TABLE).unwrap_or_default())
}

/// The ids of the segments that one of `creators` made.
fn made_by(table: &str, creators: &[i32]) -> Vec<String> {
    let segments = proc::segments(table).into_iter();
    segments.filter(|one| creators.contains(&one.creator)).map(|one| one.id).collect()
}

/// Removes one segment by its id.
pub(in crate::system) async fn remove(id: &str, path: &str) -> Result<(), String> {
    let ipcrm = find(Path::new("ipcrm"), path).ok_or("`ipcrm` is missing")?;
    let arguments = ["-m".to_owned(), id.to_owned()];
    output(&ipcrm, &arguments, path, Duration::from_secs(5)).await.map(drop)
}

/// Removes the segments of ended processes. Returns a line for each that could not be removed.
pub(in crate::system) async fn sweep(creators: &[i32], path: &str) -> Vec<String> {
    let left = || {
        let table = std::fs::read_to_string(TABLE).unwrap_or_default();
        made_by(&table, creators)
    };
    let segments = left();
    if segments.is_empty() {
        return Vec::new();
    }
    let Some(ipcrm) = find(Path::new("ipcrm"), path) else {
        return vec![format!(
            "shared memory segments {segments:?} are not removed: `ipcrm` is missing"
        )];
    };
    let arguments: Vec<_> = segments.iter().flat_map(|id| ["-m".to_owned(), id.clone()]).collect();
    if let Err(cause) = output(&ipcrm, &arguments, path, Duration::from_secs(5)).await {
        tracing::warn!(cause, "ipcrm failed");
    }
    left().into_iter().map(|id| format!("shared memory segment {id} is not removed")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_by_their_creator() {
        let table = "       key      shmid perms                  size  cpid  lpid nattch   uid\n\
                              0      32768   600               4196352   812   700      2     0\n\
                              0      32769   600                  1024   700   812      2     0\n\
                              0      32770  1600                  1024   812   812      1     0\n";
        assert_eq!(made_by(table, &[812]), ["32768"]);
        assert_eq!(made_by(table, &[1]), Vec::<String>::new());
        assert_eq!(made_by("", &[812]), Vec::<String>::new());
    }
}
