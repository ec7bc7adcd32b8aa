//! The settings of a browser that its command line cannot set, or that changed since its start.
//!
//! A connection of its own attaches to every target and has new ones wait until their overrides are
//! set. Overrides end with the connection: a page then sees what the browser was started with,
//! until the next server has connected. Without overrides there is no connection.
//!
//! Not reached by overrides are the user agent and languages within a shared or service worker, and
//! the client hints of the first request of a tab that is opened with its address. The command line
//! sets all of these but the client hints. A service worker that is attached to does not stop when
//! it is idle.

mod client_hints;
mod logins;
mod overrides;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use self::logins::Logins;
use self::overrides::{Overrides, TargetKind};
use super::directory::{Directory, absent, replace};
use crate::domain::browser_settings::BrowserSettings;
use crate::system::cdp::{CdpError, CdpEvent, Connection, Devtools};
use crate::system::process::Process;

/// The wait before DevTools is connected to again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The longest time for the browser to accept a connection.
pub(super) const CONNECTING: Duration = Duration::from_secs(5);

/// The longest time for a change to be in force in every target. A page that hangs takes it later.
const APPLYING: Duration = Duration::from_secs(5);

/// The longest time for a page to be navigated to.
const NAVIGATING: Duration = Duration::from_secs(60);

/// The kinds of targets that are attached to.
const KINDS: [&str; 5] = ["page", "iframe", "worker", "shared_worker", "service_worker"];

/// The settings that a browser should have.
#[derive(Debug, Clone)]
struct Wanted {
    settings: BrowserSettings,
    /// Rises with each change.
    number: u64,
}

/// The running emulation of a browser, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Emulation {
    wanted: watch::Sender<Wanted>,
    applied: watch::Receiver<u64>,
    logins: Logins,
    _ended: DropGuard,
}

impl Emulation {
    /// Gives a browser that was started with `started` the settings `wanted`.
    pub(super) fn start(
        devtools: Devtools,
        chromium: Process,
        started: BrowserSettings,
        wanted: BrowserSettings,
        runtime: &Handle,
    ) -> Self {
        let ended = CancellationToken::new();
        let (logins, answering) = Logins::start(devtools.clone(), wanted.http_credentials.clone());
        let (wanted, wants) = watch::channel(Wanted { settings: wanted, number: 1 });
        let (applies, applied) = watch::channel(0);
        let work = Work { devtools, started, wanted: wants, applied: applies };
        let over = ended.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                _exit = chromium.exited() => {}
                ((), ()) = async { tokio::join!(work.run(), answering) } => {}
            }
        });
        Self { wanted, applied, logins, _ended: ended.drop_guard() }
    }

    /// The settings that the browser should have now.
    pub(super) fn settings(&self) -> BrowserSettings {
        self.wanted.borrow().settings.clone()
    }

    /// Changes the settings. Resolves when they are in force, or after some seconds if a page does
    /// not answer.
    pub(super) fn apply(&self, settings: BrowserSettings) -> BoxFuture<'static, ()> {
        let is_new = |wanted: &mut Wanted| {
            let changes = wanted.settings != settings;
            if changes {
                *wanted = Wanted { settings: settings.clone(), number: wanted.number + 1 };
            }
            changes
        };
        self.wanted.send_if_modified(is_new);
        self.logins.apply(&settings.http_credentials);
        self.in_force()
    }

    /// Sets the overrides again: a driver that set some of its own removes them when it leaves.
    pub(super) fn renew(&self) {
        self.wanted.send_modify(|wanted| wanted.number += 1);
    }

    /// Resolves when the settings are in force in all present targets, or after some seconds.
    pub(super) fn in_force(&self) -> BoxFuture<'static, ()> {
        let (mut applied, number) = (self.applied.clone(), self.wanted.borrow().number);
        let logins = self.logins.in_force();
        let overrides = async move {
            let in_force = applied.wait_for(|applied| *applied >= number);
            if timeout(APPLYING, in_force).await.is_err() {
                warn!("a page has not taken the settings of the session yet");
            }
        };
        Box::pin(async move {
            tokio::join!(overrides, logins);
        })
    }
}

