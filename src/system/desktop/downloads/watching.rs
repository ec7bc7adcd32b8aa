//! Follows the downloads of a browser over DevTools.
//!
//! It uses a separate connection, so that neither hang detection nor the reading of cookies delays
//! the copy of a file that its driver is about to remove. The download folder stays as the browser,
//! or a driver on another connection, has set it; only events are requested.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::tending::{UNCHANGED, tend};
use super::{Begun, Downloads, Shared, limits};
use crate::domain::file_name::BLOCK_FOLDER;
use crate::system::cdp::{CdpEvent, Connection, Devtools};
use crate::system::process::Process;

/// The wait before DevTools is connected to again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The longest time for the browser to accept a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// The reason for the end of a download that the browser, a page or a person has ended.
const CANCELED: &str = "the download was canceled or interrupted";

/// The most callers that may wait for the browser to report.
const MOST_BARRIERS: usize = 64;

/// A running watch, which ends when this is dropped.
#[derive(Debug)]
pub(in crate::system::desktop) struct Watching {
    _ended: DropGuard,
}

impl Watching {
    /// Starts to follow the downloads of `chromium`.
    pub(in crate::system::desktop) fn start(
        downloads: &Downloads,
        devtools: Devtools,
        chromium: Process,
    ) -> Self {
        let ended = CancellationToken::new();
        if let Some(shared) = &downloads.0 {
            let (shared, over) = (Arc::clone(shared), ended.clone());
            shared.clone().runtime.spawn(async move {
                tokio::select! {
                    () = over.cancelled() => {}
                    _exit = chromium.exited() => {}
                    () = watch(&shared, &devtools) => {}
                    never = tend(&shared) => match never {},
                }
                // Downloads in progress have ended with the browser.
                shared.barriers.lock().take();
                shared.state.send_modify(|state| state.pending.clear());
            });
        }
        Self { _ended: ended.drop_guard() }
    }
}

async fn watch(shared: &Arc<Shared>, devtools: &Devtools) {
    loop {
        if let Ok(Ok(connection)) = timeout(CONNECTING, Connection::open(devtools)).await {
            follow(shared, &connection).await;
        }
        shared.barriers.lock().take();
        shared.state.send_modify(|state| state.pending.clear());
        sleep(RETRY_DELAY).await;
    }
}

/// Follows the events, and returns when the connection has ended.
async fn follow(shared: &Arc<Shared>, connection: &Connection) {
    let mut events = connection.events();
    let params = json!({ "behavior": "default", "eventsEnabled": true });
    let enabled = connection.call(None, "Browser.setDownloadBehavior", params);
    // Without the events, files are found when the session ends.
    match timeout(CONNECTING, enabled).await {
        Ok(Ok(_enabled)) => {}
        Ok(Err(cause)) => tracing::warn!(error = %cause, "the browser does not report downloads"),
        Err(_late) => tracing::warn!("the browser did not confirm that it reports downloads"),
    }
    // A newer file may still be written; `tend` collects it.
    shared.take_up_missed(UNCHANGED).await;
    let (asked, mut barriers) = mpsc::channel::<oneshot::Sender<()>>(MOST_BARRIERS);
    *shared.barriers.lock() = Some(asked);
    let mut barrier = None;
    loop {
        let is_idle = barrier.is_none();
        let answered = async {
            match &mut barrier {
                Some((answer, _)) => drop(Pin::new(answer).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased; // Reports that precede an answer are handled before it.
            event = events.recv() => match event {
                Some(event) => on_event(shared, connection, &event).await,
                None => return,
            },
            () = answered => {
                if let Some((_, waiting)) = barrier.take() {
                    let waiting: oneshot::Sender<()> = waiting;
                    let _ = waiting.send(()); // The caller may have left.
                }
            }
            Some(waiting) = barriers.recv(), if is_idle => {
                let answer = Box::pin(connection.call(None, "Browser.getVersion", json!({})));
                barrier = Some((answer, waiting));
            }
        }
    }
}

async fn on_event(shared: &Arc<Shared>, connection: &Connection, event: &CdpEvent) {
    let text = |name: &str| event.params.get(name).and_then(Value::as_str).unwrap_or_default();
    let bytes = |name: &str| event.params.get(name).and_then(Value::as_u64).unwrap_or_default();
    let guid = text("guid").to_owned();
    match event.method.as_str() {
        "Browser.downloadWillBegin" => {
            let begun = Begun::new(text("suggestedFilename").to_owned(), text("url").to_owned());
            match shared.refusal(0) {
                Some(reason) => {
                    shared.refuse(&begun.name, reason);
                    cancel(connection, &guid);
                }
                None => {
                    shared.state.send_modify(|state| drop(state.pending.insert(guid, begun)));
                }
            }
        }
        "Browser.downloadProgress" if text("state") == "canceled" => {
            // A download that was reported has an end.
            if let Some(begun) = forget(shared, &guid).filter(|begun| begun.is_reported) {
                shared.refuse(&begun.name, CANCELED.to_owned());
            }
        }
        "Browser.downloadProgress" => {
            shared.report_beginning(&guid, bytes("totalBytes"));
            on_progress(shared, connection, &guid, event).await;
        }
        _ => {}
    }
}

async fn on_progress(shared: &Arc<Shared>, connection: &Connection, guid: &str, event: &CdpEvent) {
    let text = |name: &str| event.params.get(name).and_then(Value::as_str).unwrap_or_default();
    let bytes = |name: &str| event.params.get(name).and_then(Value::as_u64).unwrap_or_default();
    if text("state") == "completed" {
        let Some(begun) = forget(shared, guid) else { return };
        let path = PathBuf::from(text("filePath"));
        if path.as_os_str().is_empty() {
            shared.take_up_missed(Duration::ZERO).await;
        } else if !is_of_a_block(shared, &path) {
            shared.take(path, begun);
        }
        return;
    }
    let largest = bytes("totalBytes").max(bytes("receivedBytes"));
    if largest > shared.settings.max_megabytes << 20
        && let Some(begun) = forget(shared, guid)
    {
        let most = shared.settings.max_megabytes;
        shared.refuse(&begun.name, limits::too_large(most));
        cancel(connection, guid);
    }
}

fn forget(shared: &Shared, guid: &str) -> Option<Begun> {
    let mut begun = None;
    shared.state.send_modify(|state| begun = state.pending.remove(guid));
    begun
}

fn cancel(connection: &Connection, guid: &str) {
    // The answer is not needed: the download has ended, or ends with its session.
    drop(connection.call(None, "Browser.cancelDownload", json!({ "guid": guid })));
}

/// True for files that a block collects itself, in its folder of downloads.
fn is_of_a_block(shared: &Shared, path: &Path) -> bool {
    // An older server gave blocks a folder among the files of their run.
    let former = |path: &Path| {
        path.starts_with(shared.directory.uploads())
            && path.parent().and_then(Path::file_name).is_some_and(|name| name == BLOCK_FOLDER)
    };
    path.starts_with(shared.directory.block_downloads()) || former(path)
}
