//! Writes whose outcome may be unknown: they are repeated until the database answers.

use std::fmt;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::world::World;
use crate::db::store::{StoreError, Stored};
use crate::domain::run::ArtifactRecord;

/// The delay before a write is repeated.
pub(super) const STORE_AGAIN: Duration = Duration::from_secs(2);

/// The number of times that the record of a file is written again.
const RETRIES: u32 = 5;

/// Writes until the database answers, or the outcome is unknown after `retries` further tries.
/// `what` names the values for the log.
pub(super) async fn until_stored<T>(
    what: impl fmt::Display,
    retries: u32,
    write: impl Fn() -> Stored<T>,
) -> Result<T, StoreError> {
    let mut tries = 0;
    loop {
        match write().await {
            Err(StoreError::Unavailable(cause)) if tries < retries => {
                warn!("{what} is not stored yet: {cause}");
                tries = tries.saturating_add(1);
                sleep(STORE_AGAIN).await;
            }
            answered => return answered,
        }
    }
}

/// Stores the record of a file that is stored. If that is refused, the file is removed: a file without
/// a row is lost. If the outcome is unknown, it stays, because a row may name it.
pub(super) async fn store_artifact(
    world: &World,
    record: &ArtifactRecord,
) -> Result<(), StoreError> {
    let what = format!("the record of {} {}", record.artifact_type, record.id);
    let stored = until_stored(what, RETRIES, || world.store.insert_artifact(record.clone())).await;
    match &stored {
        Ok(()) => world.quotas.add_stored(record.organization, record.size),
        // Without a row, the ledger of leaks finds it, as it does if it cannot be removed.
        Err(StoreError::Unavailable(_)) => {}
        Err(
            StoreError::Conflict { .. }
            | StoreError::Final
            | StoreError::Missing
            | StoreError::Rejected(_),
        ) => drop(world.objects.delete(&record.key()).await),
    }
    stored
}
