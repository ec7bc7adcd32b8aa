//! The connection to a browser, as the page driver uses it.
//!
//! The *current tab* is the tab that the blocks of a run work in.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, JoinAll, join_all};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::PageError;
use super::references::References;
use super::tabs::{Dialog, Reaction, Tabs};
use super::watching::{Wants, Watching};
use super::worlds::Contexts;
use crate::workflow::definition::block::DialogAnswer;
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

/// The time limit for a command that the browser answers at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time limit for a tab to answer the commands sent when it was attached.
const SET_UP: Duration = Duration::from_secs(2);

/// The time between two looks at who has control, while a dialog of a person is open.
const LOOKS: Duration = Duration::from_millis(100);

/// The answer given to dialogs until the policy is changed.
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
    /// True if another driver answers the dialogs.
    hands_off: bool,
    /// The open dialogs that are left to the person who has control, by session.
    left_open: HashMap<String, Dialog>,
    /// Incremented with every event.
    version: u64,
}

struct Shared {
    devtools: Arc<dyn Devtools>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    contexts: Contexts,
    references: References,
    wants: Wants,
    /// Extra headers that pages send with every request.
    headers: Map<String, Value>,
    /// Pending answers of newly attached tabs, by session, until an action waits for them.
    set_ups: Mutex<HashMap<String, SetUp>>,
    /// Notified when a dialog is left to a person.
    has_left_open: Notify,
}

/// The answers to the commands sent to a tab when it was attached.
type SetUp = JoinAll<BoxFuture<'static, Result<Value, DevtoolsError>>>;

/// The pages of one browser. Dropping the last clone detaches from the tabs and leaves them
/// unchanged.
#[derive(Clone)]
pub struct Browser {
    shared: Arc<Shared>,
    attachment: Arc<Attachment>,
}

/// A guard: while it lives, another driver answers the dialogs of the pages.
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

/// Detaches from the tabs when the last clone of [`Browser`] is dropped.
struct Attachment {
    shared: Arc<Shared>,
    watching: Option<Watching>,
    _pump: AbortOnDropHandle<()>,
}

