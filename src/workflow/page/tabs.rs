//! The state of the tabs, derived from DevTools events; synchronous, without a connection.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::workflow::host::DevtoolsEvent;

/// The state of the document in the main frame of a tab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The id of the loader; changes with every navigation to another document.
    pub loader: String,
    /// The load events received: `load`, `DOMContentLoaded`, `networkIdle`.
    pub reached: HashSet<String>,
    /// The status of the response, if the document came over HTTP.
    pub status: Option<u16>,
    /// The URL, updated by navigations within the document.
    pub url: String,
    /// True if the browser shows an error in place of the page.
    pub is_error: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Tab {
    /// The id of the DevTools target.
    pub target: String,
    /// The id of the main frame; Chromium uses the same text as for the target.
    pub main_frame: String,
    /// The position among all tabs in the order in which they were attached.
    pub position: u64,
    pub document: Document,
    /// The loaders of the latest documents, the one shown included.
    pub loaders: Vec<String>,
    /// The number of navigations so far, those within a document included.
    pub navigations: u64,
    /// True if the page has requested a navigation that has not ended.
    pub navigating: bool,
    /// The status codes of documents that have a response but are not shown yet, by loader.
    pub answered: HashMap<String, u16>,
    /// The ids of the requests in progress.
    pub requests: HashSet<String>,
    /// True if the process has crashed.
    pub crashed: bool,
}

/// A dialog that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// The type: `alert`, `confirm`, `prompt`, `beforeunload`.
    pub kind: String,
    /// The text of the dialog.
    pub message: String,
}

/// A download that the browser has started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Download {
    /// The GUID that DevTools assigns; also the name of the file.
    pub guid: String,
    /// The name that the site suggests.
    pub name: String,
    /// The URL from which it was downloaded.
    pub url: String,
    /// The state: `inProgress`, `completed`, `canceled`.
    pub state: String,
}

/// A follow-up that an event requires of the connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// A tab was attached and must be set up.
    SetUp {
        /// The session that was attached.
        session: String,
        /// True for a frame with a process of its own.
        frame: bool,
    },
    /// A dialog was opened and must be answered.
    Dialog {
        /// The session that shows the dialog.
        session: String,
        dialog: Dialog,
    },
}

/// All tabs of the browser.
#[derive(Debug, Default)]
pub struct Tabs {
    /// The tabs, by session.
    pub tabs: HashMap<String, Tab>,
    /// The sessions in the order in which they became current; the last is the current tab.
    pub order: Vec<String>,
    /// The session of each frame with a process of its own, by frame.
    pub frames: HashMap<String, String>,
    /// The frame of each such session.
    pub frame_sessions: HashMap<String, String>,
    /// The parent session of each such session.
    pub parents: HashMap<String, String>,
    /// The latest dialogs, oldest first.
    pub dialogs: Vec<Dialog>,
    /// The downloads, in the order in which they started.
    pub downloads: Vec<Download>,
    /// The file choosers opened, as session and node.
    pub choosers: Vec<(String, i64)>,
    /// The data of a drag that a page has started.
    pub drag: Option<Value>,
    /// True if a new tab becomes the current tab.
    pub follow: bool,
    /// The number of tabs attached so far.
    pub attached: u64,
    /// Incremented whenever an execution context may have been destroyed.
    pub contexts: u64,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Tabs {
    /// Returns the session of the current tab.
    pub fn working(&self) -> Option<&String> {
        self.order.last()
    }

    pub fn tab(&self, session: &str) -> Option<&Tab> {
        self.tabs.get(session)
    }

    /// Makes a tab the current tab.
    pub fn work_in(&mut self, session: &str) {
        self.order.retain(|other| other != session);
        self.order.push(session.to_owned());
    }

    /// Applies an event, and returns the follow-up that it requires.
    pub fn take_up(&mut self, event: &DevtoolsEvent) -> Option<Reaction> {
        let params = &event.params;
        let session = event.session.as_deref();
        match event.method.as_str() {
            "Target.attachedToTarget" => return self.on_attached(session, params),
            "Target.targetInfoChanged" => {
                let info = params.get("targetInfo")?;
                let target = text(info, "targetId");
                if let Some(tab) = self.tabs.values_mut().find(|tab| tab.target == target) {
                    text(info, "url").clone_into(&mut tab.document.url);
                }
            }
            "Target.detachedFromTarget" => self.on_detached(text(params, "sessionId")),
            "Inspector.targetCrashed" => {
                if let Some(tab) = session.and_then(|session| self.tabs.get_mut(session)) {
                    tab.crashed = true;
                }
            }
            "Page.javascriptDialogOpening" => {
                let dialog = Dialog {
                    kind: text(params, "type").to_owned(),
                    message: text(params, "message").to_owned(),
                };
                if self.dialogs.len() >= 100 {
                    self.dialogs.remove(0);
                }
                self.dialogs.push(dialog.clone());
                return Some(Reaction::Dialog { session: session?.to_owned(), dialog });
            }
            "Page.fileChooserOpened" => {
                let node = params.get("backendNodeId").and_then(Value::as_i64)?;
                self.choosers.push((session?.to_owned(), node));
            }
            "Input.dragIntercepted" => self.drag = params.get("data").cloned(),
            "Browser.downloadWillBegin" => self.downloads.push(Download {
                guid: text(params, "guid").to_owned(),
                name: text(params, "suggestedFilename").to_owned(),
                url: text(params, "url").to_owned(),
                state: "inProgress".to_owned(),
            }),
            "Browser.downloadProgress" => {
                let guid = text(params, "guid");
                let known = self.downloads.iter_mut().find(|download| download.guid == guid);
                if let Some(download) = known {
                    text(params, "state").clone_into(&mut download.state);
                }
            }
            method => {
                if let Some(tab) = session.and_then(|session| self.tabs.get_mut(session)) {
                    let moved = tab.take_up(method, params);
                    self.contexts += u64::from(moved);
                } else if method == "Page.frameNavigated" {
                    self.contexts += 1;
                }
            }
        }
        None
    }

    fn on_attached(&mut self, around: Option<&str>, params: &Value) -> Option<Reaction> {
        let session = text(params, "sessionId").to_owned();
        let info = params.get("targetInfo")?;
        let target = text(info, "targetId").to_owned();
        match text(info, "type") {
            "page" => {
                if self.tabs.values().any(|tab| tab.target == target) {
                    return None; // Attached twice; the first attachment is in use.
                }
                let document =
                    Document { url: text(info, "url").to_owned(), ..Document::default() };
                let main_frame = target.clone();
                self.attached += 1;
                let position = self.attached;
                let tab = Tab { target, main_frame, position, document, ..Tab::default() };
                self.tabs.insert(session.clone(), tab);
                if self.follow || self.order.is_empty() {
                    self.work_in(&session);
                } else {
                    self.order.insert(0, session.clone());
                }
                Some(Reaction::SetUp { session, frame: false })
            }
            "iframe" => {
                self.frames.insert(target.clone(), session.clone());
                self.parents.insert(session.clone(), around?.to_owned());
                self.frame_sessions.insert(session.clone(), target);
                self.contexts += 1;
                Some(Reaction::SetUp { session, frame: true })
            }
            _ => None,
        }
    }

    fn on_detached(&mut self, session: &str) {
        self.tabs.remove(session);
        self.order.retain(|other| other != session);
        self.parents.remove(session);
        if let Some(frame) = self.frame_sessions.remove(session)
            && self.frames.get(&frame).is_some_and(|current| current == session)
        {
            self.frames.remove(&frame);
        }
        self.contexts += 1;
    }
}

impl Tab {
    /// Records that the tab shows another document.
    fn show(&mut self, loader: &str) {
        if self.document.loader == loader {
            return;
        }
        let status = self.answered.remove(loader);
        let url = std::mem::take(&mut self.document.url);
        self.answered.clear();
        self.requests.clear();
        if self.loaders.len() >= 20 {
            self.loaders.remove(0);
        }
        self.loaders.push(loader.to_owned());
        self.document = Document { loader: loader.to_owned(), status, url, ..Document::default() };
    }