/// True if a browser needs overrides or logins for the settings with which it is started.
pub(super) fn is_needed(settings: &BrowserSettings) -> bool {
    !Overrides::of(settings, settings, "").is_empty() || !settings.http_credentials.is_empty()
}

/// Navigates a page. Resolves when the request has been sent; the page loads meanwhile.
pub(super) async fn navigate(devtools: &Devtools, target: &str, url: &str, runtime: &Handle) {
    let opening = async {
        let connection = Connection::open(devtools).await?;
        let params = json!({ "targetId": target, "flatten": true });
        let attached = connection.call(None, "Target.attachToTarget", params).await?;
        let session = attached.get("sessionId").and_then(Value::as_str).unwrap_or_default();
        let navigated = connection.call(Some(session), "Page.navigate", json!({ "url": url }));
        runtime.spawn(async move {
            let _ = timeout(NAVIGATING, navigated).await; // The page itself shows a failure.
            drop(connection);
        });
        Ok::<_, CdpError>(())
    };
    match timeout(CONNECTING, opening).await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => warn!(error = %cause, "a page cannot be opened"),
        Err(_late) => warn!("a page cannot be opened: the browser does not answer"),
    }
}

impl Directory {
    fn started_settings_file(&self) -> PathBuf {
        self.path().join("browser_settings.json")
    }

    /// Records the settings with which the browser is started, for the next server.
    pub(super) fn set_started_settings(&self, settings: &BrowserSettings) -> io::Result<()> {
        let file = self.started_settings_file();
        let settings = settings.without_secrets();
        if settings == BrowserSettings::default() {
            return absent(std::fs::remove_file(file));
        }
        replace(&file, &serde_json::to_vec(&settings).unwrap_or_default())
    }

    /// The settings with which the browser was started. If they are not on record, overrides set
    /// all of them.
    pub(super) fn started_settings(&self) -> BrowserSettings {
        let bytes = std::fs::read(self.started_settings_file()).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }
}

struct Work {
    devtools: Devtools,
    started: BrowserSettings,
    wanted: watch::Receiver<Wanted>,
    applied: watch::Sender<u64>,
}

impl Work {
    async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if Overrides::of(&self.started, &wanted.settings, "").is_empty() {
                self.applied.send_replace(wanted.number);
                if self.wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let followed = match timeout(CONNECTING, Connection::open(&self.devtools)).await {
                Ok(Ok(connection)) => self.follow(&connection, wanted).await,
                Ok(Err(cause)) => Err(cause),
                Err(_late) => Err(CdpError::Disconnected),
            };
            if let Err(cause) = followed {
                debug!(error = %cause, "the settings of a browser are not in force");
                sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Keeps the overrides of all targets. Returns when none is needed any more.
    async fn follow(&mut self, connection: &Connection, wanted: Wanted) -> Result<(), CdpError> {
        let mut events = connection.events();
        let version = connection.call(None, "Browser.getVersion", json!({}));
        let version = timeout(CONNECTING, version).await.unwrap_or(Err(CdpError::Disconnected))?;
        let product = version.get("product").and_then(Value::as_str).unwrap_or_default();
        let mut number = wanted.number;
        let mut targets = Targets {
            connection,
            overrides: Overrides::of(&self.started, &wanted.settings, product),
            sessions: HashMap::new(),
            contexts: HashSet::new(),
            answers: FuturesUnordered::new(),
        };
        if targets.overrides.locates() {
            targets.permit(None);
        }
        targets.attach(None);
        loop {
            if targets.answers.is_empty() {
                self.applied
                    .send_if_modified(|applied| std::mem::replace(applied, number) != number);
            }
            tokio::select! {
                biased; // A new target waits until its event was handled.
                event = events.recv() => {
                    targets.on_event(&event.ok_or(CdpError::Disconnected)?);
                }
                Some(answer) = targets.answers.next() => match answer {
                    Ok(_) => {}
                    // Another client, or another target of the same process, has set it.
                    Err(cause @ CdpError::Refused { .. }) => debug!(error = %cause, "no override"),
                    Err(cause) => return Err(cause),
                },
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let wanted = self.wanted.borrow_and_update().clone();
                    number = wanted.number;
                    targets.change(Overrides::of(&self.started, &wanted.settings, product));
                }
            }
            if targets.overrides.is_empty() && targets.answers.is_empty() {
                return Ok(());
            }
        }
    }
}

/// A target to which the overrides are attached.
struct Attached {
    /// The kind of the target, if it has overrides.
    kind: Option<TargetKind>,
    /// Cancelled when the target, or one that it is below, has detached. Chromium answers none of its commands then.
    gone: CancellationToken,
}

/// The targets of a browser.
struct Targets<'a> {
    connection: &'a Connection,
    overrides: Overrides,
    /// The attached targets, by session.
    sessions: HashMap<String, Attached>,
    /// The browser contexts whose pages may read the position.
    contexts: HashSet<String>,
    answers: FuturesUnordered<BoxFuture<'static, Result<Value, CdpError>>>,
}

