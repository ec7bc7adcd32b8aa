//! The machine's side of the leak ledger: what there is of sessions that have ended.
//!
//! What is ours is told by evidence, never by likeness:
//!
//! 1. A process, by its marker, and by the row of the session that the marker names.
//! 2. The lock of a display and a segment of shared memory, by the number of the process that made
//!    it: one that this session is on record to have started, in this boot, which has ended. A
//!    number that is another's by now counts for that other where it may have made the thing.
//! 3. The socket of a display, by the number of the display and the time at which it was made.
//!
//! A session without a row may be that of another database: it is told, and left alone.

mod artifacts;
mod displays;
mod memory;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

pub use artifacts::{Stored, Table, artifacts, files, remove_artifact, run_of, session_of};

use super::desktop::{Directories, Directory};
use super::process::{self, Marked};
use super::vnc::Ports;
use crate::domain::ids::SessionId;
use crate::domain::leak::{Leak, LeakKind};
use crate::domain::session::{ProcessIdentity, SessionRecord, SessionStatus};

/// The rows of the sessions that are looked at. Only those of this node.
pub type Known = HashMap<SessionId, SessionRecord>;

const NO_ROW: &str = "there is no such session in this database; perhaps it is another's";
const LEFT_ALONE: &str = "left alone: it may belong to another database";

/// Where the sessions of one data directory are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directories of the sessions.
    pub directories: Directories,
    /// The directories in which the control groups of sessions are, if there are any.
    pub groups: Vec<PathBuf>,
}

/// What a session that has ended is on record to have had.
struct Evidence<'a> {
    record: &'a SessionRecord,
    /// Every process that is known to have been started for it, in this boot of the machine.
    processes: Vec<ProcessIdentity>,
}

impl Place {
    fn directory(&self, session: SessionId) -> Directory {
        self.directories.of(session)
    }

    fn marked(&self) -> Vec<Marked> {
        process::marked(&self.directories.roots())
    }