    /// Applies an event; true if a frame got another document.
    fn take_up(&mut self, method: &str, params: &Value) -> bool {
        let main = |key: &str| text(params, key) == self.main_frame;
        match method {
            "Page.frameNavigated" => {
                let Some(frame) = params.get("frame") else { return false };
                if text(frame, "id") == self.main_frame {
                    self.show(text(frame, "loaderId"));
                    self.document.url =
                        format!("{}{}", text(frame, "url"), text(frame, "urlFragment"));
                    self.document.is_error = frame.get("unreachableUrl").is_some();
                    if text(params, "type") == "BackForwardCacheRestore" {
                        // The document was loaded before; its events do not come again.
                        let events = ["DOMContentLoaded", "load"].map(str::to_owned);
                        self.document.reached.extend(events);
                    }
                    self.navigations += 1;
                    self.navigating = false;
                    self.crashed = false;
                }
                return true;
            }
            "Page.navigatedWithinDocument" if main("frameId") => {
                text(params, "url").clone_into(&mut self.document.url);
                self.navigations += 1;
                self.navigating = false;
            }
            "Page.frameRequestedNavigation" | "Page.frameScheduledNavigation"
                if main("frameId")
                    && ["http:", "https:", "data:", "blob:", "about:", "file:"]
                        .iter()
                        .any(|scheme| text(params, "url").starts_with(scheme))
                    && !matches!(
                        text(params, "disposition"),
                        "newTab" | "newWindow" | "download"
                    ) =>
            {
                self.navigating = true;
            }
            "Page.frameClearedScheduledNavigation"
            | "Page.frameStoppedLoading"
            | "Page.downloadWillBegin"
                if main("frameId") =>
            {
                self.navigating = false;
            }
            "Page.lifecycleEvent" if main("frameId") => {
                let (loader, name) = (text(params, "loaderId"), text(params, "name"));
                // The tab may have been attached after its document arrived.
                if self.document.loader.is_empty() || name == "init" {
                    self.show(loader);
                }
                if self.document.loader == loader {
                    self.document.reached.insert(name.to_owned());
                }
            }
            "Network.requestWillBeSent" => {
                self.requests.insert(text(params, "requestId").to_owned());
            }
            "Network.loadingFinished" | "Network.loadingFailed" => {
                self.requests.remove(text(params, "requestId"));
            }
            "Network.responseReceived" if main("frameId") && text(params, "type") == "Document" => {
                let status = params.pointer("/response/status").and_then(Value::as_u64);
                if let Some(status) = status.and_then(|status| u16::try_from(status).ok()) {
                    let loader = text(params, "loaderId");
                    if loader == self.document.loader {
                        self.document.status = Some(status);
                    } else {
                        self.answered.insert(loader.to_owned(), status);
                    }
                }
            }
            _ => (),
        }
        false
    }
}
