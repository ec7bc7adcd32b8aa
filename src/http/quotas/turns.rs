//! The scheduling of requests of an organization, so that many at once do not delay those of others.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::ids::OrganizationId;

/// The longest turn of a request.
const LONGEST_TURN: Duration = Duration::from_millis(20);

/// The number of requests of an organization that are processed at once, for each processor.
const FOR_EACH: usize = 4;

/// The turns of each organization's requests.
#[derive(Debug, Clone)]
pub struct Turns {
    /// The number of requests of an organization that are processed at once.
    most: usize,
    organizations: Arc<DashMap<OrganizationId, Arc<Semaphore>>>,
}

impl Default for Turns {
    fn default() -> Self {
        // Once: on Linux it reads the limits of control groups.
        let cores = available_parallelism().map_or(1, usize::from);
        Self { most: FOR_EACH * cores, organizations: Arc::default() }
    }
}

impl Turns {
    fn of(&self, organization: OrganizationId) -> Arc<Semaphore> {
        let new = || Arc::new(Semaphore::new(self.most));
        Arc::clone(&self.organizations.entry(organization).or_insert_with(new))
    }

    /// Resolves when it is the request's turn. The drop of the answer ends the turn.
    pub(super) async fn next(&self, organization: OrganizationId) -> Option<DropGuard> {
        // The semaphore is never closed.
        let turn = self.of(organization).acquire_owned().await.ok()?;
        let over = CancellationToken::new();
        let ended = over.clone();
        actix_web::rt::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = sleep(LONGEST_TURN) => {}
            }
            drop(turn);
        });
        Some(over.drop_guard())
    }
}