    /// The sessions of which there is anything here, ended or not: those whose rows are wanted.
    pub fn suspects(&self) -> Vec<SessionId> {
        let mut found = self.directories.named();
        found.extend(self.marked().into_iter().map(|marked| marked.session));
        found.extend(self.groups.iter().flat_map(|base| named(base, GROUP)));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What there is of sessions that have ended. Reads `/proc`, `/tmp` and the directories: not
    /// for a thread that has other work.
    pub fn leaks(&self, known: &Known) -> Vec<Leak> {
        let marked = self.marked();
        let ended: Vec<_> = known.values().filter(|row| row.status.is_final()).collect();
        let evidence: Vec<_> = ended.iter().map(|row| self.evidence(row)).collect();
        let mut leaks = self.processes(&marked, known);
        leaks.extend(displays::locks(&evidence));
        leaks.extend(displays::sockets(&evidence, known));
        leaks.extend(memory::segments(&evidence));
        leaks.extend(self.directory_leaks(known));
        leaks.extend(self.groups(known));
        leaks
    }

    fn evidence<'a>(&self, record: &'a SessionRecord) -> Evidence<'a> {
        let directory = self.directory(record.id);
        let mut processes = process::started(&directory.started());
        let saved = directory.saved().ok().flatten().map(|saved| saved.identity);
        for desktop in saved.iter().chain(&record.desktop) {
            processes.extend([desktop.xvfb.clone(), desktop.chromium.clone()]);
            processes.extend(desktop.vnc.clone());
        }
        let boot = process::boot_id().unwrap_or_default();
        processes.retain(|process| process.boot_id == boot);
        Evidence { record, processes }
    }

    fn processes(&self, marked: &[Marked], known: &Known) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for Marked { session, identity, name } in marked {
            let (why, fixable) = match known.get(session) {
                Some(row) if !row.status.is_final() => continue,
                Some(row) => (ended(row), true),
                None if self.directory(*session).path().exists() => (NO_ROW.to_owned(), false),
                // Another server's, which has its own ledger.
                None => continue,
            };
            let what = format!("process {} ({name})", identity.pid);
            let since = process::started_at(identity.start_time).map(DateTime::<Utc>::from);
            let remedy = if fixable { "it is closed, or else killed" } else { LEFT_ALONE };
            let leak = |kind, what| Leak {
                kind,
                what,
                session: Some(*session),
                run: None,
                since,
                why: why.clone(),
                fixable,
                remedy: remedy.to_owned(),
            };
            leaks.push(leak(LeakKind::Process, what));
            let ports = process::listened_to(identity.pid).into_iter();
            let by = |port| format!("port {port}, of process {} ({name})", identity.pid);
            leaks.extend(ports.map(|port| leak(LeakKind::Port, by(port))));
        }
        leaks
    }

    fn directory_leaks(&self, known: &Known) -> Vec<Leak> {
        let leak = |session: SessionId| {
            let directory = self.directory(session);
            let path = directory.path();
            let (why, fixable) = match known.get(&session) {
                Some(row) if !row.status.is_final() => return None,
                Some(row) => (ended(row), true),
                None => (NO_ROW.to_owned(), false),
            };
            let left = directory.remains();
            if left.is_empty() {
                return None;
            }
            let remedy = match fixable {
                true => "secrets and scratch are removed, and the profile unless it is kept",
                false => LEFT_ALONE,
            };
            Some(Leak {
                kind: LeakKind::Directory,
                what: format!("{} ({})", path.display(), left.join(", ")),
                session: Some(session),
                run: None,
                since: modified(path),
                why,
                fixable,
                remedy: remedy.to_owned(),
            })
        };
        self.directories.named().into_iter().filter_map(leak).collect()
    }

    fn groups(&self, known: &Known) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for base in &self.groups {
            for session in named(base, GROUP) {
                // Other servers may have groups here too.
                let Some(row) = known.get(&session).filter(|row| row.status.is_final()) else {
                    continue;
                };
                let path = base.join(format!("{GROUP}{session}"));
                leaks.push(Leak {
                    kind: LeakKind::ControlGroup,
                    what: path.display().to_string(),
                    session: Some(session),
                    run: None,
                    since: modified(&path),
                    why: ended(row),
                    fixable: true,
                    remedy: "what runs in it is killed, and it is removed".to_owned(),
                });
            }
        }
        leaks
    }

    /// Removes what [`leaks`](Self::leaks) found and the end of its session has not removed.
    /// Everything is looked at again before.
    pub async fn remove(&self, known: &Known, path: &str) {
        for leak in self.leaks(known).into_iter().filter(|leak| leak.fixable) {
            match leak.kind {
                LeakKind::DisplayLock | LeakKind::DisplaySocket => displays::remove(&leak),
                LeakKind::SharedMemory => memory::remove(&leak, path).await,
                LeakKind::ControlGroup => {
                    let _ = super::limits::Group::at(leak.what.into()).remove().await;
                }
                // The end of the session has done what can be done.
                LeakKind::Process | LeakKind::Port | LeakKind::Directory => {}
                // Not found here.
                LeakKind::Row | LeakKind::Artifact => {}
            }
        }
    }
}

/// The ports that are kept for no session: none of `live` has them, and every one of `live` is known
/// to have its own.
pub fn ports(ports: &Ports, live: &[SessionRecord], place: &Place) -> Vec<Leak> {
    let mut theirs = Vec::new();
    for row in live {
        let saved = place.directory(row.id).saved().ok().flatten();
        match (saved, row.status) {
            (Some(saved), SessionStatus::Running) => theirs.push(saved.identity.vnc_port),
            // It is coming up, or being brought back: whose port is whose is not known.
            _ => return Vec::new(),
        }
    }
    let kept = ports.taken().into_iter().filter(|port| !theirs.contains(port));
    kept.map(|port| Leak {
        kind: LeakKind::Port,
        what: format!("port {port}, kept by the server"),
        session: None,
        run: None,
        since: None,
        why: "no session has it".to_owned(),
        fixable: false,
        remedy: "it is free again when the server is restarted".to_owned(),
    })
    .collect()
}

/// What the name of a session's control group begins with.
pub(super) const GROUP: &str = "session-";

/// The sessions that name something in a folder.
fn named(folder: &Path, prefix: &str) -> Vec<SessionId> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let session = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()
    };
    entries.filter_map(session).collect()
}

fn ended(row: &SessionRecord) -> String {
    match row.completed_at {
        Some(at) => format!("its session ended at {} as {}", at.to_rfc3339(), row.status),
        None => format!("its session has ended as {}", row.status),
    }
}

fn modified(path: &Path) -> Option<DateTime<Utc>> {
    made(path).map(DateTime::from)
}

fn made(path: &Path) -> Option<SystemTime> {
    path.symlink_metadata().ok()?.modified().ok()
}
