//! Parts that were brought back while their desktop went on, on their way to the record.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};

use super::Mended;

/// How many may wait to be told. Each comes after a wait that grows, so more is a fault elsewhere.
const UNTOLD: usize = 64;

/// Where parts tell that they were brought back. Clones are the same.
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

    /// A part was brought back.
    pub(super) fn tell(&self, mended: Mended) {
        if let Err(cause) = self.tell.try_send(mended) {
            tracing::warn!("a recovery is not told: {cause}");
        }
    }

    /// The next one that was not told before.
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
    /// One that took `took` from `cause` until it was there again.
    pub(in crate::system) fn new(cause: String, lost: &str, tries: u32, took: Duration) -> Self {
        Self { cause, lost: lost.to_owned(), tries, took }
    }
}
