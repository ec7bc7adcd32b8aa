//! Admission of requests: the quota `requests`, and turns.
//!
//! Requests share the database's connections and the processors. A few requests of an organization are
//! processed at once and the others wait in order, so that another organization's request waits for at most
//! those few. A turn ends after some milliseconds (`turns.rs`), because a longer request waits for
//! something else.

use actix_web::{HttpMessage as _, HttpRequest, web};
use tokio_util::sync::DropGuard;

use crate::actors::quotas::QuotaPermit;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::Quota;
use crate::http::front::Front;
use crate::http::problem::Problem;

/// A request that was admitted; kept with the request until it is answered.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The organization for which it counts.
    pub(super) organization: OrganizationId,
    _place: QuotaPermit,
    _turn: Option<DropGuard>,
}

/// Returns the organization for which a request was admitted.
pub(in crate::http) fn admitted(request: &HttpRequest) -> Option<OrganizationId> {
    request.extensions().get::<Admitted>().map(|admitted| admitted.organization)
}

/// Admits a request of an organization, when it is its turn. A request is admitted once.
///
/// # Errors
///
/// 429 if the organization's limit of simultaneous requests is reached.
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
