//! Files that the viewer in control gives to a page: to the file chooser that the page has opened,
//! or dropped at a place.
//!
//! The viewer uploads a file first, and then names it here:
//! `{"kind":"give-files","names":[str],"x":float,"y":float,"in":"display"|"page"}`. The answer is
//! `{"kind":"files-given","to":"chooser"|"input"|"page","names":[str]}`, or an `error`.
//!
//! After `{"kind":"handle-file-choosers"}` the browser opens no dialog of its own while the viewer
//! has control. Once that is so, and then at each change, the server sends
//! `{"kind":"file-chooser","open":bool,"multiple":bool}`. `{"kind":"cancel-file-chooser"}` closes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::Channel;
use crate::live::bridge::Close;
use crate::live::dropping::{Point, drop_files};
use crate::live::pages::Pages;

/// The most files that are given at once.
const MOST_FILES: usize = 100;

/// The delay before the browser is connected to again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The time that a page has to hand its file choosers over.
const GLANCE: Duration = Duration::from_millis(500);

/// The file choosers of one channel.
#[derive(Debug, Default)]
pub(super) struct Choosers {
    /// True if the viewer shows file choosers itself.
    handled: watch::Sender<bool>,
    open: Mutex<Option<Chooser>>,
}

/// A file chooser that a page has opened.
#[derive(Debug, Clone)]
struct Chooser {
    pages: Arc<Pages>,
    session: String,
    /// The file input, by DevTools' number.
    node: i64,
    multiple: bool,
}

impl Choosers {
    /// Notes that the viewer shows file choosers itself.
    pub(super) fn handle(&self) {
        self.handled.send_replace(true);
    }

    /// Forgets the open file chooser.
    pub(super) fn cancel(&self) {
        self.open.lock().take();
    }
}

/// The files of a message, and the place at which they are dropped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GivenFiles {
    names: Vec<String>,
    x: Option<f64>,
    y: Option<f64>,
    #[serde(rename = "in")]
    within: Option<String>,
}

impl GivenFiles {
    fn point(&self) -> Option<Point> {
        let (x, y) = (self.x?, self.y?);
        match self.within.as_deref() {
            Some("page") => Some(Point::Page(x, y)),
            Some("display") | None => Some(Point::Display(x, y)),
            Some(_unknown) => None,
        }
    }
}

/// The message that no file chooser is open.
fn closed() -> Value {
    json!({ "kind": "file-chooser", "open": false, "multiple": false })
}

impl Channel {
    /// Gives uploaded files to the page.
    pub(super) async fn give_files(&self, given: GivenFiles) -> Result<Value, String> {
        let point = given.point();
        let names = given.names;
        if names.is_empty() || names.len() > MOST_FILES {
            return Err(format!("name 1 to {MOST_FILES} uploaded files"));
        }
        let files = self.viewer.live.world.directories.files_of(self.session);
        let looked_up = names.clone();
        let paths = tokio::task::spawn_blocking(move || {
            let path = |name: &String| {
                let found = files.path_of_upload(name);
                found.map_err(|_none| format!("{name:?} is not among the session's uploads"))
            };
            looked_up.iter().map(path).collect::<Result<Vec<PathBuf>, String>>()
        });
        let paths = paths.await.map_err(|cause| cause.to_string())??;
        let chooser = self.choosers.open.lock().clone();
        let to = match (chooser, point) {
            (Some(chooser), _) => {
                if !chooser.multiple && paths.len() > 1 {
                    return Err("the page asks for one file".to_owned());
                }
                self.choosers.cancel();
                let params = json!({ "backendNodeId": chooser.node, "files": paths });
                let session = Some(chooser.session.as_str());
                chooser.pages.call(session, "DOM.setFileInputFiles", params).await?;
                "chooser"
            }
            (None, Some(point)) => drop_files(&self.pages().await?, &paths, point).await?.as_str(),
            (None, None) => return Err("the page asks for no file".to_owned()),
        };
        Ok(json!({ "kind": "files-given", "to": to, "names": names }))
    }

    /// Reports the file choosers that pages open while the viewer has control and handles them.
    pub(super) async fn report_choosers(&self, say: &mpsc::Sender<Value>) -> Close {
        let mut handled = self.choosers.handled.subscribe();
        if handled.wait_for(|handled| *handled).await.is_err() {
            return std::future::pending().await; // Unreachable: `self` has the sender.
        }
        let mut view = self.connected.view.clone();
        loop {
            if view.wait_for(|view| self.has_control_in(view)).await.is_err() {
                return std::future::pending().await;
            }
            let mut later = view.clone();
            let lost = later.wait_for(|view| !self.has_control_in(view));
            let is_lost = tokio::select! {
                _lost = lost => true,
                _gone = self.follow_choosers(say) => false,
            };
            if self.choosers.open.lock().take().is_some() {
                let _ = say.send(closed()).await;
            }
            if !is_lost {
                // The browser is gone, but may be restarted.
                sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Follows the file choosers of all pages until the connection to the browser ends. With the
    /// connection, the browser's own dialogs come back.
    async fn follow_choosers(&self, say: &mpsc::Sender<Value>) -> Result<(), String> {
        let pages = Arc::new(self.pages().await?);
        let mut events = pages.events();
        let attach = json!({
            "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true,
            "filter": [{ "type": "page" }, { "type": "iframe" }],
        });
        pages.call(None, "Target.setAutoAttach", attach.clone()).await?;
        let mut is_reported = false;
        while let Some(event) = events.recv().await {
            let text = |name: &str| event.params.get(name).and_then(Value::as_str);
            match event.method.as_str() {
                "Target.attachedToTarget" => {
                    let Some(session) = text("sessionId") else { continue };
                    pages.notify(session, "Page.enable", json!({}));
                    let intercept = json!({ "enabled": true });
                    let set = pages.send(session, "Page.setInterceptFileChooserDialog", intercept);
                    pages.notify(session, "Target.setAutoAttach", attach.clone());
                    let _ = timeout(GLANCE, set).await; // A page that hangs opens no chooser.
                    if !is_reported {
                        let _ = say.send(closed()).await;
                        is_reported = true;
                    }
                }
                "Page.fileChooserOpened" => {
                    let node = event.params.get("backendNodeId").and_then(Value::as_i64);
                    let (Some(session), Some(node)) = (event.session.clone(), node) else {
                        let message = "the page asks for a file in a way that the view does not \
                                       offer; use its own upload button, or drop the file on it";
                        let _ = say.send(super::error("file-chooser", message)).await;
                        continue;
                    };
                    let multiple = text("mode") == Some("selectMultiple");
                    let chooser = Chooser { pages: Arc::clone(&pages), session, node, multiple };
                    *self.choosers.open.lock() = Some(chooser);
                    let message =
                        json!({ "kind": "file-chooser", "open": true, "multiple": multiple });
                    let _ = say.send(message).await;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
