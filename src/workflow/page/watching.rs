//! Recording of network traffic and console output, for runs that ask for it.

use std::fmt;
use std::sync::Arc;

use chrono::Utc;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::console::Console;
use super::recent::{ConsoleMessage, NetworkRequest, Recent};
use super::traffic::{Body, Traffic};
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

/// The records that a run or another client asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// True if requests and responses are recorded, as HAR.
    pub har: bool,
    /// True if console output is recorded.
    pub console: bool,
    /// True if the latest console messages and requests are kept.
    pub recent: bool,
}

impl Wants {
    /// True if at least one of them is recorded.
    pub fn any(self) -> bool {
        self.har || self.console || self.recent
    }
}

#[derive(Default)]
struct Kept {
    traffic: Traffic,
    console: Console,
    recent: Recent,
}

/// A recorder, which records until it is dropped.
pub struct Watching {
    wants: Wants,
    kept: Arc<Mutex<Kept>>,
    _pump: AbortOnDropHandle<()>,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").field("wants", &self.wants).finish_non_exhaustive()
    }
}

impl Watching {
    /// Starts recording `events`. It must be started before any tab is attached.
    pub(super) fn start(
        wants: Wants,
        devtools: &Arc<dyn Devtools>,
        events: mpsc::Receiver<DevtoolsEvent>,
    ) -> Self {
        let since = Utc::now();
        let kept = Kept { console: Console::since(since), ..Kept::default() };
        let kept = Arc::new(Mutex::new(kept));
        let pump = pump(wants, Arc::clone(devtools), events, Arc::clone(&kept));
        Self { wants, kept, _pump: AbortOnDropHandle::new(tokio::spawn(pump)) }
    }

    /// Returns the requests recorded so far, as HAR 1.2.
    pub fn har(&self, browser: &str) -> Option<Value> {
        self.wants.har.then(|| self.kept.lock().traffic.har(browser))
    }

    /// Returns the console output so far, one line per message.
    pub fn console(&self) -> Option<String> {
        self.wants.console.then(|| self.kept.lock().console.text())
    }

    /// Returns the latest console messages, oldest first.
    pub fn messages(&self) -> Vec<ConsoleMessage> {
        self.kept.lock().recent.messages()
    }

    /// Returns the latest requests, oldest first.
    pub fn requests(&self) -> Vec<NetworkRequest> {
        self.kept.lock().recent.requests()
    }
}

type Answer = (Body, Result<Value, DevtoolsError>);

/// Applies events, and fetches the bodies of responses while the browser still has them.
async fn pump(
    wants: Wants,
    devtools: Arc<dyn Devtools>,
    mut events: mpsc::Receiver<DevtoolsEvent>,
    kept: Arc<Mutex<Kept>>,
) {
    let mut bodies: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return };
                let body = {
                    let mut kept = kept.lock();
                    if wants.console {
                        kept.console.take_up(&event);
                    }
                    if wants.recent {
                        kept.recent.take_up(&event);
                    }
                    if wants.har { kept.traffic.take_up(&event) } else { None }
                };
                if let Some(body) = body {
                    let params = json!({ "requestId": body.request });
                    let session = body.session.as_deref();
                    let call = devtools.call(session, "Network.getResponseBody", params);
                    bodies.push(Box::pin(async move { (body, call.await) }));
                }
            }
            Some((body, answer)) = bodies.next() => {
                if let Ok(answer) = answer {
                    kept.lock().traffic.keep(&body, &answer);
                }
            }
        }
    }
}
