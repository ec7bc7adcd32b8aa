//! Looks after a browser and its display: remembers tabs and cookies, and notices what hangs.
//!
//! Tabs are told by events, and what they imply for cookies is read shortly after. Only while
//! somebody uses the desktop is it looked at regularly, and from the moment that this begins;
//! otherwise cookies are read now and then, and nothing else happens here until the browser says
//! something.
//!
//! What that costs while the desktop is used: two calls of `Storage.getCookies` a second, one of
//! `Browser.getVersion`, one connection to the X server and some seventy small files of `/proc` every
//! `probe_seconds`.

mod busy;
mod hangs;
mod last_tab;
mod zygotes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use self::busy::Busy;
use self::hangs::{Stopped, every};
use self::last_tab::LastTab;
use self::zygotes::Zygotes;
use super::Mended;
use super::memory::{Memory, Opening, is_worth_keeping};
use super::mending::Mending;
use super::network::Network;
use super::pages::Pages;
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, ProcessIdentity};
use crate::system::cdp::{CdpError, CdpEvent, Connection, Devtools};
use crate::system::display::Cookie;
use crate::system::process::Process;
use crate::system::settings::Settings;
use crate::system::vnc::Server;

/// How long after a page has moved its cookies are read: longer than a redirection takes.
const SETTLED: Duration = Duration::from_millis(300);

/// How often cookies are read while somebody uses the desktop: no event tells of one that a script
/// or an answer without a page has set. A login of a second ago outlives a browser that is killed.
const FRESH: Duration = Duration::from_millis(500);

/// The same while nobody uses it: its pages may still move. Chromium itself writes cookies every 30 s,
/// and must not have written any that are newer than those that would be put over them.
const SLOW: Duration = Duration::from_secs(20);

/// How long a browser takes to start another network process.
const STARTS: Duration = Duration::from_millis(50);

/// How long it may take to put cookies back.
const PUT_BACK: Duration = Duration::from_secs(5);

/// How long to wait before DevTools is connected to again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is looked after.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) session: SessionId,
    pub(super) devtools: Devtools,
    pub(super) xvfb: Process,
    pub(super) chromium: Process,
    pub(super) vnc: Arc<dyn Server>,
    pub(super) mending: Mending,
    pub(super) display: u16,
    pub(super) cookie: Cookie,
    pub(super) memory: super::directory::Kept,
    /// What its pages are to show, until they do.
    pub(super) opening: Opening,
    pub(super) settings: Arc<Settings>,
}

type Hung = Arc<Mutex<Option<Failure>>>;

/// The looking after; the drop ends it.
#[derive(Debug)]
pub(super) struct Keeper {
    hung: Hung,
    ended: CancellationToken,
    work: Option<JoinHandle<()>>,
    _dropped: DropGuard,
}

impl Keeper {
    pub(super) fn start(kept: Kept, used: watch::Receiver<bool>, runtime: &Handle) -> Self {
        let (ended, hung) = (CancellationToken::new(), Hung::default());
        let span = tracing::info_span!("keeper", session.id = %kept.session);
        let hangs = Arc::clone(&hung);
        let watch = Watch {
            kept,
            hung: hangs,
            tabs: Vec::new(),
            pages: Pages::default(),
            busy: Busy::default(),
            last_tab: LastTab::unknown(Instant::now()),
            suspects: Vec::new(),
            known: None,
        };
        let over = ended.clone();
        let work = async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = watch.run(used) => {}
            }
        };
        let work = Some(runtime.spawn(work.instrument(span)));
        let dropped = ended.clone().drop_guard();
        Self { hung, ended, work, _dropped: dropped }
    }

    /// Ends it, and resolves when it writes nothing any more.
    pub(super) async fn stop(&mut self) {
        self.ended.cancel();
        if let Some(work) = self.work.take() {
            let _ = work.await; // If it has panicked, it has ended as well.
        }
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
    pages: Pages,
    busy: Busy,
    last_tab: LastTab,
    /// What the last look found stopped.
    suspects: Vec<Stopped>,
    /// What the file says.
    known: Option<Memory>,
}

