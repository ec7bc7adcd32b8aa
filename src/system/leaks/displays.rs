//! Locks and sockets of X displays.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Evidence, Known, began, ended, made};
use crate::domain::leak::{Leak, LeakKind};
use crate::system::display::{self, LOCKS, SOCKETS};
use crate::system::process;

/// The tolerance between a session's times and those of its files: clocks are rounded, and rows are
/// stored a moment later.
const ROUNDED: Duration = Duration::from_secs(5);

/// The locks that name an ended process of an ended session.
pub(super) fn locks(evidence: &[Evidence<'_>]) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for (display, path) in numbered(Path::new(LOCKS), ".X", "-lock") {
        let Some((pid, at)) = display::holder(display) else { continue };
        // The process that has this pid now may have made the lock.
        if process::may_have_made(pid, at) {
            continue;
        }
        let whose = evidence
            .iter()
            .find(|of| of.processes.iter().any(|one| one.pid == pid && !process::is_alive(one)));
        if let Some(Evidence { record, .. }) = whose {
            leaks.push(Leak {
                kind: LeakKind::DisplayLock,
                what: path.display().to_string(),
                session: Some(record.id),
                run: None,
                since: Some(at.into()),
                why: format!("{}, and its process {pid} has ended", ended(record)),
                fixable: true,
                remedy: "the file is removed".to_owned(),
            });
        }
    }
    leaks
}

/// The sockets without a lock and without a listener that were made while an ended session had that
/// display.
pub(super) fn sockets(evidence: &[Evidence<'_>], known: &Known) -> Vec<Leak> {
    let live = |display: u16| {
        let desktops = known.values().filter(|row| !row.status.is_final());
        desktops.filter_map(|row| row.desktop.as_ref()).any(|has| has.display_number == display)
    };
    let mut leaks = Vec::new();
    for (display, path) in numbered(Path::new(SOCKETS), "X", "") {
        if live(display) || display::lock(display).exists() || is_heard(&path) {
            continue;
        }
        let Some(at) = made(&path) else { continue };
        let at = DateTime::<Utc>::from(at);
        let had_it = |of: &&Evidence<'_>| {
            let record = of.record;
            let desktop = record.desktop.as_ref();
            let until = record.completed_at.unwrap_or(record.modified_at);
            // With a recorded process of this boot, the display number is of this boot too.
            !of.processes.is_empty()
                && desktop.is_some_and(|desktop| desktop.display_number == display)
                && (began(record) - ROUNDED..=until + ROUNDED).contains(&at)
        };
        if let Some(Evidence { record, .. }) = evidence.iter().find(had_it) {
            leaks.push(Leak {
                kind: LeakKind::DisplaySocket,
                what: path.display().to_string(),
                session: Some(record.id),
                run: None,
                since: Some(at),
                why: format!("{}, and no process listens", ended(record)),
                fixable: true,
                remedy: "the file is removed".to_owned(),
            });
        }
    }
    leaks
}

/// Removes a file that was found here a moment ago.
pub(super) fn remove(leak: &Leak) {
    if let Err(cause) = fs::remove_file(&leak.what)
        && cause.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(error = %cause, "{} is not removed", leak.what);
    }
}

fn is_heard(socket: &Path) -> bool {
    let refused = |cause: io::Error| cause.kind() == io::ErrorKind::ConnectionRefused;
    !UnixStream::connect(socket).is_err_and(refused)
}

fn numbered(folder: &Path, prefix: &str, suffix: &str) -> Vec<(u16, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let numbered = entries.filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
        Some((number, entry.path()))
    });
    numbered.collect()
}
