//! The connection to a browser, as the driver of its pages has it.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, JoinAll, join_all};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::PageError;
use super::frame::Contexts;
use super::tabs::{Dialog, Reaction, Tabs};
use super::watching::{Wants, Watching};
use crate::workflow::definition::block::DialogAnswer;
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

/// How long the browser may take for a command that it answers at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a tab may take to answer what was asked of it when it was attached.
const SET_UP: Duration = Duration::from_secs(2);

/// How a dialog is answered until somebody says otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct DialogPolicy {
    pub(super) answer: DialogAnswer,
    pub(super) text: Option<String>,
}

struct State {
    tabs: Tabs,
    events: mpsc::Receiver<DevtoolsEvent>,
    ended: bool,
    policy: DialogPolicy,
    /// Dialogs are left to somebody else.
    hands_off: bool,
    /// Rises with every event.
    version: u64,
}

struct Shared {
    devtools: Arc<dyn Devtools>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    contexts: Contexts,
    wants: Wants,
    /// What pages send with every request.
    headers: Map<String, Value>,
    /// What was asked of tabs when they were attached, by session, until somebody waits for it.
    set_ups: Mutex<HashMap<String, SetUp>>,
}

/// The answers to what was asked of a tab when it was attached.
type SetUp = JoinAll<BoxFuture<'static, Result<Value, DevtoolsError>>>;

/// The pages of one browser. Dropping the last of its clones detaches from the tabs and leaves them
/// as they are.
#[derive(Clone)]
pub struct Browser {
    shared: Arc<Shared>,
    attachment: Arc<Attachment>,
}

/// While this lives, somebody else drives the pages.
pub struct HandsOff {
    shared: Arc<Shared>,
}

impl fmt::Debug for HandsOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandsOff")
    }
}

impl Drop for HandsOff {
    fn drop(&mut self) {
        self.shared.state.lock().hands_off = false;
    }
}

/// Dropped when nobody drives the pages any more.
struct Attachment {
    shared: Arc<Shared>,
    watching: Option<Watching>,
    _pump: AbortOnDropHandle<()>,
}

impl Drop for Attachment {
    /// A tab that is opened later must not wait for us.
    fn drop(&mut self) {
        let off = json!({ "autoAttach": false, "waitForDebuggerOnStart": false, "flatten": true });
        drop(self.shared.devtools.call(None, "Target.setAutoAttach", off));
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser").field("devtools", &self.shared.devtools).finish_non_exhaustive()
    }
}

impl Browser {
    /// Attaches to every tab of the browser, and opens one if there is none. The tab that is in
    /// view becomes the one worked in. Its pages send `headers` with every request.
    pub async fn attach(
        devtools: Arc<dyn Devtools>,
        wants: Wants,
        headers: Map<String, Value>,
    ) -> Result<Self, PageError> {
        let events = devtools.events();
        let watching = wants.any().then(|| Watching::start(wants, &devtools, devtools.events()));
        let (changed, _) = watch::channel(0);
        let state = State {
            tabs: Tabs::default(),
            events,
            ended: false,
            policy: DialogPolicy::default(),
            hands_off: false,
            version: 0,
        };
        let shared = Arc::new(Shared {
            devtools,
            state: Mutex::new(state),
            changed,
            contexts: Contexts::default(),
            wants,
            headers,
            set_ups: Mutex::default(),
        });
        let pump = tokio::spawn(pump(Arc::clone(&shared)));
        let pump = AbortOnDropHandle::new(pump);
        let attachment = Attachment { shared: Arc::clone(&shared), watching, _pump: pump };
        let browser = Self { shared, attachment: Arc::new(attachment) };
        browser
            .browser_call(
                "Target.setAutoAttach",
                json!({
                    "autoAttach": true,
                    // So that nothing of a new tab is missed. Without it a tab with an opener
                    // waits all the same, and the page that opened it hangs (Chromium 156).
                    "waitForDebuggerOnStart": true,
                    "flatten": true,
                    "filter": [{ "type": "page" }],
                }),
            )
            .await?;
        let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
        browser.browser_call("Target.setDiscoverTargets", discover).await?;
        browser.catch_up();
        if browser.with(|tabs| tabs.order.is_empty()) {
            let blank = json!({ "url": "about:blank" });
            browser.browser_call("Target.createTarget", blank).await?;
            let deadline = Instant::now() + Duration::from_secs(10);
            browser
                .until(deadline, |tabs| (!tabs.order.is_empty()).then_some(()))
                .await
                .ok_or(PageError::Closed)?;
        }
        browser.find_in_view().await;
        browser.edit(|tabs| tabs.follow = true);
        Ok(browser)
    }

