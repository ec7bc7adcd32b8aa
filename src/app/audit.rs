//! The audit trail: from the journal to the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::warn;

use super::Task;
use crate::db::store::Store;
use crate::domain::audit::AuditEvent;

/// How many events are written at once.
const MOST: usize = 200;

/// How long to wait before events are written again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often events are written again before they are given up: the database that was gone for
/// so long is seen to by someone.
const TRIES: usize = 30;

/// Writes what the journal gives, until the journal is gone.
pub(super) fn start(store: Arc<dyn Store>, mut trail: UnboundedReceiver<AuditEvent>) -> Task {
    tokio::spawn(async move {
        let mut events = Vec::new();
        while trail.recv_many(&mut events, MOST).await > 0 {
            let batch = std::mem::take(&mut events);
            for _ in 0..TRIES {
                let Err(cause) = store.insert_audit(batch.clone()).await else { break };
                warn!("{} audit events are not stored yet: {cause}", batch.len());
                tokio::time::sleep(AGAIN).await;
            }
        }
    })
}
