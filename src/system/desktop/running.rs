//! A desktop that is up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::closing::Parts;
use super::{Desktop, Screen, VncServer};
use crate::domain::session::{DesktopIdentity, Failure};
use crate::system::browser;
use crate::system::capture::Capture;
use crate::system::display;
use crate::system::process::{Process, cut};
use crate::system::vnc::Seats;

/// How often the logs are looked at.
const LOGS: Duration = Duration::from_secs(15);

/// Real programs.
#[derive(Debug)]
pub(super) struct LiveDesktop {
    parts: Parts,
    identity: DesktopIdentity,
    xvfb: Process,
    chromium: Process,
    screen: Arc<Capture>,
    vnc: Arc<Seats>,
    runtime: Handle,
    /// Cancelled by `shut_down`, and by the drop: nobody is left to be told of a death.
    closing: CancellationToken,
    _dropped: DropGuard,
}

impl LiveDesktop {
    pub(super) fn new(
        parts: Parts,
        identity: DesktopIdentity,
        (xvfb, chromium): (Process, Process),
        screen: Capture,
        vnc: Seats,
        runtime: Handle,
    ) -> Self {
        let closing = CancellationToken::new();
        let logs = ["xvfb", "chromium", "x11vnc"].map(|program| parts.directory.log(program));
        let limit = parts.settings.log_limit_bytes;
        let ended = closing.clone();
        runtime.spawn(async move {
            while tokio::time::timeout(LOGS, ended.cancelled()).await.is_err() {
                for log in &logs {
                    // One that is not there yet is no larger than allowed.
                    let _ = cut(log, limit);
                }
            }
        });
        let (screen, vnc) = (Arc::new(screen), Arc::new(vnc));
        let dropped = closing.clone().drop_guard();
        Self { parts, identity, xvfb, chromium, screen, vnc, runtime, closing, _dropped: dropped }
    }
}

impl Desktop for LiveDesktop {
    fn identity(&self) -> &DesktopIdentity {
        &self.identity
    }

    fn death(&self) -> BoxFuture<'static, Failure> {
        let (xvfb, chromium) = (self.xvfb.clone(), self.chromium.clone());
        let closing = self.closing.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                () = closing.cancelled() => std::future::pending().await,
                // First of the two: the browser ends when its display does.
                exit = xvfb.exited() => display::STAGE.died(&xvfb, exit),
                exit = chromium.exited() => browser::STAGE.died(&chromium, exit),
            }
        })
    }

    fn screen(&self) -> Arc<dyn Screen> {
        self.screen.clone()
    }

    fn vnc(&self) -> Arc<dyn VncServer> {
        self.vnc.clone()
    }

    fn shut_down(self: Box<Self>) -> BoxFuture<'static, Vec<String>> {
        self.closing.cancel();
        let span = tracing::info_span!("shut_down", session.id = %self.parts.session);
        let work = self.runtime.spawn(self.parts.end().instrument(span));
        Box::pin(async move {
            work.await.unwrap_or_else(|cause| vec![format!("the end broke off: {cause}")])
        })
    }
}
