//! The shared memory of System V that x11vnc leaves behind when it is killed.
//!
//! The machine has 4,096 segments for everybody; they are found by the number of the process that
//! made them, and only those of processes that were ours and have ended are removed.

use std::path::Path;
use std::time::Duration;

use crate::system::process::{find, output};

/// `SHM_DEST`: removed already, and gone when the X server lets go of it.
const REMOVED: u32 = 0o1000;

/// The identifiers of the segments that one of `creators` made, from `/proc/sysvipc/shm`.
fn made_by(table: &str, creators: &[i32]) -> Vec<String> {
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let mut columns = row.split_ascii_whitespace();
        let id = columns.nth(1)?;
        let mode = u32::from_str_radix(columns.next()?, 8).ok()?;
        let creator: i32 = columns.nth(1)?.parse().ok()?;
        (mode & REMOVED == 0 && creators.contains(&creator)).then(|| id.to_owned())
    })
    .collect()
}

/// Removes the segments of processes that have ended. Says what could not be removed.
pub(in crate::system) async fn sweep(creators: &[i32], path: &str) -> Vec<String> {
    let left = || {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        made_by(&table, creators)
    };
    let segments = left();
    if segments.is_empty() {
        return Vec::new();
    }
    let Some(ipcrm) = find(Path::new("ipcrm"), path) else {
        return vec![format!("shared memory segments {segments:?} stay: `ipcrm` is missing")];
    };
    let arguments: Vec<_> = segments.iter().flat_map(|id| ["-m".to_owned(), id.clone()]).collect();
    if let Err(cause) = output(&ipcrm, &arguments, path, Duration::from_secs(5)).await {
        tracing::warn!(cause, "ipcrm refused");
    }
    left().into_iter().map(|id| format!("shared memory segment {id} stays")).collect()
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
