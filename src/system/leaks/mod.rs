//! The machine's side of the leak ledger: the remains of ended sessions.
//!
//! Ownership is established by evidence, never by similarity:
//!
//! 1. A process, by its marker, and by the row of the session that the marker names.
//! 2. The lock of a display and a segment of shared memory, by the pid of their creator. It must be
//!    on record as a process that this session started in this boot, and must have ended. If another
//!    process has that pid now and may have made the thing, that process counts as the creator.
//! 3. The socket of a display, by the number of the display and the time at which it was made.
//!
//! A session without a row may belong to another database: it is reported, and left alone.

mod archives;
mod artifacts;
mod displays;
mod memory;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

pub use archives::{archives, archives_among, description_of, profile_of};
pub use artifacts::{Stored, Table, artifact_of, artifacts, remove_artifact, run_of, session_of};

use super::desktop::{Directories, Directory};
use super::process::{self, Marked};
use super::vnc::Ports;
use crate::domain::ids::SessionId;
use crate::domain::leak::{Leak, LeakKind};
use crate::domain::session::{ProcessIdentity, SessionRecord, SessionStatus};

/// The rows of the examined sessions. Only those of this node.
pub type Known = HashMap<SessionId, SessionRecord>;

const NO_ROW: &str = "this database has no such session; another database may have it";
const LEFT_ALONE: &str = "left alone: it may belong to another database";

/// The locations in which sessions of one data directory leave traces.
#[derive(Debug, Clone)]
pub struct LeakLocations {
    /// The directories of the sessions.
    pub directories: Directories,
    /// The parent directories of sessions' control groups, if there are any.
    pub groups: Vec<PathBuf>,
}

/// The recorded processes of an ended session.
struct Evidence<'a> {
    record: &'a SessionRecord,
    /// Every process that is known to have been started for the session, in this boot.
    processes: Vec<ProcessIdentity>,
}

impl LeakLocations {
    fn directory(&self, session: SessionId) -> Directory {
        self.directories.of(session)
    }

    fn marked(&self) -> Vec<Marked> {
        process::marked(&self.directories.roots())
    }

    /// The sessions with any trace here, ended or not, whose rows are needed.
    pub fn suspects(&self) -> Vec<SessionId> {
        let mut found = self.directories.named();
        found.extend(self.marked().into_iter().map(|marked| marked.session));
        found.extend(self.groups.iter().flat_map(|base| named(base, GROUP)));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The remains of ended sessions. Reads `/proc`, `/tmp` and the directories, and therefore blocks.
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
                // The process of another server, which has its own ledger.
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
                    remedy: "its processes are killed, and it is removed".to_owned(),
                });
            }
        }
        leaks
    }

    /// Removes the remains that [`leaks`](Self::leaks) finds and the end of their session has not
    /// removed. Each is checked again before.
    pub async fn remove(&self, known: &Known, path: &str) {
        for leak in self.leaks(known).into_iter().filter(|leak| leak.fixable) {
            match leak.kind {
                LeakKind::DisplayLock | LeakKind::DisplaySocket => displays::remove(&leak),
                LeakKind::SharedMemory => memory::remove(&leak, path).await,
                LeakKind::ControlGroup => {
                    let _ = super::limits::Group::at(leak.what.into()).remove().await;
                }
                // The end of the session has tried to remove these.
                LeakKind::Process | LeakKind::Port | LeakKind::Directory => {}
                // These kinds are not found here.
                LeakKind::Row | LeakKind::Artifact => {}
            }
        }
    }
}

/// The ports that are reserved for no session: no session of `live` has them, and the port of each
/// session of `live` is known.
pub fn ports(ports: &Ports, live: &[SessionRecord], place: &LeakLocations) -> Vec<Leak> {
    let mut theirs = Vec::new();
    for row in live {
        let saved = place.directory(row.id).saved().ok().flatten();
        match (saved, row.status) {
            (Some(saved), SessionStatus::Running) => theirs.push(saved.identity.vnc_port),
            // The session is starting or being recovered, so the owners of ports are not known.
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

/// The name prefix of a session's control group.
pub(super) const GROUP: &str = "session-";

/// The sessions that are named by entries of a folder.
fn named(folder: &Path, prefix: &str) -> Vec<SessionId> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let session = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()
    };
    entries.filter_map(session).collect()
}

/// The time from which a session may have had programs: those of the pool run before it is created.
fn began(row: &SessionRecord) -> DateTime<Utc> {
    row.created_at.min(row.id.minted_at())
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
