//! Pictures that are taken on request: encoding one takes a processor for some time.

use std::sync::Arc;
use std::thread::available_parallelism;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::ids::OrganizationId;

/// The pictures of each organization that are being taken. At most half of the processors take pictures
/// for one; further requests wait.
#[derive(Debug, Clone, Default)]
pub struct PictureTurns(Arc<DashMap<OrganizationId, Arc<Semaphore>>>);

impl PictureTurns {
    /// Resolves when another picture may be taken, until the answer is dropped.
    pub async fn turn(&self, organization: OrganizationId) -> Option<OwnedSemaphorePermit> {
        let cores = available_parallelism().map_or(1, usize::from);
        let new = || Arc::new(Semaphore::new((cores / 2).max(1)));
        let pictures = Arc::clone(&self.0.entry(organization).or_insert_with(new));
        pictures.acquire_owned().await.ok() // The semaphore is never closed.
    }
}
