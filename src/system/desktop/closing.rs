//! How a desktop ends, whole or half made.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Files;
use super::directory::Directory;
use crate::domain::ids::SessionId;
use crate::domain::session::ProcessIdentity;
use crate::system::browser;
use crate::system::cdp::Devtools;
use crate::system::display;
use crate::system::egress::Way;
use crate::system::limits::Group;
use crate::system::process::{self, Process};
use crate::system::settings::Settings;
use crate::system::vnc::{Reservation, Server, sweep_segments};

/// What there is of a desktop, in the order in which it came.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) session: SessionId,
    pub(super) directory: Directory,
    pub(super) settings: Arc<Settings>,
    /// The port, until the VNC server has it.
    pub(super) reservation: Option<Reservation>,
    /// Every X server that was tried; the last one may be the display.
    pub(super) displays: Vec<Process>,
    /// Once the X server has said it.
    pub(super) display_number: Option<u16>,
    pub(super) chromium: Option<Process>,
    pub(super) devtools: Option<Devtools>,
    pub(super) vnc: Option<Arc<dyn Server>>,
    /// The way to the network, where it has one of its own.
    pub(super) way: Option<Way>,
}

impl Parts {
    pub(super) fn new(session: SessionId, directory: Directory, settings: Arc<Settings>) -> Self {
        Self {
            session,
            directory,
            settings,
            reservation: None,
            displays: Vec::new(),
            display_number: None,
            chromium: None,
            devtools: None,
            vnc: None,
            way: None,
        }
    }

    /// Ends everything: the last started first. Resolves with a line for each thing that is
    /// still there.
    pub(super) async fn end(self) -> Vec<String> {
        let remains = Remains::of(self.session, &self.directory);
        let grace = self.settings.stop_grace();
        let mut left = Vec::new();
        let stays = |process: &Process, name: &str| {
            format!("process {} ({name}) does not end", process.identity().pid)
        };
        if let Some(chromium) = &self.chromium {
            let ended = match &self.devtools {
                Some(devtools) => browser::close(chromium, devtools, grace).await,
                None => chromium.stop(grace).await,
            };
            if !ended {
                left.push(stays(chromium, "chromium"));
            }
        }
        if let Some(way) = &self.way {
            left.extend(way.end().await);
        }
        let (within, beside): (Vec<_>, Vec<_>) =
            self.vnc.iter().partition(|vnc| vnc.is_the_display());
        for vnc in beside {
            left.extend(vnc.close().await);
        }
        for xvfb in &self.displays {
            if !xvfb.stop(grace).await {
                left.push(stays(xvfb, "the X server"));
            }
        }
        for vnc in within {
            left.extend(vnc.close().await);
        }
        left.extend(process::sweep(self.session).await);
        let servers = self.displays.iter().map(|xvfb| xvfb.identity().pid);
        left.extend(remains.remove(servers, self.display_number));
        drop(self.reservation);
        left.extend(ungroup(&self.directory).await);
        clear(self.directory, self.settings.keep_directories, left).await
    }

    fn kill_now(&self) {
        self.chromium.iter().chain(&self.displays).for_each(Process::kill_now);
        if let Some(vnc) = &self.vnc {
            vnc.kill_now();
        }
        if let Some(way) = &self.way {
            way.kill_now();
        }
    }
}

/// The evidence of which locks and sockets of displays are a session's. It is complete also for a
/// launch that was cut off before it had written `desktop.json`.
struct Remains {
    /// Those that carried the marker, before any of them was ended.
    marked: Vec<ProcessIdentity>,
    /// The displays that one of them served.
    displays: Vec<u16>,
    /// Those that were ever started for the session.
    started: Vec<ProcessIdentity>,
}

impl Remains {
    /// Reads `/proc` and the records of the session, so before anything is ended or removed.
    fn of(session: SessionId, directory: &Directory) -> Self {
        let roots = [directory.path(), directory.own()];
        let roots = roots.map(|path| path.parent().unwrap_or(path).to_owned());
        let marked = process::marked(&roots).into_iter().filter(|one| one.session == session);
        let marked: Vec<_> = marked.map(|one| one.identity).collect();
        let mut displays: Vec<u16> =
            marked.iter().flat_map(|one| display::served_by(one.pid)).collect();
        let boot = process::boot_id().unwrap_or_default();
        let mut started = process::started(&directory.started());
        started.retain(|one| one.boot_id == boot);
        // Without a process of this boot, the number in the file is that of another boot.
        if !started.is_empty() {
            displays.extend(display::number_in(&directory.display_number()));
        }
        Self { marked, displays, started }
    }