    /// Of several tabs the one in view is worked in.
    async fn find_in_view(&self) {
        let sessions = self.with(|tabs| tabs.order.clone());
        if sessions.len() < 2 {
            return;
        }
        let script =
            "(document.visibilityState === 'visible' ? 1 : 0) + (document.hasFocus() ? 2 : 0)";
        let mut best = None;
        for session in sessions {
            let params = json!({ "expression": script, "returnByValue": true });
            let answer = self.call(&session, "Runtime.evaluate", params);
            let answer = tokio::time::timeout(Duration::from_secs(1), answer).await;
            let score = answer
                .ok()
                .and_then(Result::ok)
                .and_then(|value| value.pointer("/result/value").and_then(Value::as_u64))
                .unwrap_or(0);
            if best.as_ref().is_none_or(|(most, _session)| score >= *most) {
                best = Some((score, session));
            }
        }
        if let Some((_score, session)) = best {
            self.edit(|tabs| tabs.work_in(&session));
        }
    }

    pub(super) fn contexts(&self) -> &Contexts {
        &self.shared.contexts
    }

    /// A command to the browser itself, which answers at once or not at all.
    pub async fn browser_call(&self, method: &str, params: Value) -> Result<Value, PageError> {
        in_time(method, self.shared.devtools.call(None, method, params)).await
    }

    /// A command to a tab or a frame, which answers at once or not at all.
    pub async fn call(
        &self,
        session: &str,
        method: &str,
        params: Value,
    ) -> Result<Value, PageError> {
        let answer =
            in_time(method, self.shared.devtools.call(Some(session), method, params)).await;
        self.catch_up();
        answer
    }

    /// A command that may take as long as its caller waits.
    pub(super) async fn slow_call(
        &self,
        session: &str,
        method: &str,
        params: Value,
    ) -> Result<Value, PageError> {
        let answer = self.shared.devtools.call(Some(session), method, params).await;
        self.catch_up();
        Ok(answer?)
    }

    /// Waits until a tab has answered what was asked of it when it was attached. The browser takes
    /// over into the renderer of the next page what the renderer of this one has confirmed; a
    /// navigation that overtakes the answers would leave the next page's first moments untold.
    pub(super) async fn set_up(&self, session: &str) {
        let answers = self.shared.set_ups.lock().remove(session);
        let Some(answers) = answers else { return };
        if timeout(SET_UP, answers).await.is_err() {
            // A page that hangs must not keep its tab from being led elsewhere.
            tracing::debug!(session, "a tab did not answer; it is used as it is");
        }
    }

    /// The session of the tab worked in.
    pub fn working(&self) -> Result<String, PageError> {
        let session = self.working_even_crashed()?;
        if self.with(|tabs| tabs.tab(&session).is_some_and(|tab| tab.crashed)) {
            return Err(PageError::Crashed);
        }
        Ok(session)
    }

    /// The same for a caller that can do with a page whose process has crashed.
    pub(super) fn working_even_crashed(&self) -> Result<String, PageError> {
        self.catch_up();
        let state = self.shared.state.lock();
        if state.ended {
            return Err(PageError::Disconnected);
        }
        state.tabs.working().cloned().ok_or(PageError::Closed)
    }

