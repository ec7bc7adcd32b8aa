//! Looks after a browser and its display: remembers tabs and cookies, and notices what hangs.
//!
//! Tabs are told by events, and what they imply for cookies is read shortly after. Only while
//! somebody uses the desktop is it looked at regularly; otherwise nothing happens here until the
//! browser says something.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::memory::{Memory, is_worth_keeping};
use crate::domain::ids::SessionId;
use crate::domain::session::Failure;
use crate::system::browser;
use crate::system::cdp::{CdpEvent, Connection};
use crate::system::display::{self, COOKIE_NAME, Cookie};
use crate::system::process::Process;
use crate::system::settings::Settings;
use crate::system::vnc::Server;

/// How long after a page has moved its cookies are read: longer than a redirection takes.
const SETTLED: Duration = Duration::from_millis(300);

/// How long to wait before DevTools is connected to again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is looked after.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) session: SessionId,
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) xvfb: Process,
    pub(super) chromium: Process,
    pub(super) vnc: Arc<dyn Server>,
    pub(super) display: u16,
    pub(super) cookie: Cookie,
    pub(super) memory: PathBuf,
    pub(super) settings: Arc<Settings>,
}

type Hung = Arc<Mutex<Option<Failure>>>;

/// The looking after; the drop ends it.
#[derive(Debug)]
pub(super) struct Keeper {
    hung: Hung,
    _ended: DropGuard,
}

impl Keeper {
    pub(super) fn start(kept: Kept, used: watch::Receiver<bool>, runtime: &Handle) -> Self {
        let (ended, hung) = (CancellationToken::new(), Hung::default());
        let span = tracing::info_span!("keeper", session.id = %kept.session);
        let watch = Watch { kept, hung: Arc::clone(&hung), tabs: Vec::new(), known: None };
        let over = ended.clone();
        let work = async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = watch.run(used) => {}
            }
        };
        runtime.spawn(work.instrument(span));
        Self { hung, _ended: ended.drop_guard() }
    }

    /// Why a part was ended by the keeper, if one was.
    pub(super) fn hung(&self) -> Hung {
        Arc::clone(&self.hung)
    }
}

struct Watch {
    kept: Kept,
    hung: Hung,
    /// Targets and their addresses, in the order in which they were opened.
    tabs: Vec<(String, String)>,
    /// What the file says.
    known: Option<Memory>,
}

impl Watch {
    async fn run(mut self, mut used: watch::Receiver<bool>) {
        self.known = Memory::read(&self.kept.memory);
        loop {
            let connection = match self.hang() {
                Some(hang) => timeout(hang, self.connect()).await.unwrap_or(None),
                None => self.connect().await,
            };
            match connection {
                Some(connection) => self.follow(&connection, &mut used).await,
                None => self.look(None, &used).await,
            }
            tokio::select! {
                _exit = self.kept.chromium.exited() => return,
                () = sleep(AGAIN) => {}
            }
        }
    }

