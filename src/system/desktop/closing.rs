//! The end of a desktop, complete or partially started.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::directory::Directory;
use crate::domain::ids::SessionId;
use crate::domain::session::ProcessIdentity;
use crate::system::browser;
use crate::system::cdp::Devtools;
use crate::system::display;
use crate::system::egress::Way;
use crate::system::limits::Group;
use crate::system::process::{self, Process};
use crate::system::seam::{Files, PackAtEnd};
use crate::system::settings::Settings;
use crate::system::vnc::{Reservation, Server, sweep_segments};

/// The parts of a desktop, in the order of their start.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) session: SessionId,
    pub(super) directory: Directory,
    pub(super) settings: Arc<Settings>,
    /// The port, until the VNC server binds it.
    pub(super) reservation: Option<Reservation>,
    /// Every X server that was tried; the last one may be the display.
    pub(super) displays: Vec<Process>,
    /// Known once the X server has reported it.
    pub(super) display_number: Option<u16>,
    pub(super) chromium: Option<Process>,
    pub(super) devtools: Option<Devtools>,
    pub(super) vnc: Option<Arc<dyn Server>>,
    /// The desktop's egress program, if it has its own network.
    pub(super) way: Option<Way>,
    /// The request to pack the profile at the end.
    pub(super) at_end: Option<PackAtEnd>,
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
            at_end: None,
        }
    }

    /// Ends all parts. Resolves with a line for each thing that remains.
    pub(super) async fn end(mut self) -> Vec<String> {
        let remains = Remains::of(self.session, &self.directory);
        let mut left = Vec::new();
        let cookies = self.cookies_at_end().await;
        let is_kept = self.at_end.is_some() || self.settings.keep_directories;
        let (has_ended, others) = if is_kept {
            // It needs its display and its network until it has written its files.
            (self.end_browser(true).await, self.end_others().await)
        } else {
            // One that is killed has nothing to write.
            tokio::join!(self.end_browser(false), self.end_others())
        };
        if let (false, Some(chromium)) = (has_ended, &self.chromium) {
            left.push(stays(chromium, "chromium"));
        }
        left.extend(others);
        left.extend(process::sweep(self.session).await);
        let servers = self.displays.iter().map(|xvfb| xvfb.identity().pid);
        left.extend(remains.remove(servers, self.display_number));
        drop(self.reservation.take());
        self.keep_profile(cookies, has_ended).await;
        left.extend(ungroup(&self.directory).await);
        clear(self.directory, self.settings.keep_directories, left).await
    }

    /// Ends the browser, after it has written its files if they are kept. Resolves with `false` if it does not end.
    async fn end_browser(&self, is_kept: bool) -> bool {
        let Some(chromium) = &self.chromium else { return true };
        let grace = self.settings.stop_grace();
        match &self.devtools {
            _ if !is_kept => chromium.kill().await,
            Some(devtools) => browser::close(chromium, devtools, grace).await,
            None => chromium.stop(grace).await,
        }
    }

    /// Ends the other parts. Resolves with a line for each thing that remains.
    async fn end_others(&self) -> Vec<String> {
        let network = async {
            match &self.way {
                Some(way) => way.end().await,
                None => None,
            }
        };
        let (network, mut left) = tokio::join!(network, self.end_display());
        left.extend(network);
        left
    }

    /// Ends the VNC server and the display. Resolves with a line for each thing that remains.
    async fn end_display(&self) -> Vec<String> {
        let grace = self.settings.stop_grace();
        let mut left = Vec::new();
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
        left
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

fn stays(process: &Process, name: &str) -> String {
    format!("process {} ({name}) does not end", process.identity().pid)
}

/// The evidence of which display locks and sockets belong to a session. It is complete even for a
/// launch that was interrupted before it had written `desktop.json`.
struct Remains {
    /// The processes that carried the marker, before any of them was ended.
    marked: Vec<ProcessIdentity>,
    /// The displays that one of these processes served.
    displays: Vec<u16>,
    /// The processes that were ever started for the session.
    started: Vec<ProcessIdentity>,
}

impl Remains {
    /// Reads `/proc` and the records of the session. Called before anything is ended or removed.
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
        // Without a recorded process of this boot, the file's number is from another boot.
        if !started.is_empty() {
            displays.extend(display::number_in(&directory.display_number()));
        }
        Self { marked, displays, started }
    }

    /// Removes the remains of displays, once everything has ended: those of these X servers, of
    /// this display, and of all that the evidence names. Returns a line for each thing that could
    /// not be removed.
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

/// Ends the processes that a previous server left of a session, as found by `desktop.json` and the
/// marker. Resolves with a line for each thing that remains.
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
    // After a reboot, the recorded pids belong to other processes.
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

/// Removes the session's control group, and kills the processes in it.
async fn ungroup(directory: &Directory) -> Option<String> {
    Group::named_in(&directory.group())?.remove().await
}

/// Removes the parts of a directory that an ended desktop no longer needs. If something is left,
/// the directory stays, because it records the owner. Appends to the lines of what is left.
async fn clear(directory: Directory, keep: bool, mut left: Vec<String>) -> Vec<String> {
    let path = directory.path().to_owned();
    let _ = directory.unmark_pooled(); // Without its desktop, the mark names nothing.
    if !left.is_empty() {
        left.push(format!("{} is kept, because it names the owner of the rest", path.display()));
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

/// A guard that ends a partially started desktop when it is dropped, unless it was disarmed.
#[derive(Debug)]
pub(super) struct Undo {
    parts: Option<Parts>,
    runtime: Handle,
}

impl Undo {
    pub(super) fn new(parts: Parts, runtime: Handle) -> Self {
        Self { parts: Some(parts), runtime }
    }

    /// Adds to the recorded parts.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Parts)) {
        if let Some(parts) = &mut self.parts {
            note(parts);
        }
    }

    /// Disarms the guard and returns the parts.
    pub(super) fn take(&mut self) -> Option<Parts> {
        self.parts.take()
    }

    /// Ends the parts now, and resolves when that is done.
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
            // First the part that needs no runtime, because the runtime may be shutting down.
            parts.kill_now();
            self.runtime.spawn(end(parts));
        }
    }
}