    /// The URL of the page in the tab worked in.
    pub fn url(&self) -> String {
        self.catch_up();
        let of = |tabs: &Tabs| Some(tabs.tab(tabs.working()?)?.document.url.clone());
        self.with(of).unwrap_or_default()
    }

    /// The targets of all tabs.
    pub fn tabs_open(&self) -> Vec<String> {
        self.catch_up();
        self.with(|tabs| tabs.tabs.values().map(|tab| tab.target.clone()).collect())
    }

    /// Closes every tab but these; the last tab stays whatever it is.
    pub async fn close_others(&self, keep: &[String]) {
        let extra: Vec<String> =
            self.tabs_open().into_iter().filter(|target| !keep.contains(target)).collect();
        let all = self.with(|tabs| tabs.tabs.len());
        for target in extra.into_iter().take(all.saturating_sub(1)) {
            let params = json!({ "targetId": target });
            if self.browser_call("Target.closeTarget", params).await.is_err() {
                continue; // It has gone by itself.
            }
            let deadline = Instant::now() + Duration::from_secs(2);
            self.until(deadline, |tabs| {
                tabs.tabs.values().all(|tab| tab.target != target).then_some(())
            })
            .await;
        }
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Tabs) -> T) -> T {
        look(&self.shared.state.lock().tabs)
    }

    pub(super) fn edit<T>(&self, change: impl FnOnce(&mut Tabs) -> T) -> T {
        change(&mut self.shared.state.lock().tabs)
    }

    /// What is kept of pages, where that is wanted.
    pub fn watching(&self) -> Option<&Watching> {
        self.attachment.watching.as_ref()
    }

    /// The browser's name and version, `Chrome/1.2.3`.
    pub async fn product(&self) -> String {
        let answer = self.browser_call("Browser.getVersion", json!({})).await.unwrap_or_default();
        answer.get("product").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The target of the tab worked in.
    pub fn target(&self) -> Option<String> {
        self.catch_up();
        self.with(|tabs| Some(tabs.tab(tabs.working()?)?.target.clone()))
    }

    /// Leaves dialogs to somebody else for as long as the answer lives.
    pub fn hands_off(&self) -> HandsOff {
        self.shared.state.lock().hands_off = true;
        HandsOff { shared: Arc::clone(&self.shared) }
    }

    /// How dialogs are answered from now on.
    pub fn answer_dialogs(&self, answer: DialogAnswer, text: Option<String>) {
        self.shared.state.lock().policy = DialogPolicy { answer, text };
    }

    /// The dialogs that were answered since they were last taken.
    pub fn take_dialogs(&self) -> Vec<Dialog> {
        self.catch_up();
        self.edit(|tabs| std::mem::take(&mut tabs.dialogs))
    }

    /// Takes up all events that have come.
    pub(super) fn catch_up(&self) {
        let mut state = self.shared.state.lock();
        let before = state.version;
        while let Ok(event) = state.events.try_recv() {
            self.shared.take_up(&mut state, &event);
        }
        if state.version != before {
            self.shared.changed.send_replace(state.version);
        }
    }

    /// Waits while a person has control, and says whether one had.
    pub(super) async fn gave_way(&self) -> bool {
        let mut turn = self.shared.devtools.turn();
        if (&mut turn).now_or_never().is_some() {
            return false;
        }
        turn.await;
        true
    }

    /// As [`until`](Self::until); a time that is over while a person has control begins anew when
    /// that is handed back, and is `anew` then.
    pub(super) async fn until_in_turn<T>(
        &self,
        mut deadline: Instant,
        anew: Duration,
        mut look: impl FnMut(&Tabs) -> Option<T>,
    ) -> Option<T> {
        loop {
            let found = self.until(deadline, &mut look).await;
            if found.is_some() || !self.gave_way().await {
                return found;
            }
            deadline = Instant::now() + anew;
        }
    }

    /// The first value that `look` gives, looked for after every event; none at the deadline or
    /// when the connection has ended.
    pub(super) async fn until<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&Tabs) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            self.catch_up();
            {
                let state = self.shared.state.lock();
                if let Some(found) = look(&state.tabs) {
                    return Some(found);
                }
                if state.ended {
                    return None;
                }
            }
            timeout_at(deadline, changed.changed()).await.ok()?.ok()?;
        }
    }
}

