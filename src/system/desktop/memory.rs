//! The last tabs and cookies of a browser, including session cookies.
//!
//! Chromium writes cookies every half minute and loses session cookies when it ends. Therefore they
//! are read over DevTools (`Storage.getCookies`) and stored in the session's directory.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::directory::Kept;
use super::emulation;
use crate::domain::session::ProcessIdentity;
use crate::system::cdp::{CdpError, Connection, Devtools};

/// The longest time for a whole restoration.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest URL of a page that is remembered, in bytes.
const LONGEST_URL: usize = 64 * 1024;

/// The members of `Network.Cookie` that `Network.CookieParam` accepts unchanged.
const AS_THEY_ARE: [&str; 10] = [
    "name",
    "value",
    "path",
    "secure",
    "httpOnly",
    "sameSite",
    "priority",
    "sourceScheme",
    "sourcePort",
    "partitionKey",
];

/// The pages that a browser was asked for and has not loaded yet: the URLs by target id.
pub(super) type Opening = HashMap<String, String>;

/// The place of the first tab in a browser that shows an empty page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstTab {
    /// A page of its own, with no page before it in its history.
    OfItsOwn,
    /// The empty page. If that were closed instead, the override of the locale would end with it in every page of its
    /// renderer, which may be that of the new tab.
    InPlace,
}

/// The tabs and cookies of a browser.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The URLs of the pages, in the order in which they were opened.
    pub(super) tabs: Vec<String>,
    /// The cookies in the format of `Storage.getCookies`.
    pub(super) cookies: Vec<Value>,
    /// The network process that had the cookies; none after they were restored into another browser.
    #[serde(default)]
    pub(super) network: Option<ProcessIdentity>,
    /// The pages of this browser that have not loaded their first document yet. The next server knows them too, and
    /// does not take them for empty tabs.
    #[serde(default)]
    pub(super) opening: Opening,
}

/// The target of the first page of a browser; none if it has no page.
pub(super) async fn first_page(devtools: &Devtools) -> Result<Option<String>, CdpError> {
    let connection = Connection::open(devtools).await?;
    let targets = connection.call(None, "Target.getTargets", json!({})).await?;
    let targets = targets.get("targetInfos").and_then(Value::as_array).into_iter().flatten();
    let mut pages = targets.filter(|target| target.get("type").is_some_and(|kind| kind == "page"));
    let id = pages.next().and_then(|target| target.get("targetId")?.as_str());
    Ok(id.map(str::to_owned))
}

impl Memory {
    /// The memory of a browser that shows an empty page.
    pub(super) fn blank() -> Self {
        Self { tabs: vec!["about:blank".to_owned()], ..Self::default() }
    }

    /// Reads the cookies of a browser.
    pub(super) async fn cookies_of(devtools: &Devtools) -> Result<Vec<Value>, CdpError> {
        let connection = Connection::open(devtools).await?;
        let read = connection.call(None, "Storage.getCookies", json!({})).await?;
        Ok(read.get("cookies").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Reads `file`; none if it cannot be read. The log has the reason if it cannot be unsealed.
    pub(super) fn read(file: &Kept) -> Option<Self> {
        let text = match file.read() {
            Ok(text) => text?,
            Err(cause) => {
                tracing::warn!("tabs and logins of the session are not restored: {cause}");
                return None;
            }
        };
        let memory: Self = serde_json::from_str(&text).ok()?;
        (!memory.tabs.is_empty()).then_some(memory)
    }

    /// Writes to `file`, which is sealed and readable for its owner only.
    pub(super) fn write(&self, file: &Kept) -> std::io::Result<()> {
        file.write(&serde_json::to_string(self)?)
    }

    /// Restores tabs and cookies into a browser that shows an empty page. Resolves with the pages
    /// that it is opening, and with a text that names the losses.
    pub(super) async fn restore(&self, devtools: &Devtools, first: FirstTab) -> (Opening, String) {
        let mut lost = vec!["text typed into pages".to_owned()];
        let mut opening = Opening::new();
        match timeout(DEADLINE, self.put_back(devtools, first, &mut opening, &mut lost)).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => lost.push(format!("tabs or cookies: {cause}")),
            Err(_late) => lost.push("tabs or cookies: the browser did not answer".to_owned()),
        }
        (opening, lost.join("; "))
    }

    async fn put_back(
        &self,
        devtools: &Devtools,
        first: FirstTab,
        opening: &mut Opening,
        lost: &mut Vec<String>,
    ) -> Result<(), CdpError> {
        let connection = Connection::open(devtools).await?;
        // Cookies first, because pages would load without a login otherwise.
        self.put_cookies_back(&connection, lost).await;
        let targets = connection.call(None, "Target.getTargets", json!({})).await?;
        let mut empty: VecDeque<String> = targets
            .get("targetInfos")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|target| target.get("type").is_some_and(|kind| kind == "page"))
            .filter_map(|target| Some(target.get("targetId")?.as_str()?.to_owned()))
            .collect();
        let mut tabs = self.tabs.iter();
        if first == FirstTab::InPlace
            && let Some(target) = empty.pop_front()
            && let Some(url) = tabs.next()
        {
            emulation::navigate(devtools, &target, url, &Handle::current()).await;
            opening.insert(target, url.clone());
        }
        for url in tabs {
            let target = json!({ "url": url });
            match connection.call(None, "Target.createTarget", target).await {
                Ok(answer) => {
                    if let Some(target) = answer.get("targetId").and_then(Value::as_str) {
                        opening.insert(target.to_owned(), url.clone());
                    }
                }
                Err(CdpError::Refused { .. }) => lost.push("a tab".to_owned()),
                Err(cause) => return Err(cause),
            }
        }
        if !opening.is_empty() {
            close(&connection, &mut empty).await?;
        }
        Ok(())
    }

