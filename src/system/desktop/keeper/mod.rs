//! The keeper of a browser and its display. It remembers tabs and cookies, and detects hangs.
//!
//! Events report the tabs, and the cookies are read shortly after each. While the desktop is used,
//! it is also checked periodically. Otherwise cookies are read occasionally, and the keeper is idle
//! until the browser sends an event.
//!
//! While the desktop is used, the keeper calls `Storage.getCookies` twice a second. Every
//! `probe_seconds` it calls `Browser.getVersion`, connects to the X server, and reads some seventy
//! small files of `/proc`.

mod busy;
mod hangs;
mod last_tab;
mod zygotes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use self::busy::Busy;
use self::hangs::{Stopped, every};
use self::last_tab::LastTab;
use self::zygotes::Zygotes;
use super::Repair;
use super::memory::{Memory, Opening, has_opened, is_blank, is_worth_keeping};
use super::network::Network;
use super::pages::Pages;
use super::repairs::Repairs;
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, ProcessIdentity};
use crate::system::cdp::{CdpError, CdpEvent, Connection, Devtools};
use crate::system::display::Cookie;
use crate::system::process::Process;
use crate::system::settings::Settings;
use crate::system::storage_state::Remember;
use crate::system::vnc::Server;

/// The time between a navigation and the reading of cookies, which is longer than a redirection takes.
const SETTLED: Duration = Duration::from_millis(300);

/// The time between two reads of cookies while the desktop is used, because no event reports a
/// cookie that a script or a response without a page has set. So a login of a second ago survives a
/// killed browser.
const FRESH: Duration = Duration::from_millis(500);

/// The same time while the desktop is unused, because its pages may still act. It must be shorter than the
/// 30 s after which Chromium stores cookies, so that older ones never overwrite newer ones.
const SLOW: Duration = Duration::from_secs(20);

/// The time for a browser to start another network process.
const STARTS: Duration = Duration::from_millis(50);

/// The time for requested pages to load. Later they are what they show: a URL may have been that of a download.
const LOADS: Duration = Duration::from_secs(120);

/// The longest time for cookies to be restored.
const PUT_BACK: Duration = Duration::from_secs(5);

/// The wait before DevTools is connected to again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The parts that a keeper looks after.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) session: SessionId,
    pub(super) devtools: Devtools,
    pub(super) xvfb: Process,
    pub(super) chromium: Process,
    pub(super) vnc: Arc<dyn Server>,
    pub(super) repairs: Repairs,
    pub(super) display: u16,
    pub(super) cookie: Cookie,
    pub(super) memory: super::directory::Kept,
    /// The pages that were requested and have not loaded yet.
    pub(super) opening: Opening,
    pub(super) settings: Arc<Settings>,
}

type Hung = Arc<Mutex<Option<Failure>>>;

/// A running keeper, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    hung: Hung,
    remember: Remember,
    ended: CancellationToken,
    work: Option<JoinHandle<()>>,
    _dropped: DropGuard,
}

