//! Admission of requests: as many at once as the quota `requests` allows, and in turns.
//!
//! Requests share the database's connections and the processors. Of one organization a few are worked on
//! at once and the others wait in order, so that another organization's request finds at most those few
//! before it. A turn ends after [`LONGEST_TURN`], because a request that lasts longer waits for something.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::{HttpMessage as _, HttpRequest, web};
use dashmap::DashMap;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::actors::quotas::Place;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::Quota;
use crate::http::front::Front;
use crate::http::problem::Problem;

/// The longest turn of a request.
const LONGEST_TURN: Duration = Duration::from_millis(20);

/// The requests of one organization that are worked on at once, for each processor.
const FOR_EACH: usize = 4;

/// The turns of each organization's requests.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<DashMap<OrganizationId, Arc<Semaphore>>>);

impl Turns {
    fn of(&self, organization: OrganizationId) -> Arc<Semaphore> {
        let cores = available_parallelism().map_or(1, usize::from);
        let new = || Arc::new(Semaphore::new(FOR_EACH * cores));
        Arc::clone(&self.0.entry(organization).or_insert_with(new))
    }

    /// Resolves when it is the request's turn. The drop of the answer ends the turn.
    async fn next(&self, organization: OrganizationId) -> Option<DropGuard> {
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

/// A request that was admitted; kept with the request until it is answered.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The organization for which it counts.
    pub(super) organization: OrganizationId,
    _place: Place,
    _turn: Option<DropGuard>,
}

/// Admits a request of an organization, when it is its turn. A request is admitted once.
///
/// # Errors
///
/// 429 when as many requests of the organization are being answered as may be.
pub(in crate::http) async fn admit(
    request: &HttpRequest,
    organization: OrganizationId,
) -> Result<(), Problem> {
    let Some(front) = request.app_data::<web::Data<Front>>().cloned() else { return Ok(()) };
    if request.extensions().get::<Admitted>().is_some() {
        return Ok(());
    }
    let place = front.place(organization, Quota::Requests)?;
    let turn = front.request_turns.next(organization).await;
    let admitted = Admitted { organization, _place: place, _turn: turn };
    request.extensions_mut().insert(admitted);
    Ok(())
}