    /// Restores the cookies, and adds the ones that the browser rejects to `lost`.
    pub(super) async fn put_cookies_back(&self, connection: &Connection, lost: &mut Vec<String>) {
        let cookies: Vec<Value> = self.cookies.iter().filter_map(to_set).collect();
        let all = json!({ "cookies": cookies });
        if connection.call(None, "Storage.setCookies", all).await.is_err() {
            // One rejected cookie makes the call fail for all others.
            for cookie in cookies {
                let one = json!({ "cookies": [cookie] });
                if connection.call(None, "Storage.setCookies", one).await.is_err() {
                    let name = cookie.get("name").and_then(Value::as_str).unwrap_or("(unnamed)");
                    lost.push(format!("the cookie {name}"));
                }
            }
        }
    }
}

/// Closes pages, and resolves when they are gone. The next driver or keeper must not mistake one of
/// them for a page of the session.
async fn close(connection: &Connection, targets: &mut VecDeque<String>) -> Result<(), CdpError> {
    let mut events = connection.events();
    let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
    connection.call(None, "Target.setDiscoverTargets", discover).await?;
    for target in targets.iter() {
        let target = json!({ "targetId": target });
        connection.call(None, "Target.closeTarget", target).await?;
    }
    while !targets.is_empty() {
        let Some(event) = events.recv().await else { return Ok(()) };
        if event.method == "Target.targetDestroyed" {
            let gone = event.params.get("targetId").and_then(Value::as_str);
            targets.retain(|target| Some(target.as_str()) != gone);
        }
    }
    Ok(())
}

/// True if a requested page has loaded a document, by the answer of `Page.getNavigationHistory`. The URL of its target
/// is no sign of it: it is that of the request until the request fails or the process of the page dies.
pub(super) fn has_opened(history: &Value) -> bool {
    let entries = history.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut urls = entries.iter().filter_map(|entry| entry.get("url")?.as_str());
    // The first document takes the place of the empty page, or follows it.
    entries.len() > 1 || urls.any(|url| !is_blank(url))
}

/// True if this is the URL of a page before its first navigation.
pub(super) fn is_blank(url: &str) -> bool {
    url.is_empty() || url == "about:blank"
}

/// True if a page with this URL is worth opening again.
pub(super) fn is_worth_keeping(url: &str) -> bool {
    !url.is_empty() && url.len() <= LONGEST_URL
}

/// Converts a cookie that was read to one that can be set.
fn to_set(cookie: &Value) -> Option<Value> {
    let read = cookie.as_object()?;
    let mut set = Map::new();
    for name in AS_THEY_ARE {
        if let Some(value) = read.get(name) {
            set.insert(name.to_owned(), value.clone());
        }
    }
    let domain = read.get("domain")?.as_str()?;
    if domain.starts_with('.') {
        set.insert("domain".to_owned(), domain.into());
    } else {
        // A cookie with a domain would be sent to subdomains as well.
        let scheme = if read.get("secure") == Some(&Value::Bool(true)) { "https" } else { "http" };
        let path = read.get("path").and_then(Value::as_str).unwrap_or("/");
        set.insert("url".to_owned(), format!("{scheme}://{domain}{path}").into());
    }
    if read.get("session") != Some(&Value::Bool(true))
        && let Some(expires) = read.get("expires")
    {
        set.insert("expires".to_owned(), expires.clone());
    }
    Some(Value::Object(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_of_one_host_stays_one_and_one_of_the_session_gets_no_end() {
        let read = json!({
            "name": "login", "value": "ann", "domain": "example.org", "path": "/", "expires": -1,
            "size": 8, "httpOnly": true, "secure": true, "session": true,
        });
        let set = json!({
            "name": "login", "value": "ann", "path": "/", "url": "https://example.org/",
            "httpOnly": true, "secure": true,
        });
        assert_eq!(to_set(&read), Some(set));
        let read = json!({
            "name": "a", "value": "b", "domain": ".example.org", "path": "/x", "expires": 9.5,
            "secure": false, "session": false,
        });
        let set = json!({
            "name": "a", "value": "b", "domain": ".example.org", "path": "/x", "expires": 9.5,
            "secure": false,
        });
        assert_eq!(to_set(&read), Some(set));
        assert_eq!(to_set(&json!({ "name": "a" })), None);
    }
}