impl Targets<'_> {
    fn call(&self, session: Option<&str>, method: &str, params: Value) {
        let answer = self.connection.call(session, method, params);
        let attached = session.and_then(|session| self.sessions.get(session));
        let gone = attached.map(|attached| attached.gone.clone());
        self.answers.push(match gone {
            Some(gone) => Box::pin(async move {
                gone.run_until_cancelled(answer).await.unwrap_or(Ok(Value::Null))
            }),
            None => Box::pin(answer),
        });
    }

    /// Attaches to the targets of the browser or below a target, now and later.
    fn attach(&self, session: Option<&str>) {
        let filter = KINDS.map(|kind| json!({ "type": kind }));
        let params = json!({
            "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true, "filter": filter,
        });
        self.call(session, "Target.setAutoAttach", params);
    }

    /// Lets the pages of a context read the position without a prompt, or not any more.
    fn permit(&self, context: Option<&str>) {
        let setting = if self.overrides.locates() { "granted" } else { "prompt" };
        let mut params = json!({ "permission": { "name": "geolocation" }, "setting": setting });
        if let (Some(context), Some(members)) = (context, params.as_object_mut()) {
            members.insert("browserContextId".to_owned(), context.into());
        }
        self.call(None, "Browser.setPermission", params);
    }

    fn on_event(&mut self, CdpEvent { session, method, params }: &CdpEvent) {
        let above = session.as_deref();
        let text = |path: &str| params.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let session = text("/sessionId");
        match method.as_str() {
            "Target.attachedToTarget" => {
                let kind = TargetKind::named(text("/targetInfo/type"));
                let above = above.and_then(|above| self.sessions.get(above));
                let gone =
                    above.map_or_else(CancellationToken::new, |above| above.gone.child_token());
                self.sessions.insert(session.to_owned(), Attached { kind, gone });
                if let Some(kind) = kind {
                    let context = text("/targetInfo/browserContextId");
                    let is_new = kind == TargetKind::Page && !context.is_empty();
                    if is_new
                        && self.contexts.insert(context.to_owned())
                        && self.overrides.locates()
                    {
                        self.permit(Some(context));
                    }
                    for (method, params) in self.overrides.commands(None, kind) {
                        self.call(Some(session), method, params);
                    }
                    self.attach(Some(session));
                }
                self.call(Some(session), "Runtime.runIfWaitingForDebugger", json!({}));
            }
            "Target.detachedFromTarget" => {
                if let Some(attached) = self.sessions.remove(session) {
                    attached.gone.cancel();
                }
                self.sessions.retain(|_session, attached| !attached.gone.is_cancelled());
                self.renew_locale();
            }
            _ => {}
        }
    }

    /// Sets the locale in all targets again. A renderer has one for all of its pages, and loses it
    /// with the page that has set it.
    fn renew_locale(&self) {
        for (session, attached) in &self.sessions {
            if attached.kind.is_some()
                && let Some((method, params)) = self.overrides.locale_command()
            {
                self.call(Some(session), method, params);
            }
        }
    }

    fn change(&mut self, next: Overrides) {
        let before = std::mem::replace(&mut self.overrides, next);
        if before.locates() || self.overrides.locates() {
            self.permit(None);
            for context in &self.contexts {
                self.permit(Some(context));
            }
        }
        for (session, attached) in &self.sessions {
            let Some(kind) = attached.kind else { continue };
            for (method, params) in self.overrides.commands(Some(&before), kind) {
                self.call(Some(session), method, params);
            }
        }
    }
}