    /// Removes what is left of the displays, once everything has ended: of these X servers, of this
    /// display, and of all that the evidence names. Says what could not be removed.
    fn remove(&self, servers: impl IntoIterator<Item = i32>, display: Option<u16>) -> Vec<String> {
        let mut servers: Vec<i32> = servers.into_iter().collect();
        let known = self.marked.iter().chain(&self.started);
        servers.extend(known.filter(|one| !process::is_alive(one)).map(|one| one.pid));
        let mut displays: Vec<u16> = self.displays.iter().copied().chain(display).collect();
        displays.sort_unstable();
        displays.dedup();
        let mut left = display::remove_remains(&servers);
        left.extend(displays.into_iter().filter_map(display::remove_dead_socket));
        left
    }

    /// The processes that carried the marker and have ended.
    fn ended(&self) -> impl Iterator<Item = i32> {
        self.marked.iter().filter(|one| !process::is_alive(one)).map(|one| one.pid)
    }
}

/// Ends what a former server left running of a session, by what `desktop.json` and the marker
/// say. Resolves with a line for each thing that is still there.
pub(super) async fn end_remains(
    session: SessionId,
    directory: Directory,
    settings: Arc<Settings>,
    files: Files,
) -> Vec<String> {
    let keep = settings.keep_directories || files == Files::Kept;
    let remains = Remains::of(session, &directory);
    let grace = settings.stop_grace();
    let saved = match directory.saved() {
        Ok(saved) => saved.map(|saved| saved.identity),
        Err(cause) => {
            tracing::warn!(session.id = %session, error = %cause, "desktop.json cannot be read");
            None
        }
    };
    if let Some(identity) = &saved
        && process::is_ours(&identity.chromium, session)
    {
        let devtools = Devtools::of(identity);
        let _ = tokio::time::timeout(grace, browser::ask(&devtools)).await;
        process::ended_within(&identity.chromium, grace).await;
    }
    let mut left = process::sweep(session).await;
    // After a boot, these numbers are those of others.
    let boot = process::boot_id().unwrap_or_default();
    let saved = saved.filter(|identity| identity.xvfb.boot_id == boot);
    let server = saved.iter().map(|identity| identity.xvfb.pid);
    left.extend(remains.remove(server, saved.as_ref().map(|identity| identity.display_number)));
    let vnc = saved.iter().filter_map(|identity| identity.vnc.as_ref());
    let creators: Vec<i32> = vnc.map(|vnc| vnc.pid).chain(remains.ended()).collect();
    left.extend(sweep_segments(&creators, &settings.path).await);
    left.extend(ungroup(&directory).await);
    clear(directory, keep, left).await
}

/// Removes the session's control group, with whatever is still in it.
async fn ungroup(directory: &Directory) -> Option<String> {
    Group::named_in(&directory.group())?.remove().await
}

/// Removes what a desktop that has ended no longer needs of its directory, unless something is
/// left: then the directory says whose that is. Adds to what is left.
async fn clear(directory: Directory, keep: bool, mut left: Vec<String>) -> Vec<String> {
    let path = directory.path().to_owned();
    if !left.is_empty() {
        left.push(format!("{} is kept, which says whose all this is", path.display()));
        return left;
    }
    let cleared = tokio::task::spawn_blocking(move || {
        let locks = browser::remove_remains(&directory);
        locks.and(directory.clear(keep))
    });
    let cause = match cleared.await {
        Ok(Ok(())) => return left,
        Ok(Err(cause)) => cause.to_string(),
        Err(cause) => cause.to_string(),
    };
    left.push(format!("{} could not be cleared: {cause}", path.display()));
    left
}

/// Undoes what there is of a desktop when it is dropped, unless it was taken.
#[derive(Debug)]
pub(super) struct Undo {
    parts: Option<Parts>,
    runtime: Handle,
}

impl Undo {
    pub(super) fn new(parts: Parts, runtime: Handle) -> Self {
        Self { parts: Some(parts), runtime }
    }

    /// What there is, in order to add to it.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Parts)) {
        if let Some(parts) = &mut self.parts {
            note(parts);
        }
    }

    /// Disarms the guard.
    pub(super) fn take(&mut self) -> Option<Parts> {
        self.parts.take()
    }

    /// Undoes it now, and resolves when that is done.
    pub(super) async fn run(mut self) {
        if let Some(parts) = self.parts.take() {
            end(parts).await;
        }
    }
}

async fn end(parts: Parts) {
    let session = parts.session;
    for line in parts.end().await {
        tracing::error!(session.id = %session, "{line}");
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            // First what needs no runtime: it may be the one that ends.
            parts.kill_now();
            self.runtime.spawn(end(parts));
        }
    }
}
