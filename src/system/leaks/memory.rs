//! Segments of System V shared memory, which outlive the process that made them.

use chrono::{DateTime, Utc};

use super::{Evidence, began, ended};
use crate::domain::leak::{Leak, LeakKind};
use crate::system::process;
use crate::system::vnc::{remove_segment, segments as in_table};

/// The segments whose creator is an ended process of an ended session.
pub(super) fn segments(evidence: &[Evidence<'_>]) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for segment in in_table() {
        let at = DateTime::<Utc>::from_timestamp(segment.changed_at, 0);
        let whose = evidence.iter().find(|of| {
            let until = of.record.completed_at.unwrap_or(of.record.modified_at);
            // A segment from after the end was made by another process with the same pid.
            let within = at.is_some_and(|at| {
                at >= began(of.record) - chrono::Duration::seconds(1)
                    && at <= until + chrono::Duration::seconds(1)
            });
            within
                && of
                    .processes
                    .iter()
                    .any(|one| one.pid == segment.creator && !process::is_alive(one))
        });
        if let Some(Evidence { record, .. }) = whose {
            leaks.push(Leak {
                kind: LeakKind::SharedMemory,
                what: format!("segment {} of {} bytes", segment.id, segment.bytes),
                session: Some(record.id),
                run: None,
                since: at,
                why: format!("{}, and its process {} has ended", ended(record), segment.creator),
                fixable: true,
                remedy: "it is removed by `ipcrm`".to_owned(),
            });
        }
    }
    leaks
}

/// Removes a segment that was found here a moment ago.
pub(super) async fn remove(leak: &Leak, path: &str) {
    let id = leak.what.split(' ').nth(1).unwrap_or_default();
    if let Err(cause) = remove_segment(id, path).await {
        tracing::warn!(cause, "{} is not removed", leak.what);
    }
}
