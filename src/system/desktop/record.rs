//! The changes of `desktop.json`.

use std::io;

use parking_lot::Mutex;

use super::directory::{Directory, Saved};
use crate::domain::egress::EgressIdentity;
use crate::domain::session::{DesktopIdentity, ProcessIdentity, StartKind};

/// Keeps `desktop.json` up to date: the VNC server may start before or after the desktop is up.
#[derive(Debug)]
pub(super) struct Record {
    directory: Directory,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    saved: Option<Saved>,
    vnc: Option<(ProcessIdentity, u16)>,
    egress: Option<EgressIdentity>,
    /// The VNC password that took the place of another one, and its rotation.
    vnc_password: Option<(String, i64)>,
}

impl State {
    fn merged(&mut self) -> Option<&Saved> {
        let saved = self.saved.as_mut()?;
        if let Some((process, port)) = &self.vnc {
            saved.identity.vnc = Some(process.clone());
            saved.identity.vnc_port = *port;
        }
        if let Some(egress) = &self.egress {
            saved.identity.egress = Some(egress.clone());
        }
        if let Some((password, rotation)) = &self.vnc_password {
            (saved.vnc_password, saved.rotation) = (password.clone(), *rotation);
        }
        Some(saved)
    }
}

impl Record {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, state: Mutex::default() }
    }

    /// Records the state that a previous server saved.
    pub(super) fn adopted(&self, saved: Saved) {
        self.state.lock().saved = Some(saved);
    }

    /// Records that the VNC server has ended for good, with its display.
    pub(super) fn vnc_gone(&self) {
        let mut state = self.state.lock();
        state.vnc = None;
        if let Some(saved) = &mut state.saved {
            saved.identity.vnc = None;
        }
    }

    /// Records that the desktop is up. Returns the identity that was written.
    pub(super) fn up(&self, saved: Saved) -> io::Result<DesktopIdentity> {
        let mut state = self.state.lock();
        state.saved = Some(saved);
        let saved = state.merged().ok_or(io::ErrorKind::NotFound)?;
        self.directory.save(saved)?;
        Ok(saved.identity.clone())
    }

    /// Records that the desktop was given to a session. Returns the identity that was written.
    pub(super) fn given(&self, start: StartKind) -> io::Result<Option<DesktopIdentity>> {
        let mut state = self.state.lock();
        let Some(saved) = &mut state.saved else { return Ok(None) };
        saved.identity.start = Some(start);
        let Some(saved) = state.merged() else { return Ok(None) };
        self.directory.save(saved)?;
        Ok(Some(saved.identity.clone()))
    }

    /// Records that a VNC server runs.
    pub(super) fn vnc_started(&self, process: &ProcessIdentity, port: u16) {
        self.change(|state| state.vnc = Some((process.clone(), port)));
    }

    /// The VNC password was replaced.
    pub(super) fn vnc_password(&self, password: String, rotation: i64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.vnc_password = Some((password, rotation));
        state.merged().map_or(Ok(()), |saved| self.directory.save(saved))
    }

    /// An egress program runs.
    pub(super) fn egress_started(&self, identity: &EgressIdentity) {
        self.change(|state| state.egress = Some(identity.clone()));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        if let Some(saved) = state.merged()
            && let Err(cause) = self.directory.save(saved)
        {
            tracing::error!(error = %cause, "desktop.json was not written");
        }
    }
}