/// The answer to a command, if it comes while anyone would still wait for it.
async fn in_time(
    method: &str,
    answer: impl Future<Output = Result<Value, DevtoolsError>>,
) -> Result<Value, PageError> {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let late = |_elapsed| PageError::Timeout {
        what: format!("the browser did not answer {method}"),
        after: PATIENCE,
    };
    Ok(answer.map_err(late)??)
}

/// Takes up events as they come, so that a dialog is answered while an action waits for it.
async fn pump(shared: Arc<Shared>) {
    poll_fn(|context| {
        let mut state = shared.state.lock();
        // A bounded batch, so that a busy page leaves room for others on this thread.
        for _ in 0..256 {
            match state.events.poll_recv(context) {
                Poll::Ready(Some(event)) => shared.take_up(&mut state, &event),
                Poll::Ready(None) => {
                    state.ended = true;
                    state.version += 1;
                    shared.changed.send_replace(state.version);
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    shared.changed.send_replace(state.version);
                    return Poll::Pending;
                }
            }
        }
        shared.changed.send_replace(state.version);
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Shared {
    fn take_up(&self, state: &mut State, event: &DevtoolsEvent) {
        state.version += 1;
        if event.method == "Target.detachedFromTarget"
            && let Some(session) = event.params.get("sessionId").and_then(Value::as_str)
        {
            self.set_ups.lock().remove(session);
        }
        match state.tabs.take_up(event) {
            None => (),
            Some(Reaction::Dialog { .. }) if state.hands_off => (),
            Some(Reaction::SetUp { session, frame }) => self.set_up(&session, frame),
            Some(Reaction::Dialog { session, dialog }) => {
                let policy = &state.policy;
                let leaving = dialog.kind == "beforeunload";
                let accept = leaving || policy.answer == DialogAnswer::Accept;
                let mut params = json!({ "accept": accept });
                if let (Some(text), Some(object)) = (&policy.text, params.as_object_mut()) {
                    object.insert("promptText".to_owned(), Value::from(text.as_str()));
                }
                self.send(&session, "Page.handleJavaScriptDialog", params);
            }
        }
    }

    /// A command is on its way when `call` returns; its answer is of no use here.
    fn send(&self, session: &str, method: &str, params: Value) {
        drop(self.devtools.call(Some(session), method, params));
    }

    fn set_up(&self, session: &str, frame: bool) {
        let enable = |method: &'static str| (method, json!({}));
        let mut commands = vec![
            enable("Page.enable"),
            ("Page.setLifecycleEventsEnabled", json!({ "enabled": true })),
            (
                "Target.setAutoAttach",
                json!({
                    "autoAttach": true,
                    "waitForDebuggerOnStart": false,
                    "flatten": true,
                    "filter": [{ "type": "iframe" }],
                }),
            ),
        ];
        if !frame {
            commands.push(enable("Inspector.enable"));
        }
        if !frame || self.wants.har || !self.headers.is_empty() {
            commands.push(enable("Network.enable"));
        }
        if !self.headers.is_empty() {
            let headers = json!({ "headers": self.headers });
            commands.push(("Network.setExtraHTTPHeaders", headers));
        }
        if self.wants.console {
            commands.extend([enable("Runtime.enable"), enable("Log.enable")]);
        }
        commands.push(enable("Runtime.runIfWaitingForDebugger"));
        let answers = commands
            .into_iter()
            .map(|(method, params)| self.devtools.call(Some(session), method, params));
        let answers = join_all(answers);
        if !frame {
            self.set_ups.lock().insert(session.to_owned(), answers);
        }
    }
}
