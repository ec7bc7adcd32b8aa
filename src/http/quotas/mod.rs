//! Quotas of organizations over HTTP: admission of requests, answers with their headers, and the use.
//!
//! The decisions are those of `actors/quotas`. Whatever is refused becomes 429 `quota_exceeded` with
//! `Retry-After` and `X-RateLimit-*`, a WebSocket's handshake as well. An organization that goes on asking
//! waits for its answers, see [`Refusals`]; many requests at once take turns, see `admission.rs`.

mod admission;
mod answers;
mod change;
mod holding;
mod pictures;
pub mod resource;

use actix_web::http::StatusCode;
use actix_web::web::{ServiceConfig, get};
use serde_json::json;

pub use self::admission::Turns;
pub(in crate::http) use self::admission::admit;
pub(in crate::http) use self::answers::Refused;
pub use self::answers::{HEADERS, answers};
pub use self::change::{changed, checked};
pub use self::holding::Refusals;
pub use self::pictures::Pictures;
pub use self::resource::{QuotaUse, Uses, uses};
use super::front::Front;
use super::problem::Problem;
use crate::actors::quotas::Place;
use crate::db::{self, DbError};
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{MIB, Quota, QuotaExceeded, Use};

pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/quotas", get().to(resource::own));
}

impl From<QuotaExceeded> for Problem {
    fn from(refusal: QuotaExceeded) -> Self {
        let QuotaExceeded { quota, limit, used, resets_at, .. } = &refusal;
        let body = json!({ "name": quota, "limit": limit, "used": used, "resets_at": resets_at });
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", refusal.to_string())
                .retry_after(refusal.retry_after())
                .with("quota", body);
        Self { quota: Some(Box::new(refusal)), ..problem }
    }
}

impl Front {
    /// Takes a place within a quota that is counted in memory, until it is dropped.
    ///
    /// # Errors
    ///
    /// 429 when the limit is reached.
    pub fn place(&self, organization: OrganizationId, quota: Quota) -> Result<Place, Problem> {
        Ok(self.world.quotas.take(organization, quota)?)
    }

    /// Refuses what would store files if the organization has stored as much as it may.
    ///
    /// # Errors
    ///
    /// 429 when the limit is reached.
    pub async fn check_storage(&self, organization: OrganizationId) -> Result<(), Problem> {
        let store = self.world.store.as_ref();
        Ok(self.world.quotas.check_storage(store, organization).await?)
    }

    /// The use of a quota now.
    async fn use_of(&self, organization: OrganizationId, quota: Quota) -> Result<Use, DbError> {
        let stored = match quota {
            Quota::Sessions => (db::sessions::count_live(&self.db, organization).await?, None),
            Quota::CreatesPerMinute => db::sessions::count_new(&self.db, organization).await?,
            Quota::Runs => (db::runs::count_unfinished(&self.db, organization).await?, None),
            Quota::StorageMib => {
                let bytes = db::artifacts::bytes_of(&self.db, organization).await?;
                (bytes.div_ceil(MIB), None)
            }
            Quota::Waiters
            | Quota::Viewers
            | Quota::DevtoolsConnections
            | Quota::EventStreams
            | Quota::EgressMibPerDay
            | Quota::Requests => (0, None),
        };
        Ok(self.world.quotas.use_of(organization, quota, stored))
    }
}
