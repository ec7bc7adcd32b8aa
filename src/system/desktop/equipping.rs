//! The use of a desktop that has waited in the pool, by the session that it is given to.
//!
//! ```text
//! directory, file `pooled` --> launched --> waits --> `pooled` without a shape --> network --> settings
//!          --> storage state, start page --> desktop.json --> no `pooled`
//! ```
//!
//! As long as the file `pooled` exists, the desktop has not all that a session asked for. If it names a shape, the
//! desktop has nothing of a session yet, and a server that finds it after a crash can take it into its pool.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, absent, replace};
use super::emulation::{self, CONNECTING};
use super::first_state::FirstState;
use super::memory::first_page;
use super::networking;
use super::running::LiveDesktop;
use crate::domain::session::{Failure, StartKind};
use crate::system::cdp::Devtools;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::seam::{Desktop, Egress as _, Order, RestartFailed, Stages};

impl Directory {
    pub(super) fn pooled_file(&self) -> PathBuf {
        self.path().join("pooled")
    }

    /// Marks the desktop of this directory as one of the pool's, in the shape that `text` names.
    ///
    /// # Errors
    ///
    /// The error of the file system.
    pub(super) fn mark_pooled(&self, text: &str) -> io::Result<()> {
        replace(&self.pooled_file(), text.as_bytes())
    }

    /// Removes the mark of a desktop that belongs to a session.
    ///
    /// # Errors
    ///
    /// The error of the file system.
    pub(super) fn unmark_pooled(&self) -> io::Result<()> {
        absent(std::fs::remove_file(self.pooled_file()))
    }

    /// The text with which the desktop was marked; none if it belongs to a session. A mark that cannot be read is
    /// one without a shape.
    pub fn pooled(&self) -> Option<String> {
        match std::fs::read_to_string(self.pooled_file()) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.unwrap_or_default()),
        }
    }
}

impl LiveDesktop {
    pub(super) async fn equip_now(
        mut self: Box<Self>,
        order: Order,
        call_off: CancellationToken,
    ) -> Result<Box<dyn Desktop>, RestartFailed> {
        let began = Instant::now();
        let equipped = tokio::select! {
            biased;
            () = call_off.cancelled() => {
                let message = "the start of the session was canceled".to_owned();
                Err(failure("desktop", "equipping_called_off", message))
            }
            equipped = self.equipped(order) => equipped,
        };
        match equipped {
            Ok(()) => {
                self.made.stages = Stages::one("equip", began.elapsed());
                Ok(self)
            }
            Err(failure) => Err(RestartFailed { failure, desktop: Some(self) }),
        }
    }

    async fn equipped(&mut self, order: Order) -> Result<(), Failure> {
        let directory = self.made.parts.directory.clone();
        if self.made.xvfb.has_exited() || self.made.chromium.has_exited() {
            let message = "a program of the desktop has ended".to_owned();
            return Err(failure("desktop", "desktop_died", message));
        }
        let mark = |marked: io::Result<()>| {
            marked.map_err(|cause| directory_failed(&directory.pooled_file(), &cause))
        };
        mark(directory.mark_pooled(""))?;
        // The network first: from here on, the browser does what the session asks of it.
        if let Some(way) = &self.made.parts.way {
            let applied = way.apply(networking::asked(&order)).await;
            applied.map_err(|cause| failure("egress", "egress_failed", cause.to_string()))?;
        }
        if order.spec.settings != self.made.order.spec.settings {
            self.made.emulation.apply(order.spec.settings.clone()).await;
        }
        let is_plain = order.spec.start_url.is_none() && order.storage_state.is_none();
        if !is_plain {
            let devtools = Devtools::of(&self.made.identity);
            let state = FirstState { restored: None, storage_state: order.storage_state.clone() };
            let page = page_of(&devtools).await?;
            // It writes the same record of tabs and cookies.
            self.keeper.stop().await;
            if let (Some(url), None) = (&order.spec.start_url, &order.storage_state) {
                emulation::navigate(&devtools, &page, url.as_str(), &self.runtime).await;
            }
            self.made.opening = state.open(&order.spec, page, &devtools, &directory).await?;
        }
        self.made.order = order;
        let given = self.made.record.given(StartKind::Warm);
        let given = given.map_err(|cause| directory_failed(directory.path(), &cause))?;
        self.made.identity = given.unwrap_or_else(|| self.made.identity.clone());
        mark(directory.unmark_pooled())?;
        if !is_plain {
            self.renew_keeper();
        }
        Ok(())
    }
}

/// The empty page that the browser of the pool shows.
async fn page_of(devtools: &Devtools) -> Result<String, Failure> {
    let page = timeout(CONNECTING, first_page(devtools)).await;
    let page = page.map_err(|_late| "it does not answer".to_owned());
    let page = page.and_then(|read| read.map_err(|cause| cause.to_string()));
    let missing =
        |cause| failure("chromium", "page_missing", format!("the browser's page: {cause}"));
    page.map_err(missing)?.ok_or_else(|| missing("it has none".to_owned()))
}
