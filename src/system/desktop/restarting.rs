//! Recovery of the ended parts of a desktop.
//!
//! ```text
//! X server gone:  end the browser --> X server, same number --> VNC server, if it has seats --+
//!                                                                                             |
//! browser gone:   end what is left of it -----------------------------------------------------+
//!                                                                                             v
//!                                     browser, same profile --> cookies --> tabs --> desktop.json
//! ```

use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::directory::Saved;
use super::emulation::Emulation;
use super::managed::managed;
use super::memory::{FirstTab, Memory};
use super::networking::{self, Found};
use super::running::LiveDesktop;
use crate::domain::session::{Failure, FilesLevel};
use crate::system::browser::{self, First};
use crate::system::display;
use crate::system::egress::Way;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::process::{Process, sweep_leaders};
use crate::system::settings::VncProgram;
use crate::system::{vnc, windows};

/// The time for a browser to end by itself after its display has ended.
const FOLLOWS: Duration = Duration::from_secs(1);

/// The outcome of a recovery.
#[derive(Debug)]
pub(super) struct Rebuilt {
    /// A text that names the losses.
    pub(super) lost: String,
    /// True if the traces of occupants were removed, because the desktop was marked.
    pub(super) is_cleared: bool,
}

impl LiveDesktop {
    /// Recovers the desktop. After a failure all started processes are among the parts, so that they
    /// are ended with them or by the next attempt.
    pub(super) async fn restart_parts(
        &mut self,
        call_off: &CancellationToken,
    ) -> Result<Rebuilt, Failure> {
        let displays = Mutex::new(Vec::new());
        let outcome = tokio::select! {
            biased;
            () = call_off.cancelled() => {
                Err(failure("desktop", "recovery_called_off", "the recovery was canceled".to_owned()))
            }
            outcome = self.rebuild(&displays) => outcome,
        };
        let made = &mut self.made;
        made.parts.displays.extend(displays.into_inner());
        if outcome.is_err()
            && let Some(chromium) = &made.parts.chromium
        {
            chromium.kill_now();
        }
        outcome
    }

    /// Ends processes that carry this session's marker and are none of its parts: a previous server
    /// had started but not recorded them when it was killed. They would block the display, the port
    /// or the profile.
    pub(super) async fn end_strays(&self) {
        let made = &self.made;
        let known = made.parts.displays.iter().chain(&made.parts.chromium);
        let known = known.chain([&made.xvfb, &made.chromium]);
        let mut known: Vec<i32> = known.map(|process| process.identity().pid).collect();
        known.extend(made.vnc.numbers());
        known.extend(made.parts.way.as_ref().and_then(Way::number));
        let (ended, left) = sweep_leaders(made.parts.session, &known).await;
        for line in left.into_iter().chain(display::remove_remains(&ended)) {
            tracing::warn!("{line}");
        }
    }

    async fn rebuild(&mut self, displays: &Mutex<Vec<Process>>) -> Result<Rebuilt, Failure> {
        self.end_strays().await;
        let display_is_new = self.made.xvfb.has_exited();
        if display_is_new {
            self.display(displays).await?;
        }
        let rebuilt = self.browser().await?;
        self.renew(display_is_new);
        Ok(rebuilt)
    }

    async fn display(&mut self, displays: &Mutex<Vec<Process>>) -> Result<(), Failure> {
        let made = &mut self.made;
        let settings = std::sync::Arc::clone(&made.parts.settings);
        if !made.chromium.gone_within(FOLLOWS).await {
            made.chromium.kill().await;
        }
        for xvfb in std::mem::take(&mut made.parts.displays) {
            xvfb.kill().await;
            for line in display::remove_remains(&[xvfb.identity().pid]) {
                tracing::warn!("{line}");
            }
        }
        let number = made.identity.display_number;
        if let Some(line) = display::remove_dead_socket(number) {
            tracing::warn!("{line}");
        }
        made.record.vnc_gone();
        let is_vnc = made.vnc.is_the_display();
        let directory = &made.parts.directory;
        let password_file = directory.vnc_password();
        let start = display::Start {
            session: made.parts.session,
            size: made.order.spec.size,
            only: Some(number),
            authority: &directory.authority(),
            number: &directory.display_number(),
            log: &directory.log(display::stage(is_vnc).name),
            vnc: is_vnc.then_some(display::Rfb {
                port: made.identity.vnc_port,
                password_file: &password_file,
            }),
        };
        let started = |process: &Process| displays.lock().push(process.clone());
        let runtime = made.desktops.runtime().clone();
        let (_number, xvfb) = display::start(start, &settings, &runtime, started).await?;
        made.identity.xvfb = xvfb.identity().clone();
        made.identity.vnc = is_vnc.then(|| xvfb.identity().clone());
        made.xvfb = xvfb;
        made.windows = windows::fit(number, made.cookie);
        made.vnc.reset().await;
        Ok(())
    }