impl Drop for Attachment {
    /// Turns auto-attach off, so that a tab opened later does not wait for this driver.
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
    /// Attaches to every tab of the browser, and opens one if there is none. The tab in view becomes
    /// the current tab. Its pages send `headers` with every request.
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
            left_open: HashMap::new(),
            version: 0,
        };
        let shared = Arc::new(Shared {
            devtools,
            state: Mutex::new(state),
            changed,
            contexts: Contexts::default(),
            references: References::default(),
            wants,
            headers,
            set_ups: Mutex::default(),
            has_left_open: Notify::new(),
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
                    // Pauses a new tab until it is set up, so that none of its events is missed.
                    // Without this, a tab with an opener waits all the same, and the page that opened
                    // it hangs (Chromium 156).
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

    /// Makes the tab in view the current tab, if there are several.
    async fn find_in_view(&self) {
        let sessions = self.with(|tabs| tabs.order.clone());
        if sessions.len() < 2 {
            return;
        }
        let scores = join_all(sessions.iter().map(|session| self.view_score(session))).await;
        let mut best = None;
        for (score, session) in scores.into_iter().zip(sessions) {
            if best.as_ref().is_none_or(|(most, _session)| score >= *most) {
                best = Some((score, session));
            }
        }
        if let Some((_score, session)) = best {
            self.edit(|tabs| tabs.work_in(&session));
        }
    }

    /// Returns 1 for a tab in view, plus 2 for one with the focus; 0 for one that does
    /// not answer within 1 s.
    async fn view_score(&self, session: &str) -> u64 {
        let script =
            "(document.visibilityState === 'visible' ? 1 : 0) + (document.hasFocus() ? 2 : 0)";
        let params = json!({ "expression": script, "returnByValue": true });
        let answer = self.call(session, "Runtime.evaluate", params);
        let answer = timeout(Duration::from_secs(1), answer).await.ok().and_then(Result::ok);
        let score = answer.and_then(|value| value.pointer("/result/value").and_then(Value::as_u64));
        score.unwrap_or(0)
    }

    pub(super) fn contexts(&self) -> &Contexts {
        &self.shared.contexts
    }

    pub(super) fn references(&self) -> &References {
        &self.shared.references
    }

    /// Sends a command to the browser itself, which answers within 30 s or not at all.
    pub async fn browser_call(&self, method: &str, params: Value) -> Result<Value, PageError> {
        in_time(method, self.shared.devtools.call(None, method, params)).await
    }

    /// Sends a command to a tab or a frame, which answers within 30 s or not at all.
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

    /// Sends a command without a time limit of its own; the caller limits the wait.
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

    /// Sends a command whose answer is not needed.
    pub(super) fn send(&self, session: &str, method: &str, params: Value) {
        self.shared.send(session, method, params);
    }

    /// Waits until a tab has answered the commands sent when it was attached. The browser carries
    /// over into the next page's renderer only what this page's renderer has confirmed. A navigation
    /// that overtakes the answers would lose the events of the next page's first moments.
    pub(super) async fn set_up(&self, session: &str) {
        let answers = self.shared.set_ups.lock().remove(session);
        let Some(answers) = answers else { return };
        if timeout(SET_UP, answers).await.is_err() {
            // A page that hangs must not block a navigation of its tab.
            tracing::debug!(session, "a tab did not answer; it is used as it is");
        }
    }

    /// True if the connection to the browser has ended, so that every further call fails.
    pub fn is_disconnected(&self) -> bool {
        self.catch_up();
        self.shared.state.lock().ended
    }

    /// Returns the session of the current tab.
    pub fn working(&self) -> Result<String, PageError> {
        let session = self.working_even_crashed()?;
        if self.with(|tabs| tabs.tab(&session).is_some_and(|tab| tab.crashed)) {
            return Err(PageError::Crashed);
        }
        Ok(session)
    }

    /// Returns the session of the current tab, also if the process of its page has crashed.
    pub(super) fn working_even_crashed(&self) -> Result<String, PageError> {
        self.catch_up();
        let state = self.shared.state.lock();
        if state.ended {
            return Err(PageError::Disconnected);
        }
        state.tabs.working().cloned().ok_or(PageError::Closed)
    }

    /// Returns the URL of the page in the current tab.
    pub fn url(&self) -> String {
        self.catch_up();
        let of = |tabs: &Tabs| Some(tabs.tab(tabs.working()?)?.document.url.clone());
        self.with(of).unwrap_or_default()
    }

    /// Returns the target ids of all tabs.
    pub fn tabs_open(&self) -> Vec<String> {
        self.catch_up();
        self.with(|tabs| tabs.tabs.values().map(|tab| tab.target.clone()).collect())
    }

    /// Closes every tab whose target is not in `keep`. The last tab is never closed.
    pub async fn close_others(&self, keep: &[String]) {
        let extra: Vec<String> =
            self.tabs_open().into_iter().filter(|target| !keep.contains(target)).collect();
        let all = self.with(|tabs| tabs.tabs.len());
        for target in extra.into_iter().take(all.saturating_sub(1)) {
            let params = json!({ "targetId": target });
            if self.browser_call("Target.closeTarget", params).await.is_err() {
                continue; // The tab may be closed already.
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

    /// Returns the recorder of traffic and console output, if the run asked for one.
    pub fn watching(&self) -> Option<&Watching> {
        self.attachment.watching.as_ref()
    }

    /// Returns the browser's name and version, as in `Chrome/1.2.3`.
    pub async fn product(&self) -> String {
        let answer = self.browser_call("Browser.getVersion", json!({})).await.unwrap_or_default();
        answer.get("product").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Returns the target id of the current tab.
    pub fn target(&self) -> Option<String> {
        self.catch_up();
        self.with(|tabs| Some(tabs.tab(tabs.working()?)?.target.clone()))
    }

    /// Leaves dialogs to another driver for as long as the returned guard lives.
    pub fn hands_off(&self) -> HandsOff {
        self.shared.state.lock().hands_off = true;
        HandsOff { shared: Arc::clone(&self.shared) }
    }

    /// Sets the answer to dialogs from now on.
    pub fn answer_dialogs(&self, answer: DialogAnswer, text: Option<String>) {
        self.shared.state.lock().policy = DialogPolicy { answer, text };
    }

    /// Returns the dialogs opened since the last call.
    pub fn take_dialogs(&self) -> Vec<Dialog> {
        self.catch_up();
        self.edit(|tabs| std::mem::take(&mut tabs.dialogs))
    }

    /// Applies all events that have been received.
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

    /// Waits while a person has control. True if a person had control.
    pub(super) async fn waited_for_takeover(&self) -> bool {
        let mut turn = self.shared.devtools.turn();
        if (&mut turn).now_or_never().is_some() {
            return false;
        }
        turn.await;
        true
    }

    /// Like [`until`](Self::until), but a deadline that passes while a person has control is replaced
    /// by `anew` from the moment at which control is returned.
    pub(super) async fn until_with_takeover<T>(
        &self,
        mut deadline: Instant,
        anew: Duration,
        mut look: impl FnMut(&Tabs) -> Option<T>,
    ) -> Option<T> {
        loop {
            let found = self.until(deadline, &mut look).await;
            if found.is_some() || !self.waited_for_takeover().await {
                return found;
            }
            deadline = Instant::now() + anew;
        }
    }

    /// Returns the first value that `look` gives; calls it after every event. None at the deadline or
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

/// Returns the answer to a command, or an error after [`PATIENCE`].
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

/// Applies events as they arrive, so that a dialog is answered while an action waits for it, and
/// answers the dialogs that a person has left open. Ends with the connection.
async fn pump(shared: Arc<Shared>) {
    tokio::select! {
        () = apply_events(&shared) => (),
        () = answer_after_takeover(&shared) => (),
    }
}

/// Answers dialogs that are still open when a person returns control.
async fn answer_after_takeover(shared: &Shared) {
    loop {
        shared.has_left_open.notified().await;
        while shared.is_left_open() {
            tokio::time::sleep(LOOKS).await;
        }
    }
}

async fn apply_events(shared: &Shared) {
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
            self.contexts.detached(session);
            state.left_open.remove(session);
        }
        if event.method == "Page.javascriptDialogClosed"
            && let Some(session) = &event.session
        {
            state.left_open.remove(session);
        }
        // A frame that is swapped goes on in another process.
        if event.method == "Page.frameDetached"
            && event.params.get("reason").and_then(Value::as_str) == Some("remove")
            && let Some(frame) = event.params.get("frameId").and_then(Value::as_str)
        {
            self.contexts.replaced(frame);
        }
        if event.method == "Page.frameNavigated"
            && let Some(frame) = event.params.pointer("/frame/id").and_then(Value::as_str)
        {
            self.contexts.replaced(frame);
        }
        match state.tabs.take_up(event) {
            None => (),
            Some(Reaction::Dialog { .. }) if state.hands_off => (),
            Some(Reaction::SetUp { session, frame }) => self.set_up(&session, frame),
            Some(Reaction::Dialog { session, dialog }) if self.devtools.is_held() => {
                state.left_open.insert(session, dialog);
                self.has_left_open.notify_one();
            }
            Some(Reaction::Dialog { session, dialog }) => {
                self.answer(&session, &dialog, &state.policy);
            }
        }
    }

    /// Answers the dialogs left open by a person who has returned control. True if a person still
    /// has control and an open dialog.
    fn is_left_open(&self) -> bool {
        let mut state = self.state.lock();
        if state.left_open.is_empty() {
            return false;
        }
        if self.devtools.is_held() {
            return true;
        }
        for (session, dialog) in std::mem::take(&mut state.left_open) {
            self.answer(&session, &dialog, &state.policy);
        }
        false
    }

    /// Answers a dialog by the policy.
    fn answer(&self, session: &str, dialog: &Dialog, policy: &DialogPolicy) {
        let leaving = dialog.kind == "beforeunload";
        let accept = leaving || policy.answer == DialogAnswer::Accept;
        let mut params = json!({ "accept": accept });
        if let (Some(text), Some(object)) = (&policy.text, params.as_object_mut()) {
            object.insert("promptText".to_owned(), Value::from(text.as_str()));
        }
        self.send(session, "Page.handleJavaScriptDialog", params);
    }

    /// Sends a command whose answer is not needed. It is sent when `call` returns.
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
        if !frame || self.wants.har || self.wants.recent || !self.headers.is_empty() {
            commands.push(enable("Network.enable"));
        }
        if !self.headers.is_empty() {
            let headers = json!({ "headers": self.headers });
            commands.push(("Network.setExtraHTTPHeaders", headers));
        }
        if self.wants.console || self.wants.recent {
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
