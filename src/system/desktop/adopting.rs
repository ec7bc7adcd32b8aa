//! Adoption of a desktop that a previous server has started.
//!
//! A process is identified as ours by its pid, its start time, the boot id of the machine and its
//! marker together. Adoption starts nothing: [`restarting`](super::restarting) restores missing parts.
//! Processes that the previous server had started but not recorded are ended there too, or here if
//! they are in the way.

use std::sync::Arc;

use secrecy::SecretString;

use super::closing::Parts;
use super::directory::{Directory, Saved};
use super::emulation::Emulation;
use super::launch::{Desktops, VncOrder};
use super::memory::Opening;
use super::record::Record;
use super::repairs::Repairs;
use super::running::{LiveDesktop, Made};
use super::sanitizing;
use crate::domain::ids::SessionId;
use crate::system::cdp::Devtools;
use crate::system::display;
use crate::system::process::{self, Process};
use crate::system::seam::{AdoptError, Order, Stages};
use crate::system::vnc::{Password, Server, Within};
use crate::system::windows;

fn broken(cause: impl ToString) -> AdoptError {
    AdoptError::Broken { cause: cause.to_string() }
}

fn saved(directory: &Directory, session: SessionId) -> Result<Saved, AdoptError> {
    let saved = directory.saved().map_err(broken)?.ok_or(AdoptError::NothingSaved)?;
    if saved.session != session {
        return Err(broken(format!("desktop.json is that of session {}", saved.session)));
    }
    if process::boot_id().map_err(broken)? != saved.identity.xvfb.boot_id {
        return Err(AdoptError::OtherBoot);
    }
    Ok(saved)
}

impl Desktops {
    /// Checks whether the records of a session's desktop can be read, without adopting it.
    ///
    /// # Errors
    ///
    /// Returns the reason why an adoption would fail for its records.
    pub fn check_adoption(&self, session: SessionId) -> Result<(), AdoptError> {
        saved(&self.directory(session), session).map(|_saved| ())
    }

    /// Adopts the running parts. Fast: it reads a few small files and `/proc`. Also returns true if
    /// an unrecorded VNC server seems to run.
    pub(super) fn adopt_order(&self, order: Order) -> Result<(LiveDesktop, bool), AdoptError> {
        let (settings, runtime) = (self.settings(), self.runtime());
        let session = order.session;
        let directory = self.directory(session);
        let mut saved = saved(&directory, session)?;
        directory.opened(&mut saved).map_err(broken)?;
        self.confine_again(&directory);
        let cookie = saved
            .cookie(&directory)
            .ok_or_else(|| broken("the cookie of the display is not on record"))?;
        let Saved { identity, vnc_password, rotation, cookie: digits, .. } = saved;
        let adopt =
            |identity, program| Process::adopt(identity, session, directory.log(program), runtime);
        // Determined by the recorded processes, not by the settings for new desktops.
        let is_vnc = identity.vnc.as_ref() == Some(&identity.xvfb);
        let xvfb = adopt(identity.xvfb.clone(), display::stage(is_vnc).name);
        let chromium = adopt(identity.chromium.clone(), "chromium");

        // A former server may have ended while it packed the profile of a browser that stood still.
        chromium.resume();
        if sanitizing::begun(&directory).is_some() {
            // The pages are a former occupant's; the recovery clears them first.
            chromium.kill_now();
        }

        let mut parts = Parts::new(session, directory.clone(), Arc::clone(settings));
        parts.displays.push(xvfb.clone());
        parts.display_number = Some(identity.display_number);
        parts.chromium = Some(chromium.clone());
        parts.devtools = Some(Devtools::of(&identity));
        let egress = identity.egress.as_ref();
        let way = egress.map(|egress| self.way_again(&order, egress, &identity.chromium));
        parts.way = way;

        let record = Arc::new(Record::new(directory.clone()));
        let vnc_password = Password::new(SecretString::from(vnc_password), rotation);
        let reservation = self.ports().claim(identity.vnc_port);
        let port_is_used = !reservation.is_held();
        let repairs = Repairs::new();
        let mut strays = false;
        let vnc: Arc<dyn Server> = if is_vnc {
            let reach = self.reach(&directory, identity.display_number);
            Arc::new(Within::new(vnc_password.clone(), reservation, reach))
        } else {
            let seat = VncOrder {
                session,
                display: identity.display_number,
                password: &vnc_password,
                record: &record,
                repairs: &repairs,
            };
            let seats = self.seats(seat, reservation);
            let server = identity.vnc.clone().map(|identity| adopt(identity, "x11vnc"));
            let lives = server.as_ref().is_some_and(|process| !process.has_exited());
            strays = port_is_used && !lives;
            // Adopted even if it has ended: its shared memory must still be removed.
            if let Some(process) = server {
                seats.adopt(process);
            }
            Arc::new(seats)
        };
        parts.vnc = Some(Arc::clone(&vnc));
        record.adopted(Saved {
            session,
            identity: identity.clone(),
            vnc_password: vnc_password.reveal(),
            rotation,
            cookie: digits,
        });
        let windows = windows::fit(identity.display_number, cookie);
        let emulation = Emulation::start(
            Devtools::of(&identity),
            chromium.clone(),
            directory.started_settings(),
            order.spec.settings.clone(),
            runtime,
        );
        let desktops = self.clone();
        let made = Made {
            desktops,
            order,
            parts,
            identity,
            record,
            cookie,
            vnc_password,
            xvfb,
            chromium,
            windows,
            vnc,
            repairs,
            downloads: self.downloads_of(session),
            opening: Opening::new(),
            emulation,
            stages: Stages::default(),
        };
        Ok((LiveDesktop::new(made, runtime.clone()), strays))
    }
}