    async fn browser(&mut self) -> Result<Rebuilt, Failure> {
        let made = &mut self.made;
        // The rest of its process group must end before another browser uses the profile.
        for chromium in made.parts.chromium.take().into_iter().chain([made.chromium.clone()]) {
            chromium.kill().await;
        }
        let directory = made.parts.directory.clone();
        let settings = std::sync::Arc::clone(&made.parts.settings);
        let runtime = made.desktops.runtime().clone();
        if directory.is_single() {
            let server = match made.vnc.is_the_display() {
                true => VncProgram::Tigervnc,
                false => VncProgram::X11vnc,
            };
            let password_file = vnc::password::file(server, &made.vnc_password.text());
            let session = made.parts.session;
            let executable = made.order.spec.settings.executable.as_deref();
            let path = browser::locate(&settings, executable)?;
            let (desktops, cookie) = (&made.desktops, &made.cookie);
            let level = desktops.prepare(session, &directory, cookie, &password_file, &path)?;
            made.identity.files = Some(level);
        }
        let is_cleared = self.clear_if_marked().await?;
        let made = &mut self.made;
        let profile = directory.profile();
        directory
            .make_folders()
            .and_then(|()| browser::prepare(&directory, made.order.spec.size))
            .map_err(|cause| directory_failed(&profile, &cause))?;
        made.order.spec.settings = made.emulation.settings();
        let wanted = made.order.spec.settings.clone();
        directory
            .set_started_settings(&wanted)
            .map_err(|cause| directory_failed(directory.path(), &cause))?;
        let memory = Memory::read(&directory.memory());
        let path = browser::locate(&settings, wanted.executable.as_deref())?;
        let level = made.identity.files.unwrap_or(FilesLevel::None);
        let extensions = made.desktops.extended(&directory, &wanted, level).await?;
        // A desktop of an older server has no egress program until now.
        if made.parts.way.is_none() {
            made.parts.way = made.desktops.way(&made.order).await;
        }
        let network = networking::up(made.parts.way.as_ref()).await?;
        let is_separate = network.as_ref().is_some_and(Found::is_separate);
        let policies = managed(&directory, &wanted, &path, is_separate)?;
        made.desktops.certified(made.parts.session, &directory, &wanted).await?;
        let no_sandbox = made.desktops.no_sandbox(&path, &directory).await;
        made.identity.sandbox = Some(!no_sandbox);
        let start = browser::Start {
            session: made.parts.session,
            spec: &made.order.spec,
            first: if memory.is_some() || is_cleared { First::Nothing } else { First::Last },
            display: made.identity.display_number,
            authority: &directory.authority(),
            profile: &profile,
            home: &directory.home(),
            temporary: &directory.temporary(),
            downloads: &directory.downloads(),
            uploads: &directory.uploads(),
            extensions: &extensions,
            log: &directory.log("chromium"),
            no_sandbox,
            network: network.as_ref().map(Found::of_browser),
            policies: policies.as_ref(),
        };
        let chromium = browser::spawn(&path, &start, &settings, &runtime)?;
        made.parts.chromium = Some(chromium.clone());
        if let Some(way) = &made.parts.way {
            way.set_resident(chromium.identity());
        }
        let browser::Ready { devtools, .. } = browser::ready(&chromium, &start, &settings).await?;
        made.parts.devtools = Some(devtools.clone());
        // A page that was open before the logins asks a person for them now and then, in spite of them.
        let is_made = !wanted.http_credentials.is_empty() && wanted.locale.is_none();
        let first = if is_made { FirstTab::OfItsOwn } else { FirstTab::InPlace };
        made.emulation =
            Emulation::start(devtools.clone(), chromium.clone(), wanted.clone(), wanted, &runtime);
        // The pages must not load without it.
        made.emulation.in_force().await;
        let lost = match memory {
            Some(memory) => {
                let (opening, lost) = memory.restore(&devtools, first).await;
                made.opening.clone_from(&opening);
                let memory = Memory { network: None, opening, ..memory };
                let file = directory.memory();
                memory.write(&file).map_err(|cause| directory_failed(file.path(), &cause))?;
                lost
            }
            None if is_cleared => {
                made.opening.clear();
                "all data of its former occupant".to_owned()
            }
            None => {
                made.opening.clear();
                "changes that its profile had not stored".to_owned()
            }
        };

        made.identity.chromium = chromium.identity().clone();
        if let Some(network) = network {
            made.record.egress_started(&network.identity);
            made.identity.egress = Some(network.identity);
        }
        made.identity.devtools = devtools.address;
        made.identity.devtools_path = devtools.path;
        made.chromium = chromium;
        let saved = Saved {
            session: made.parts.session,
            identity: made.identity.clone(),
            vnc_password: made.vnc_password.reveal(),
            rotation: made.vnc_password.rotation(),
            cookie: Some(Saved::digits(&made.cookie)),
        };
        let saved = made.record.up(saved);
        made.identity = saved.map_err(|cause| directory_failed(directory.path(), &cause))?;
        self.unmark()?;
        Ok(Rebuilt { lost, is_cleared })
    }
}
