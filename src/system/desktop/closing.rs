//! How a desktop ends, whole or half made.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Files;
use super::directory::Directory;
use crate::domain::ids::SessionId;
use crate::domain::session::DesktopIdentity;
use crate::system::browser::{self, Devtools};
use crate::system::display;
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
        }
    }

    /// Ends everything: the last started first. Resolves with a line for each thing that is
    /// still there.
    pub(super) async fn end(self) -> Vec<String> {
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
        for xvfb in &self.displays {
            left.extend(display::remove_remains(xvfb.identity().pid));
        }
        left.extend(self.display_number.and_then(display::remove_dead_socket));
        drop(self.reservation);

        left.extend(clear(self.directory, self.settings.keep_directories).await);
        left
    }

    fn kill_now(&self) {
        self.chromium.iter().chain(&self.displays).for_each(Process::kill_now);
        if let Some(vnc) = &self.vnc {
            vnc.kill_now();
        }
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
        let path = identity.devtools_path.clone();
        let devtools = Devtools { address: identity.devtools, path };
        let _ = tokio::time::timeout(grace, browser::ask(&devtools)).await;
        process::ended_within(&identity.chromium, grace).await;
    }
    let mut left = process::sweep(session).await;
    // After a boot, these numbers are those of others.
    let same_boot = |identity: &DesktopIdentity| {
        process::boot_id().is_ok_and(|boot| boot == identity.xvfb.boot_id)
    };
    if let Some(identity) = saved.filter(same_boot) {
        left.extend(display::remove_remains(identity.xvfb.pid));
        left.extend(display::remove_dead_socket(identity.display_number));
        let creators: Vec<i32> = identity.vnc.iter().map(|vnc| vnc.pid).collect();
        left.extend(sweep_segments(&creators, &settings.path).await);
    }
    left.extend(clear(directory, keep).await);
    left
}

/// Removes what a desktop that has ended no longer needs of its directory.
async fn clear(directory: Directory, keep: bool) -> Option<String> {
    let path = directory.path().to_owned();
    let cleared = tokio::task::spawn_blocking(move || {
        let locks = browser::remove_remains(&directory.profile());
        locks.and(directory.clear(keep))
    });
    let cause = match cleared.await {
        Ok(Ok(())) => return None,
        Ok(Err(cause)) => cause.to_string(),
        Err(cause) => cause.to_string(),
    };
    Some(format!("{} could not be cleared: {cause}", path.display()))
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
