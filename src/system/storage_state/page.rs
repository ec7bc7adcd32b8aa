//! A hidden page in which the storage of origins is read and written.
//!
//! Chromium gives access to an origin's storage through a page of that origin only. This page is no tab
//! (`Target.createTarget` with `hidden`): it has no window, its type is `other`, and it ends with the DevTools
//! connection that made it, however that ends. It requests nothing: each request is answered here with an empty
//! page (`Fetch.enable`), service workers are bypassed, and the scripts run in a world of their own.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::StorageError;
use super::state::{Database, Item, OriginStorage};
use crate::system::cdp::{CdpError, CdpEvent, Connection, Devtools};

/// The longest wait for an answer of the browser itself.
const ANSWERS: Duration = Duration::from_secs(10);

/// The longest time to open one origin: its process starts meanwhile.
const OPENS: Duration = Duration::from_secs(10);

/// The longest time that a script may work on one origin, and on one of its databases.
const WORKS: Duration = Duration::from_secs(20);
const ONE_DATABASE: Duration = Duration::from_secs(5);

const COLLECT: &str = include_str!("collect.js");
const RESTORE: &str = include_str!("restore.js");

/// `<!doctype html>` in base64.
const EMPTY: &str = "PCFkb2N0eXBlIGh0bWw+";

/// The reason for which the storage of one origin was not read or written. It repeats no stored value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginError {
    #[error("the browser did not answer in time, or a driver holds its new pages")]
    Late,
    #[error("the browser opens {0} instead")]
    Elsewhere(String),
    #[error("the browser does not open it: {0}")]
    Refused(String),
    #[error("localStorage: {0}")]
    LocalStorage(String),
    #[error("the database {name:?}: {cause}")]
    Database { name: String, cause: String },
    /// A database exists with another version, or other stores.
    #[error("the database {0:?} has another form")]
    OtherForm(String),
    #[error("it has more than the limit")]
    TooLarge,
    #[error("the connection to the browser has ended")]
    Disconnected,
}

impl From<CdpError> for OriginError {
    fn from(cause: CdpError) -> Self {
        match cause {
            CdpError::Refused { message, .. } => Self::Refused(message),
            CdpError::Busy { .. } => Self::Late,
            CdpError::NotConnected { .. } | CdpError::Disconnected => Self::Disconnected,
        }
    }
}

/// The answer of a script.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<T> {
    ok: Option<T>,
    elsewhere: Option<String>,
    failed: Option<String>,
    database: Option<String>,
    #[serde(default)]
    too_large: bool,
}

/// The argument of the script that writes.
#[derive(Serialize)]
struct ToRestore<'a> {
    storage: &'a OriginStorage,
    patience: u64,
}

/// The time for one database, in milliseconds.
fn patience() -> u64 {
    u64::try_from(ONE_DATABASE.as_millis()).unwrap_or(u64::MAX)
}

/// The storage of an origin, and the numbers of its parts that Playwright's form cannot express.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Collected {
    pub(super) local_storage: Vec<Item>,
    #[serde(rename = "indexedDB")]
    pub(super) indexed_db: Vec<Database>,
    pub(super) omitted: Omitted,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Omitted {
    pub(super) items: u64,
    pub(super) records: u64,
    pub(super) databases: u64,
}

/// The outcome of writing the storage of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Restored {
    /// True if `localStorage` has changed.
    pub(super) changed: bool,
    /// The number of records without a key. Playwright loses the key 0.
    pub(super) keyless: u64,
}

/// A hidden page, which closes when this is dropped.
#[derive(Debug)]
pub(super) struct HiddenPage {
    connection: Connection,
    target: String,
    session: String,
    _answering: AbortOnDropHandle<()>,
}

/// Opens a connection to the browser.
pub(super) async fn connect(devtools: &Devtools) -> Result<Connection, StorageError> {
    let connected = timeout(ANSWERS, Connection::open(devtools)).await;
    connected.map_err(|_late| StorageError::Unanswered)?.map_err(|_cause| StorageError::Unanswered)
}

