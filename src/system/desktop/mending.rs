//! Reports of parts that were restarted while their desktop stayed up, on their way to the record.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};

use crate::system::seam::Mended;

/// The most reports that may wait. Each follows a growing delay, so more indicate a bug elsewhere.
const UNTOLD: usize = 64;

/// The channel for reports of restarted parts. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Mending {
    tell: mpsc::Sender<Mended>,
    told: Arc<Mutex<mpsc::Receiver<Mended>>>,
}

impl Mending {
    pub(super) fn new() -> Self {
        let (tell, told) = mpsc::channel(UNTOLD);
        Self { tell, told: Arc::new(Mutex::new(told)) }
    }

    /// Reports that a part was restarted.
    pub(super) fn tell(&self, mended: Mended) {
        if let Err(cause) = self.tell.try_send(mended) {
            tracing::warn!("a recovery is not reported: {cause}");
        }
    }

    /// Resolves with the next report. Each is delivered once.
    pub(super) fn next(&self) -> BoxFuture<'static, Mended> {
        let told = Arc::clone(&self.told);
        Box::pin(async move {
            match told.lock().await.recv().await {
                Some(mended) => mended,
                None => std::future::pending().await,
            }
        })
    }
}

impl Mended {
    /// A report of a part that was down for `took` because of `cause`.
    pub(in crate::system) fn new(cause: String, lost: &str, tries: u32, took: Duration) -> Self {
        Self { cause, lost: lost.to_owned(), tries, took }
    }
}
