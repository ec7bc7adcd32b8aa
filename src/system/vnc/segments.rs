//! The shared memory of System V that x11vnc leaves behind when it is killed.
//!
//! The machine has 4,096 segments for everybody; they are found by the number of the process that
//! made them, and only those of processes that were ours and have ended are removed.

use std::path::Path;
use std::time::Duration;

use crate::system::process::{find, output};

/// `SHM_DEST`: removed already, and gone when the X server lets go of it.
const REMOVED: u32 = 0o1000;

/// Where the kernel lists them.
const TABLE: &str = "/proc/sysvipc/shm";

/// A segment that was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::system) struct Segment {
    /// For `ipcrm`.
    pub(in crate::system) id: String,
    /// Its size.
    pub(in crate::system) bytes: u64,
    /// The process that made it.
    pub(in crate::system) creator: i32,
    /// When it was made, or its owner was changed, as a Unix time.
    pub(in crate::system) changed_at: i64,
}

/// Every segment of the machine that was not removed.
pub(in crate::system) fn all() -> Vec<Segment> {
    listed(&std::fs::read_to_string(TABLE).unwrap_or_default())
}

fn listed(table: &str) -> Vec<Segment> {
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

/// The identifiers of the segments that one of `creators` made.
fn made_by(table: &str, creators: &[i32]) -> Vec<String> {
    let segments = listed(table).into_iter();
    segments.filter(|one| creators.contains(&one.creator)).map(|one| one.id).collect()
}

/// Removes one segment.
pub(in crate::system) async fn remove(id: &str, path: &str) -> Result<(), String> {
    let ipcrm = find(Path::new("ipcrm"), path).ok_or("`ipcrm` is missing")?;
    let arguments = ["-m".to_owned(), id.to_owned()];
    output(&ipcrm, &arguments, path, Duration::from_secs(5)).await.map(drop)
}

/// Removes the segments of processes that have ended. Says what could not be removed.
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

    #[test]
    fn a_segment_is_read_with_its_size_and_its_time() {
        let table = "       key      shmid perms                  size  cpid  lpid nattch   uid   \
            gid  cuid  cgid      atime      dtime      ctime                   rss                  \
            swap\n         0         32   600               4196352   812   700      2     0     0     \
            0     0 1793000001 1793000002 1793000003               4198400                     0\n";
        let expected =
            Segment { id: "32".into(), bytes: 4_196_352, creator: 812, changed_at: 1_793_000_003 };
        assert_eq!(listed(table), [expected]);
    }
}