/// Sends a command to the browser, and returns its answer.
pub(super) async fn call(
    connection: &Connection,
    session: Option<&str>,
    method: &str,
    params: Value,
) -> Result<Value, StorageError> {
    match timeout(ANSWERS, connection.call(session, method, params)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(CdpError::Refused { method, message, .. })) => {
            Err(StorageError::Refused { method, message })
        }
        Ok(Err(_)) | Err(_) => Err(StorageError::Unanswered),
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl HiddenPage {
    pub(super) async fn open(devtools: &Devtools) -> Result<Self, StorageError> {
        let connection = connect(devtools).await?;
        let events = connection.events();
        let asked = json!({ "url": "about:blank", "hidden": true, "background": true });
        let made = call(&connection, None, "Target.createTarget", asked).await?;
        let target = text(&made, "targetId");
        let named = json!({ "targetId": target });
        let info = call(&connection, None, "Target.getTargetInfo", named.clone()).await?;
        if info.pointer("/targetInfo/type").is_some_and(|kind| kind == "page") {
            // An older browser takes no notice of `hidden`, and has opened a tab.
            let _ = call(&connection, None, "Target.closeTarget", named).await;
            return Err(StorageError::Unsupported);
        }
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = call(&connection, None, "Target.attachToTarget", attach).await?;
        let session = text(&attached, "sessionId");
        let answering = tokio::spawn(answer(connection.clone(), session.clone(), events));
        let answering = AbortOnDropHandle::new(answering);
        let everything = json!({ "patterns": [{ "urlPattern": "*" }] });
        let set_up = [
            ("Network.enable", json!({})),
            ("Network.setBypassServiceWorker", json!({ "bypass": true })),
            ("Fetch.enable", everything),
        ];
        for (method, params) in set_up {
            call(&connection, Some(&session), method, params).await?;
        }
        Ok(Self { connection, target, session, _answering: answering })
    }

    /// Closes the page. The browser writes its `localStorage` to disk then, unless a tab has it too.
    pub(super) async fn close(self) {
        let named = json!({ "targetId": self.target });
        let _ = call(&self.connection, None, "Target.closeTarget", named).await;
    }

    /// Reads the storage of an origin, of at most `budget` characters.
    pub(super) async fn collect(
        &self,
        origin: &str,
        indexed_db: bool,
        budget: usize,
    ) -> Result<Collected, OriginError> {
        let argument = json!({
            "origin": origin,
            "indexedDb": indexed_db,
            "budget": budget,
            "patience": patience(),
        });
        self.run(origin, COLLECT, argument.to_string()).await
    }

    /// Writes the storage of an origin. A failure leaves the parts before it written.
    pub(super) async fn restore(&self, storage: &OriginStorage) -> Result<Restored, OriginError> {
        let argument = ToRestore { storage, patience: patience() };
        let argument = serde_json::to_string(&argument)
            .map_err(|cause| OriginError::Refused(cause.to_string()))?;
        self.run(&storage.origin, RESTORE, argument).await
    }

    /// Removes these kinds of an origin's data. Connections of tabs to its databases are closed.
    pub(super) async fn clear(&self, origin: &str, kinds: &str) -> Result<(), OriginError> {
        let params = json!({ "origin": origin, "storageTypes": kinds });
        self.call("Storage.clearDataForOrigin", params, ANSWERS).await.map(drop)
    }

    async fn call(
        &self,
        method: &str,
        params: Value,
        limit: Duration,
    ) -> Result<Value, OriginError> {
        let called = self.connection.call(Some(&self.session), method, params);
        timeout(limit, called).await.map_err(|_late| OriginError::Late)?.map_err(Into::into)
    }

    /// Opens an empty page of the origin, and calls a script in it.
    async fn run<T: DeserializeOwned>(
        &self,
        origin: &str,
        script: &str,
        argument: String,
    ) -> Result<T, OriginError> {
        let url = json!({ "url": format!("{origin}/") });
        let opened = self.call("Page.navigate", url, OPENS).await?;
        if let Some(cause) = opened.get("errorText").and_then(Value::as_str) {
            return Err(OriginError::Refused(cause.to_owned()));
        }
        let frame = text(&opened, "frameId");
        let world = json!({ "frameId": frame, "worldName": "greenroom" });
        let world = self.call("Page.createIsolatedWorld", world, ANSWERS).await?;
        let context = world.get("executionContextId").cloned().unwrap_or_default();
        let function = json!({
            "functionDeclaration": script,
            "arguments": [{ "value": argument }],
            "executionContextId": context,
            "awaitPromise": true,
            "returnByValue": true,
        });
        let answer = self.call("Runtime.callFunctionOn", function, WORKS).await?;
        let read = answer.pointer("/result/value").and_then(Value::as_str);
        let read = read.and_then(|text| serde_json::from_str::<Answer<T>>(text).ok());
        // An exception may repeat a value, so its text is not used.
        let Some(answer) = read else {
            return Err(OriginError::Refused("the script failed".to_owned()));
        };
        answer.outcome()
    }
}

impl<T> Answer<T> {
    fn outcome(self) -> Result<T, OriginError> {
        let Self { ok, elsewhere, failed, database, too_large } = self;
        match (elsewhere, failed, database) {
            (Some(origin), ..) => Err(OriginError::Elsewhere(origin)),
            (None, Some(cause), Some(name)) if cause == "FormError" => {
                Err(OriginError::OtherForm(name))
            }
            (None, Some(cause), Some(name)) => Err(OriginError::Database { name, cause }),
            (None, Some(cause), None) => Err(OriginError::LocalStorage(cause)),
            (None, None, _) if too_large => Err(OriginError::TooLarge),
            (None, None, _) => {
                ok.ok_or_else(|| OriginError::Refused("the script failed".to_owned()))
            }
        }
    }
}

/// Answers each request of the page with an empty page, until it is closed.
async fn answer(connection: Connection, session: String, mut events: mpsc::Receiver<CdpEvent>) {
    while let Some(event) = events.recv().await {
        if event.method != "Fetch.requestPaused" || event.session.as_deref() != Some(&*session) {
            continue;
        }
        let answer = json!({
            "requestId": event.params.get("requestId"),
            "responseCode": 200,
            "responseHeaders": [{ "name": "content-type", "value": "text/html" }],
            "body": EMPTY,
        });
        drop(connection.call(Some(&session), "Fetch.fulfillRequest", answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Result<Restored, OriginError> {
        serde_json::from_str::<Answer<Restored>>(text).unwrap().outcome()
    }

    #[test]
    fn answers_of_the_scripts_are_distinguished() {
        let restored = Restored { changed: true, keyless: 0 };
        assert_eq!(answered(r#"{"ok":{"changed":true,"keyless":0}}"#), Ok(restored));
        let elsewhere = OriginError::Elsewhere("https://a.example".to_owned());
        assert_eq!(answered(r#"{"elsewhere":"https://a.example"}"#), Err(elsewhere));
        let form = OriginError::OtherForm("app".to_owned());
        assert_eq!(answered(r#"{"failed":"FormError","database":"app"}"#), Err(form));
        let quota = OriginError::LocalStorage("QuotaExceededError".to_owned());
        assert_eq!(answered(r#"{"failed":"QuotaExceededError"}"#), Err(quota));
        assert_eq!(answered(r#"{"tooLarge":true}"#), Err(OriginError::TooLarge));
    }
}
