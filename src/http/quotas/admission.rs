//! Admission of requests: as many at once as the quota `requests` allows, and in turns.
//!
//! Requests share the database's connections and the processors. Of one organization a few are worked on
//! at once and the others wait in order, so that another organization's request finds at most those few
//! before it. A turn ends after [`LONGEST_TURN`], because a request that lasts longer waits for something.

use actix_web::{HttpMessage as _, HttpRequest, web};
use tokio_util::sync::DropGuard;

use crate::actors::quotas::Place;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::Quota;
use crate::http::front::Front;
use crate::http::problem::Problem;

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