    fn hang(&self) -> Option<Duration> {
        let seconds = self.kept.settings.hang_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    async fn connect(&self) -> Option<Connection> {
        Connection::open(self.kept.address, &self.kept.path).await.ok()
    }

    /// Returns when the connection has ended.
    async fn follow(&mut self, connection: &Connection, used: &mut watch::Receiver<bool>) {
        let mut events = connection.events();
        self.tabs.clear();
        let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
        // Its answer matters to nobody: the events come, or the connection ends.
        drop(connection.call(None, "Target.setDiscoverTargets", discover));
        let mut settled: Option<Instant> = None;
        let mut next = Instant::now();
        let every = every(&self.kept.settings);
        loop {
            let is_used = *used.borrow_and_update();
            let settles = async {
                match settled {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let looks = async {
                if is_used { sleep_until(next).await } else { std::future::pending().await }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) if self.moved(&event) => settled = Some(Instant::now() + SETTLED),
                    Some(_) => {}
                    None => return,
                },
                () = settles => {
                    settled = None;
                    self.remember(connection).await;
                }
                () = looks => {
                    self.look(Some(connection), used).await;
                    self.remember(connection).await;
                    next = Instant::now() + every;
                }
                changed = used.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Takes an event over. Whether a page has come, gone, or moved.
    fn moved(&mut self, CdpEvent { method, params, .. }: &CdpEvent) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match method.as_str() {
            "Target.targetCreated" | "Target.targetInfoChanged" => {
                let target = &params["targetInfo"];
                if target["type"] != "page" {
                    return false;
                }
                let (id, url) = (text(&target["targetId"]), text(&target["url"]));
                match self.tabs.iter_mut().find(|(tab, _)| *tab == id) {
                    // A title that changes is no reason to do anything.
                    Some((_, known)) if *known == url => return false,
                    Some((_, known)) => *known = url,
                    None => self.tabs.push((id, url)),
                }
                true
            }
            "Target.targetDestroyed" => {
                let before = self.tabs.len();
                let id = text(&params["targetId"]);
                self.tabs.retain(|(tab, _)| *tab != id);
                self.tabs.len() < before
            }
            _ => false,
        }
    }

    async fn remember(&mut self, connection: &Connection) {
        let read = connection.call(None, "Storage.getCookies", json!({}));
        let limit = self.hang().unwrap_or(AGAIN);
        let Ok(Ok(read)) = timeout(limit, read).await else { return };
        let tabs = self.tabs.iter().map(|(_, url)| url.clone());
        let tabs: Vec<String> = tabs.filter(|url| is_worth_keeping(url)).collect();
        // A browser that is ending closes its tabs first.
        if tabs.is_empty() {
            return;
        }
        let cookies = read.get("cookies").and_then(Value::as_array).cloned().unwrap_or_default();
        let memory = Memory { tabs, cookies };
        if self.known.as_ref() == Some(&memory) {
            return;
        }
        match memory.write(&self.kept.memory) {
            Ok(()) => self.known = Some(memory),
            Err(cause) => tracing::warn!(error = %cause, "tabs and cookies are not kept"),
        }
    }

    /// Looks whether everything answers, and ends what does not.
    async fn look(&self, connection: Option<&Connection>, used: &watch::Receiver<bool>) {
        let Some(hang) = self.hang().filter(|_limit| *used.borrow()) else { return };
        let Kept { xvfb, chromium, vnc, .. } = &self.kept;
        vnc.kill_if_stopped();
        let display_stage = display::stage(vnc.is_the_display());
        let stopped = [(xvfb, display_stage), (chromium, browser::STAGE)];
        if stopped.iter().any(|(process, _)| process.is_stopped()) {
            // What was stopped for a moment only goes on.
            sleep(every(&self.kept.settings)).await;
            if let Some((process, stage)) = stopped.iter().find(|(one, _)| one.is_stopped()) {
                self.end(process, stage.hung(process, every(&self.kept.settings)));
            }
            return;
        }
        let (display, devtools) =
            tokio::join!(timeout(hang, answers(self.kept.display, &self.kept.cookie)), async {
                match connection {
                    Some(connection) => {
                        let asked = connection.call(None, "Browser.getVersion", json!({}));
                        timeout(hang, asked).await.is_ok()
                    }
                    // It could not be connected to, which its end may explain.
                    None => true,
                }
            });
        // A display that refuses has ended, which its process tells.
        if display.is_err() {
            self.end(xvfb, display_stage.hung(xvfb, hang));
        } else if !devtools {
            self.end(chromium, browser::STAGE.hung(chromium, hang));
        }
    }

    fn end(&self, process: &Process, why: Failure) {
        if !process.has_exited() {
            *self.hung.lock() = Some(why);
            process.kill_now();
        }
    }
}

/// The time between two looks.
fn every(settings: &Settings) -> Duration {
    Duration::from_secs(settings.probe_seconds.max(1))
}

/// Resolves when the X server has answered a connection's first bytes, as section 8 of the X11
/// protocol describes them.
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