impl Watch {
    async fn run(mut self, mut used: watch::Receiver<bool>) {
        self.known = Memory::read(&self.kept.memory);
        loop {
            // Not longer than between two looks: one that was stopped accepts nobody, and two tell.
            let limit = self.hang().map(|hang| hang.min(every(&self.kept.settings)));
            let connection = match limit {
                Some(limit) => timeout(limit, self.connect()).await.unwrap_or(None),
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
        Connection::open(&self.kept.devtools).await.ok()
    }

    /// Returns when the connection has ended.
    async fn follow(&mut self, connection: &Connection, used: &mut watch::Receiver<bool>) {
        let mut events = connection.events();
        self.tabs.clear();
        self.pages = Pages::default();
        self.busy = Busy::default();
        self.last_tab = LastTab::unknown(Instant::now());
        let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
        // Its answer matters to nobody: the events come, or the connection ends.
        drop(connection.call(None, "Target.setDiscoverTargets", discover));
        let mut settled: Option<Instant> = None;
        let (mut next, mut fresh) = (Instant::now(), Instant::now());
        let every = every(&self.kept.settings);
        let mut was_used = false;
        // Not awaited in place: a browser that hangs is for the next look to notice.
        let mut reading: Option<Reading> = None;
        let mut network = Network::of(&self.kept.chromium);
        let now = network.identity().cloned();
        self.check_network(now, connection).await;
        let mut zygotes = Zygotes::of(&self.kept.chromium);
        loop {
            let is_used = *used.borrow_and_update();
            if is_used != was_used {
                // At the end as well: what was done last is not yet known.
                (next, fresh, was_used) = (Instant::now(), Instant::now(), is_used);
            }
            let settles = until(settled);
            let looks = until(is_used.then_some(next));
            let freshens = until(Some(fresh));
            let reloads = until(self.pages.next());
            let succeeds = until(self.last_tab.due());
            let reads = async {
                match &mut reading {
                    Some(reading) => reading.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) if self.moved(&event, connection) => settled = Some(Instant::now() + SETTLED),
                    Some(_) => {}
                    None => return,
                },
                () = settles => {
                    // What is being read already may be older than what has just happened.
                    settled = reading.is_some().then(|| Instant::now() + SETTLED);
                    reading.get_or_insert_with(|| read_cookies(connection));
                }
                () = succeeds => {
                    // What is being read may be without the cookies that are put back.
                    reading = None;
                    self.succeed(connection).await;
                    fresh = Instant::now();
                }
                () = looks => {
                    self.look(Some(connection), used).await;
                    next = Instant::now() + every;
                }
                () = freshens => {
                    // One that is on its way may be older than what this one is for.
                    let every = if is_used || reading.is_some() { FRESH } else { SLOW };
                    reading.get_or_insert_with(|| read_cookies(connection));
                    fresh = Instant::now() + every;
                }
                read = reads => {
                    reading = None;
                    match read {
                        Ok(read) if self.believes(&network) => self.remember(&read, &network),
                        Ok(_) | Err(_) => {}
                    }
                    network.find();
                    let now = network.identity().cloned();
                    self.check_network(now, connection).await;
                }
                () = network.ended() => {
                    reading = None; // It may have been answered by the next one, which knows nothing.
                    fresh = Instant::now() + STARTS;
                    network.find();
                    let now = network.identity().cloned();
                    self.check_network(now, connection).await;
                }
                () = zygotes.ended() => self.end_barren(),
                () = reloads => {
                    let limit = self.hang().unwrap_or(AGAIN);
                    let mended = timeout(limit, self.pages.reload(connection)).await;
                    for mended in mended.unwrap_or_default() {
                        self.kept.mending.tell(mended);
                    }
                }
                changed = used.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Takes an event over. Whether a page has come, gone, or moved.
    fn moved(
        &mut self,
        CdpEvent { method, params, .. }: &CdpEvent,
        connection: &Connection,
    ) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match method.as_str() {
            "Target.targetCreated" | "Target.targetInfoChanged" => {
                let target = &params["targetInfo"];
                if target["type"] != "page" {
                    return false;
                }
                let (id, url) = (text(&target["targetId"]), text(&target["url"]));
                if !is_blank(&url) {
                    self.kept.opening.remove(&id);
                }
                match self.tabs.iter_mut().find(|(tab, _)| *tab == id) {
                    // A title that changes is no reason to do anything.
                    Some((_, known)) if *known == url => return false,
                    Some((_, known)) => {
                        self.pages.moved(&id);
                        *known = url;
                    }
                    None => {
                        self.busy.opened(&id, connection);
                        self.tabs.push((id, url));
                    }
                }
                true
            }
            "Target.targetDestroyed" => {
                let before = self.tabs.len();
                self.pages.closed(&text(&params["targetId"]));
                let id = text(&params["targetId"]);
                self.busy.closed(&id);
                self.tabs.retain(|(tab, _)| *tab != id);
                if before > 0 && self.tabs.is_empty() {
                    self.last_tab.closed(Instant::now());
                }
                self.tabs.len() < before
            }
            "Target.attachedToTarget" => {
                let target = text(params.pointer("/targetInfo/targetId").unwrap_or(&Value::Null));
                self.busy.attached(&target, &text(&params["sessionId"]));
                false
            }
            "Target.targetCrashed" => {
                self.pages.crashed(&text(&params["targetId"]), Instant::now());
                false
            }
            _ => false,
        }
    }

    /// Puts the cookies back if another process has to know them now than the one they were read from.
    async fn check_network(&mut self, now: Option<ProcessIdentity>, connection: &Connection) {
        let Some(known) = &mut self.known else { return };
        if now.is_none() || known.network == now {
            return;
        }
        let is_other = known.network.is_some();
        if is_other {
            let (began, mut lost) = (Instant::now(), vec!["requests under way".to_owned()]);
            let put_back = known.put_cookies_back(connection, &mut lost);
            // Tried again by the next read.
            if timeout(PUT_BACK, put_back).await.is_err() {
                return;
            }
            let cause = "the network process of the browser died".to_owned();
            self.kept.mending.tell(Mended::new(cause, &lost.join("; "), 1, began.elapsed()));
        }
        known.network = now;
        if let Err(cause) = known.write(&self.kept.memory) {
            tracing::warn!(error = %cause, "tabs and cookies are not kept");
        }
    }

    /// Whether what was read came from the process that has the cookies. One that was never found is
    /// believed: not every browser has it.
    fn believes(&self, network: &Network) -> bool {
        let known = self.known.as_ref().and_then(|known| known.network.as_ref());
        match network.identity() {
            Some(now) => network.is_alive() && known.is_none_or(|known| known == now),
            None => known.is_none(),
        }
    }

    fn remember(&mut self, read: &Value, network: &Network) {
        let tabs = self.tabs.iter().map(|(target, url)| {
            // Remembered as empty, a page that is slow to come would be lost with the browser.
            let opening = self.kept.opening.get(target).filter(|_opening| is_blank(url));
            opening.unwrap_or(url).clone()
        });
        let mut tabs: Vec<String> = tabs.filter(|url| is_worth_keeping(url)).collect();
        if !tabs.iter().all(|url| is_blank(url)) {
            tabs.retain(|url| !is_blank(url));
        }
        // A browser that is ending closes its tabs first. Without a tab, it has no cookies of the
        // session any more.
        if tabs.is_empty() || self.last_tab.is_closed() {
            return;
        }
        let cookies = read.get("cookies").and_then(Value::as_array).cloned().unwrap_or_default();
        let memory = Memory { tabs, cookies, network: network.identity().cloned() };
        if self.known.as_ref() == Some(&memory) {
            return;
        }
        match memory.write(&self.kept.memory) {
            Ok(()) => self.known = Some(memory),
            Err(cause) => tracing::warn!(error = %cause, "tabs and cookies are not kept"),
        }
    }
}

/// Whether this is where a page is before it has come anywhere.
fn is_blank(url: &str) -> bool {
    url.is_empty() || url == "about:blank"
}

/// All cookies, on their way.
type Reading = BoxFuture<'static, Result<Value, CdpError>>;

fn read_cookies(connection: &Connection) -> Reading {
    Box::pin(connection.call(None, "Storage.getCookies", json!({})))
}

/// Resolves at `at`, or never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
