//! Reports of parts that were restarted while their desktop stayed up, on their way to the record.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};

use crate::system::seam::Repair;

/// The most reports that may wait. Each follows a growing delay, so more indicate a bug elsewhere.
const MOST_UNREAD: usize = 64;

/// The channel for reports of restarted parts. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Repairs {
    report: mpsc::Sender<Repair>,
    unread: Arc<Mutex<mpsc::Receiver<Repair>>>,
}

impl Repairs {
    pub(super) fn new() -> Self {
        let (report, unread) = mpsc::channel(MOST_UNREAD);
        Self { report, unread: Arc::new(Mutex::new(unread)) }
    }

    /// Reports that a part was restarted.
    pub(super) fn report(&self, repair: Repair) {
        if let Err(cause) = self.report.try_send(repair) {
            tracing::warn!("a recovery is not reported: {cause}");
        }
    }

    /// Resolves with the next report. Each is delivered once.
    pub(super) fn next(&self) -> BoxFuture<'static, Repair> {
        let unread = Arc::clone(&self.unread);
        Box::pin(async move {
            match unread.lock().await.recv().await {
                Some(repair) => repair,
                None => std::future::pending().await,
            }
        })
    }
}

impl Repair {
    /// A report of a part that was down for `took` because of `cause`.
    pub(in crate::system) fn new(cause: String, lost: &str, tries: u32, took: Duration) -> Self {
        Self { cause, lost: lost.to_owned(), tries, took }
    }
}
