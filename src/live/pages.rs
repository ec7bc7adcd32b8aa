//! The tabs of a session's browser, for message channels and screencasts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::actors::world::World;
use crate::domain::session::DesktopIdentity;
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

/// The time that the browser has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that a page has to report whether it is in view.
const GLANCE: Duration = Duration::from_millis(500);

/// One tab of the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tab {
    pub id: String,
    pub title: String,
    pub url: String,
    pub active: bool,
}

/// A connection to the browser, which lasts as long as it is needed.
#[derive(Debug)]
pub(super) struct Pages {
    devtools: Arc<dyn Devtools>,
    /// The DevTools session of each attached tab, by the tab's id.
    attached: Mutex<Vec<(String, String)>>,
}

/// The message for the viewer about a failed command.
type Failed = String;

fn failed(cause: DevtoolsError) -> Failed {
    match cause {
        DevtoolsError::Refused { message, .. } => message,
        DevtoolsError::Disconnected => "the browser does not answer".to_owned(),
    }
}

impl Pages {
    pub async fn connect(world: &World, desktop: &DesktopIdentity) -> Result<Self, Failed> {
        let dialled = timeout(PATIENCE, world.browsers.dial(desktop)).await;
        let devtools = dialled.unwrap_or_else(|_late| Err("the browser does not answer".into()))?;
        Ok(Self { devtools, attached: Mutex::default() })
    }

    /// Returns a function that resolves each time the tabs may have changed; with `false` once the
    /// browser is gone.
    pub async fn discover(&self) -> Result<impl AsyncFnMut() -> bool + use<>, Failed> {
        let mut events = self.devtools.events();
        let filter = json!({ "discover": true, "filter": [{ "type": "page" }] });
        self.call(None, "Target.setDiscoverTargets", filter).await?;
        Ok(async move || {
            while let Some(event) = events.recv().await {
                if event.method.starts_with("Target.target") {
                    while events.try_recv().is_ok() {}
                    return true;
                }
            }
            false
        })
    }

    /// Returns the events of the browser and of the attached tabs.
    pub fn events(&self) -> mpsc::Receiver<DevtoolsEvent> {
        self.devtools.events()
    }

    /// Sends a command without waiting for its answer.
    pub fn notify(&self, session: &str, method: &str, params: Value) {
        drop(self.devtools.call(Some(session), method, params));
    }

    /// Sends a command at once, and resolves with its result, without a timeout.
    pub fn send(
        &self,
        session: &str,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>> {
        self.devtools.call(Some(session), method, params)
    }

    pub async fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, Failed> {
        let called = self.devtools.call(session, method, params);
        match timeout(PATIENCE, called).await {
            Ok(answer) => answer.map_err(failed),
            Err(_late) => Err("the browser does not answer".to_owned()),
        }
    }

    /// Returns the tabs in the order of the browser; one of them is active.
    pub async fn tabs(&self) -> Result<Vec<Tab>, Failed> {
        let filter = json!({ "filter": [{ "type": "page" }] });
        let answer = self.call(None, "Target.getTargets", filter).await?;
        let infos = answer.get("targetInfos").and_then(Value::as_array).cloned();
        let text = |info: &Value, key: &str| {
            info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let mut tabs: Vec<Tab> = infos
            .unwrap_or_default()
            .iter()
            .filter(|info| !text(info, "url").starts_with("devtools://"))
            .map(|info| Tab {
                id: text(info, "targetId"),
                title: text(info, "title"),
                url: text(info, "url"),
                active: false,
            })
            .collect();
        let mut active = 0;
        if tabs.len() > 1 {
            let said = join_all(tabs.iter().map(|tab| self.is_in_view(&tab.id))).await;
            let first = |what| said.iter().position(|said| *said == what);
            // A tab that hangs does not answer. It counts as in view if no other tab is.
            active = first(Some(true)).or_else(|| first(None)).unwrap_or(0);
        }
        if let Some(tab) = tabs.get_mut(active) {
            tab.active = true;
        }
        Ok(tabs)
    }

    /// Returns the present address of a tab.
    pub async fn address(&self, target: &str) -> Result<String, Failed> {
        let params = json!({ "targetId": target });
        let answer = self.call(None, "Target.getTargetInfo", params).await?;
        let url = answer.pointer("/targetInfo/url").and_then(Value::as_str);
        Ok(url.unwrap_or_default().to_owned())
    }

    /// Returns true if a tab is in view; `None` if it does not answer in time.
    async fn is_in_view(&self, target: &str) -> Option<bool> {
        let asked = async {
            let expression = "document.visibilityState === 'visible'";
            let session = self.attach(target).await.ok()?;
            let params = json!({ "expression": expression, "returnByValue": true });
            let answer = self.call(Some(&session), "Runtime.evaluate", params).await.ok()?;
            answer.pointer("/result/value").and_then(Value::as_bool)
        };
        timeout(GLANCE, asked).await.ok().flatten()
    }

    /// Returns the DevTools session of a tab; attaches to the tab if needed.
    pub async fn attach(&self, target: &str) -> Result<String, Failed> {
        let known = self.attached.lock().iter().find(|(id, _)| id == target).cloned();
        if let Some((_, session)) = known {
            return Ok(session);
        }
        let params = json!({ "targetId": target, "flatten": true });
        let answer = self.call(None, "Target.attachToTarget", params).await?;
        let session = answer.get("sessionId").and_then(Value::as_str).unwrap_or_default();
        self.attached.lock().push((target.to_owned(), session.to_owned()));
        Ok(session.to_owned())
    }

    /// Returns the tab in view.
    pub async fn active(&self) -> Result<Tab, Failed> {
        let tabs = self.tabs().await?;
        tabs.into_iter().find(|tab| tab.active).ok_or_else(|| "no page is open".to_owned())
    }

    /// Sends a command to the tab in view.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value, Failed> {
        let tab = self.active().await?;
        let session = self.attach(&tab.id).await?;
        self.call(Some(&session), method, params).await
    }

    /// Returns the selected text in the tab in view.
    pub async fn selection(&self) -> Result<String, Failed> {
        let expression = "(() => { const it = document.activeElement; \
             if (it && typeof it.selectionStart === 'number' && it.type !== 'password') { \
             const text = it.value.slice(it.selectionStart, it.selectionEnd); if (text) return text; } \
             return String(getSelection() ?? ''); })()";
        let params = json!({ "expression": expression, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", params).await?;
        let text = answer.pointer("/result/value").and_then(Value::as_str);
        Ok(text.unwrap_or_default().to_owned())
    }

    /// Navigates by `by` entries in the history of the tab in view.
    pub async fn travel(&self, by: i64) -> Result<(), Failed> {
        let history = self.ask("Page.getNavigationHistory", json!({})).await?;
        let at = history.get("currentIndex").and_then(Value::as_i64).unwrap_or(0);
        let entry = usize::try_from(at + by)
            .ok()
            .and_then(|index| history.get("entries")?.as_array()?.get(index)?.get("id")?.as_i64());
        let entry = entry.ok_or_else(|| "there is no such page in the history".to_owned())?;
        self.ask("Page.navigateToHistoryEntry", json!({ "entryId": entry })).await.map(drop)
    }
}
