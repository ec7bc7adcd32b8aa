//! How a desktop ends, whole or half made.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::directory::Directory;
use crate::domain::ids::SessionId;
use crate::system::browser::{self, Devtools};
use crate::system::display;
use crate::system::process::{self, Process};
use crate::system::settings::Settings;
use crate::system::vnc::{Reservation, Seats};

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
    pub(super) chromium: Option<Process>,
    pub(super) devtools: Option<Devtools>,
    pub(super) vnc: Option<Seats>,
}

impl Parts {
    pub(super) fn new(session: SessionId, directory: Directory, settings: Arc<Settings>) -> Self {
        Self {
            session,
            directory,
            settings,
            reservation: None,
            displays: Vec::new(),
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
        if let Some(vnc) = &self.vnc {
            left.extend(vnc.close().await);
        }
        for xvfb in &self.displays {
            if !xvfb.stop(grace).await {
                left.push(stays(xvfb, "xvfb"));
            }
        }
        left.extend(process::sweep(self.session).await);
        for xvfb in &self.displays {
            left.extend(display::remove_remains(xvfb.identity().pid));
        }
        drop(self.reservation);

        let Self { directory, settings, .. } = self;
        let cleared = tokio::task::spawn_blocking(move || {
            let locks = browser::remove_remains(&directory.profile());
            (locks.and(directory.clear(settings.keep_directories)), directory)
        });
        match cleared.await {
            Ok((Ok(()), _)) => (),
            Ok((Err(cause), directory)) => {
                left.push(format!("{} could not be cleared: {cause}", directory.path().display()));
            }
            Err(cause) => left.push(format!("the directory could not be cleared: {cause}")),
        }
        left
    }

    fn kill_now(&self) {
        self.chromium.iter().chain(&self.displays).for_each(Process::kill_now);
        if let Some(vnc) = &self.vnc {
            vnc.kill_now();
        }
    }
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
