//! Detection of hangs: a display or browser that does not answer, a process that a signal has stopped.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Kept, Watch, zygotes};
use crate::domain::session::Failure;
use crate::system::browser;
use crate::system::cdp::Connection;
use crate::system::display::{self, COOKIE_NAME, Cookie};
use crate::system::process::{Member, Process};
use crate::system::settings::Settings;

/// A part that a signal has stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    Display,
    Browser,
    /// A process below the browser. The browser replaces it, except the process of a page.
    Member(Member),
}

impl Watch {
    /// Checks that everything answers, and ends the parts that do not.
    pub(super) async fn check(
        &mut self,
        connection: Option<&Connection>,
        used: &watch::Receiver<bool>,
    ) {
        let Some(hang) = self.hang().filter(|_limit| *used.borrow()) else { return };
        if self.kept.chromium.is_paused() {
            return; // Its profile is being packed.
        }
        self.kept.vnc.kill_if_stopped();
        // A process that was stopped only briefly continues before the next check.
        let stopped = self.stopped();
        let (still, new): (Vec<_>, Vec<_>) =
            stopped.into_iter().partition(|stopped| self.suspects.contains(stopped));
        let suspicious = !still.is_empty() || !new.is_empty();
        self.suspects = new;
        for stopped in still {
            self.end_stopped(stopped);
        }
        if suspicious {
            return;
        }
        let Kept { xvfb, chromium, vnc, .. } = &self.kept;
        let (display, devtools) =
            tokio::join!(timeout(hang, answers(self.kept.display, &self.kept.cookie)), async {
                match connection {
                    Some(connection) => {
                        let asked = connection.call(None, "Browser.getVersion", json!({}));
                        timeout(hang, asked).await.is_ok()
                    }
                    // No connection could be made. The end of the browser may explain that.
                    None => true,
                }
            });
        // A display that refuses the connection has ended, which its process reports.
        if display.is_err() {
            self.end(xvfb, display::stage(vnc.is_the_display()).hung(xvfb, hang));
        } else if !devtools {
            self.end(chromium, browser::STAGE.hung(chromium, hang));
        } else if let Some(connection) = connection {
            self.check_pages(connection).await;
        }
    }

    /// Ends scripts of pages that do not pause.
    async fn check_pages(&mut self, connection: &Connection) {
        let seconds = self.kept.settings.page_hang_seconds;
        if seconds == 0 {
            return;
        }
        let Self { kept, busy, pages, .. } = self;
        let limit = Duration::from_secs(seconds);
        for repair in busy.check(connection, &kept.chromium, pages, limit).await {
            kept.repairs.report(repair);
        }
    }

    fn stopped(&self) -> Vec<Stopped> {
        let Kept { xvfb, chromium, .. } = &self.kept;
        let display = xvfb.is_stopped().then_some(Stopped::Display);
        let browser = chromium.is_stopped().then_some(Stopped::Browser);
        let members = chromium.stopped_members().into_iter().map(Stopped::Member);
        display.into_iter().chain(browser).chain(members).collect()
    }

    fn end_stopped(&self, stopped: Stopped) {
        let Kept { xvfb, chromium, vnc, settings, .. } = &self.kept;
        let display = display::stage(vnc.is_the_display());
        match stopped {
            Stopped::Display => self.end(xvfb, display.hung(xvfb, every(settings))),
            Stopped::Browser => self.end(chromium, browser::STAGE.hung(chromium, every(settings))),
            // A browser without zygotes shows no new page, and starts no other zygote.
            Stopped::Member(member) if member.role == zygotes::ROLE => {
                self.end(chromium, browser::STAGE.hung(chromium, every(settings)));
            }
            Stopped::Member(member) => {
                tracing::warn!(
                    "a process of the browser was stopped, and is ended: {}",
                    member.role
                );
                chromium.kill_member(&member);
            }
        }
    }

    /// Ends a browser that can start no more processes and therefore no pages.
    pub(super) fn end_barren(&self) {
        let chromium = &self.kept.chromium;
        let part = "the process that starts its pages";
        self.end(chromium, browser::STAGE.broken(chromium, part));
    }

    fn end(&self, process: &Process, why: Failure) {
        if !process.has_exited() {
            *self.hung.lock() = Some(why);
            process.kill_now();
        }
    }
}

/// The time between two checks.
pub(super) fn every(settings: &Settings) -> Duration {
    Duration::from_secs(settings.probe_seconds.max(1))
}

/// Resolves when the X server has answered a client's first bytes, as described in section 8 of the
/// X11 protocol.
async fn answers(display: u16, cookie: &Cookie) -> io::Result<()> {
    const LITTLE_ENDIAN_VERSION_11_0: [u8; 6] = [b'l', 0, 11, 0, 0, 0];
    const NAME_AND_COOKIE_LENGTH: [u8; 6] = [18, 0, 16, 0, 0, 0];
    const PADDING: [u8; 2] = [0, 0];
    let mut stream = UnixStream::connect(display::socket(display)).await?;
    let hello = [
        LITTLE_ENDIAN_VERSION_11_0.as_slice(),
        &NAME_AND_COOKIE_LENGTH,
        COOKIE_NAME,
        &PADDING,
        cookie,
    ];
    stream.write_all(&hello.concat()).await?;
    stream.read_exact(&mut [0; 8]).await.map(drop)
}
