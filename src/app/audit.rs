//! The audit trail: writes audit events from the journal to the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tracing::{error, warn};

use super::Task;
use crate::db::store::{Store, StoreError};
use crate::domain::audit::AuditEvent;

/// The most events that are written in one batch.
const MOST: usize = 200;

/// The delay before a failed write is retried.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The most attempts to write a batch before it is dropped. An outage that outlasts them needs an
/// operator.
const TRIES: usize = 30;

/// Starts the task that writes audit events until the journal is dropped.
pub(super) fn start(store: Arc<dyn Store>, mut trail: Receiver<AuditEvent>) -> Task {
    tokio::spawn(async move {
        let mut events = Vec::new();
        while trail.recv_many(&mut events, MOST).await > 0 {
            let batch = std::mem::take(&mut events);
            if let Err(StoreError::Rejected(_)) = insert(&*store, batch.clone()).await {
                // Insert them one at a time, so that a rejected event does not cost any other.
                for event in batch {
                    let (id, kind) = (event.id, event.kind.clone());
                    if let Err(StoreError::Rejected(cause)) = insert(&*store, vec![event]).await {
                        error!(
                            "the database rejected audit event {id} ({kind}), which is dropped: {cause}"
                        );
                    }
                }
            }
        }
    })
}

/// Stores events, all or none. An error is final: a refusal, or an outage that outlasted the
/// retries.
async fn insert(store: &dyn Store, batch: Vec<AuditEvent>) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        let Err(cause) = store.insert_audit(batch.clone()).await else { return Ok(()) };
        tries += 1;
        if matches!(cause, StoreError::Rejected(_)) {
            return Err(cause);
        }
        if tries >= TRIES {
            error!("{} audit events are dropped: {cause}", batch.len());
            return Err(cause);
        }
        warn!("{} audit events are not stored yet: {cause}", batch.len());
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