impl Keeper {
    pub(super) fn start(kept: Kept, used: watch::Receiver<bool>, runtime: &Handle) -> Self {
        let (ended, hung) = (CancellationToken::new(), Hung::default());
        let span = tracing::info_span!("keeper", session.id = %kept.session);
        let hangs = Arc::clone(&hung);
        let (remember, requests) = Remember::channel();
        let watch = Watch {
            kept,
            began: Instant::now(),
            hung: hangs,
            tabs: Vec::new(),
            pages: Pages::default(),
            busy: Busy::default(),
            last_tab: LastTab::unknown(Instant::now()),
            suspects: Vec::new(),
            known: None,
            requests,
            waiting: Vec::new(),
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
        Self { hung, remember, ended, work, _dropped: dropped }
    }

    /// Ends the keeper, and resolves when it writes nothing any more.
    pub(super) async fn stop(&mut self) {
        self.ended.cancel();
        if let Some(work) = self.work.take() {
            let _ = work.await; // A panic ends it as well.
        }
    }

    /// Has the cookies read and stored at once.
    pub(super) fn remember(&self) -> Remember {
        self.remember.clone()
    }

    /// The reason for which the keeper ended a part, if it did.
    pub(super) fn hung(&self) -> Hung {
        Arc::clone(&self.hung)
    }
}

struct Watch {
    kept: Kept,
    began: Instant,
    hung: Hung,
    /// The target ids and URLs of the tabs, in the order in which they were opened.
    tabs: Vec<(String, String)>,
    pages: Pages,
    busy: Busy,
    last_tab: LastTab,
    /// The parts that were stopped at the last check.
    suspects: Vec<Stopped>,
    /// The content of the memory file.
    known: Option<Memory>,
    /// Requests to read the cookies at once.
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    /// The requests that the next read answers.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Watch {
    async fn run(mut self, mut used: watch::Receiver<bool>) {
        self.known = Memory::read(&self.kept.memory);
        if let Some(known) = &self.known {
            self.kept.opening.extend(known.opening.clone());
        }
        loop {
            // At most the time between two checks: a stopped browser accepts no connection, and two
            // checks detect it.
            let limit = self.hang().map(|hang| hang.min(every(&self.kept.settings)));
            let connection = match limit {
                Some(limit) => timeout(limit, self.connect()).await.unwrap_or(None),
                None => self.connect().await,
            };
            match connection {
                Some(connection) => self.follow(&connection, &mut used).await,
                None => self.check(None, &used).await,
            }
            tokio::select! {
                _exit = self.kept.chromium.exited() => return,
                () = sleep(RETRY_DELAY) => {}
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

    /// Follows the browser's events, and returns when the connection has ended.
    async fn follow(&mut self, connection: &Connection, used: &mut watch::Receiver<bool>) {
        let mut events = connection.events();
        self.tabs.clear();
        self.pages = Pages::default();
        self.busy = Busy::default();
        self.last_tab = LastTab::unknown(Instant::now());
        let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
        // The answer is not needed: the events come, or the connection ends.
        drop(connection.call(None, "Target.setDiscoverTargets", discover));
        let mut settled: Option<Instant> = None;
        let (mut next, mut fresh) = (Instant::now(), Instant::now());
        let every = every(&self.kept.settings);
        let mut was_used = false;
        // Not awaited in place, because the next check must detect a browser that hangs.
        let mut reading: Option<Reading> = None;
        let mut network = Network::of(&self.kept.chromium);
        let now = network.identity().cloned();
        self.check_network(now, connection).await;
        let mut zygotes = Zygotes::of(&self.kept.chromium);
        loop {
            let is_used = *used.borrow_and_update();
            if is_used != was_used {
                // Also when use ends, because the last changes are not known yet.
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
                    // A read in progress may be older than the latest event.
                    settled = reading.is_some().then(|| Instant::now() + SETTLED);
                    reading.get_or_insert_with(|| self.read(connection));
                }
                () = succeeds => {
                    // A read in progress may miss the cookies that are being restored.
                    reading = None;
                    self.succeed(connection).await;
                    fresh = Instant::now();
                }
                Some(request) = self.requests.recv() => {
                    self.waiting.push(request);
                    // A read in progress may be older than the change that this one is for.
                    reading = Some(self.read(connection));
                }
                () = looks => {
                    self.check(Some(connection), used).await;
                    next = Instant::now() + every;
                }
                () = freshens => {
                    // A read in progress may be older than the change that this one is for.
                    let every = if is_used || reading.is_some() { FRESH } else { SLOW };
                    reading.get_or_insert_with(|| self.read(connection));
                    fresh = Instant::now() + every;
                }
                read = reads => {
                    reading = None;
                    match read {
                        Ok(read) if self.believes(&network) => self.remember(read, &network),
                        Ok(_) | Err(_) => {}
                    }
                    for request in self.waiting.drain(..) {
                        let _ = request.send(()); // The caller may have left.
                    }
                    network.find();
                    let now = network.identity().cloned();
                    self.check_network(now, connection).await;
                }
                () = network.ended() => {
                    reading = None; // The answer may come from its successor, which has no state.
                    fresh = Instant::now() + STARTS;
                    network.find();
                    let now = network.identity().cloned();
                    self.check_network(now, connection).await;
                }
                () = zygotes.ended() => self.end_barren(),
                () = reloads => {
                    let limit = self.hang().unwrap_or(RETRY_DELAY);
                    let pending = self.pending();
                    let repair = timeout(limit, self.pages.reload(connection, &pending)).await;
                    for repair in repair.unwrap_or_default() {
                        self.kept.repairs.report(repair);
                    }
                }
                changed = used.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Processes an event. Returns true if a page was opened, closed, or navigated.
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
                match self.tabs.iter_mut().find(|(tab, _)| *tab == id) {
                    // A changed title needs no action.
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
                let id = text(&params["targetId"]);
                self.pages.closed(&id);
                self.busy.closed(&id);
                self.kept.opening.remove(&id);
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

    /// Restores the cookies if the browser has another network process than the one they were read from.
    async fn check_network(&mut self, now: Option<ProcessIdentity>, connection: &Connection) {
        let Some(known) = &mut self.known else { return };
        if now.is_none() || known.network == now {
            return;
        }
        let is_other = known.network.is_some();
        if is_other {
            let (began, mut lost) = (Instant::now(), vec!["unfinished requests".to_owned()]);
            let put_back = known.put_cookies_back(connection, &mut lost);
            // The next read tries again.
            if timeout(PUT_BACK, put_back).await.is_err() {
                return;
            }
            let cause = "the network process of the browser died".to_owned();
            self.kept.repairs.report(Repair::new(cause, &lost.join("; "), 1, began.elapsed()));
        }
        known.network = now;
        if let Err(cause) = known.write(&self.kept.memory) {
            tracing::warn!(error = %cause, "tabs and cookies cannot be stored");
        }
    }

    /// True if the cookies were read from the process that had them. A process that was never found
    /// is trusted, because not every browser has it.
    fn believes(&self, network: &Network) -> bool {
        let known = self.known.as_ref().and_then(|known| known.network.as_ref());
        match network.identity() {
            Some(now) => network.is_alive() && known.is_none_or(|known| known == now),
            None => known.is_none(),
        }
    }

    fn read(&mut self, connection: &Connection) -> Reading {
        if self.began.elapsed() > LOADS {
            self.kept.opening.clear();
        }
        let cookies = connection.call(None, "Storage.getCookies", json!({}));
        let histories = self.kept.opening.keys().filter_map(|target| {
            let session = Some(self.busy.session(target)?);
            let history = connection.call(session, "Page.getNavigationHistory", json!({}));
            let target = target.clone();
            Some(async move { (target, history.await) })
        });
        let histories = join_all(histories);
        Box::pin(async move {
            let (cookies, histories) = tokio::join!(cookies, histories);
            let cookies = cookies?.get("cookies").and_then(Value::as_array).cloned();
            let mut opened = Vec::new();
            for (target, history) in histories {
                match history {
                    Ok(history) if has_opened(&history) => opened.push(target),
                    Ok(_) | Err(CdpError::Refused { .. } | CdpError::Busy { .. }) => {}
                    Err(cause) => return Err(cause),
                }
            }
            Ok(Read { cookies: cookies.unwrap_or_default(), opened })
        })
    }

    /// The requested pages that still show their requests, or an empty page.
    fn pending(&self) -> Opening {
        let asked = |(target, url): &(String, String)| {
            let asked = self.kept.opening.get(target)?;
            (is_blank(url) || url == asked).then(|| (target.clone(), asked.clone()))
        };
        self.tabs.iter().filter_map(asked).collect()
    }

    fn remember(&mut self, Read { cookies, opened }: Read, network: &Network) {
        self.kept.opening.retain(|target, _url| !opened.contains(target));
        let tabs = self.tabs.iter().map(|(target, url)| {
            // Stored as empty, a slow page would be lost if the browser ended.
            let opening = self.kept.opening.get(target).filter(|_opening| is_blank(url));
            opening.unwrap_or(url).clone()
        });
        let mut tabs: Vec<String> = tabs.filter(|url| is_worth_keeping(url)).collect();
        if !tabs.iter().all(|url| is_blank(url)) {
            tabs.retain(|url| !is_blank(url));
        }
        // A browser that is ending closes its tabs first. Without a tab, it has no session cookies
        // any more.
        if tabs.is_empty() || self.last_tab.is_closed() {
            return;
        }
        let (network, opening) = (network.identity().cloned(), self.kept.opening.clone());
        let memory = Memory { tabs, cookies, network, opening };
        if self.known.as_ref() == Some(&memory) {
            return;
        }
        match memory.write(&self.kept.memory) {
            Ok(()) => self.known = Some(memory),
            Err(cause) => tracing::warn!(error = %cause, "tabs and cookies cannot be stored"),
        }
    }
}

/// The state of a browser that is to be remembered, as it was read.
struct Read {
    /// All cookies, in the format of `Storage.getCookies`.
    cookies: Vec<Value>,
    /// The requested pages that have loaded since.
    opened: Vec<String>,
}

type Reading = BoxFuture<'static, Result<Read, CdpError>>;

/// Resolves at `at`, or never if it is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
