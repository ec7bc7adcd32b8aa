//! `GET /v1/quotas`: the limits of the caller's organization, and their use.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::usage::use_of;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, Use};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// The limit of a quota and its use.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaUse {
    /// The limit; null if there is none.
    limit: Option<u64>,
    /// The use now. Connections, waiters and requests are those of this server.
    used: u64,
    /// The time at which the use falls by itself; null where it falls when something ends.
    resets_at: Option<DateTime<Utc>>,
}

/// All quotas by name.
pub type Uses = BTreeMap<&'static str, QuotaUse>;

/// The limits of an organization and their use.
///
/// # Errors
///
/// 503 without the database.
pub async fn uses(front: &Front, organization: OrganizationId) -> Result<Uses, ApiError> {
    let mut uses = Uses::new();
    for quota in Quota::ALL {
        let Use { limit, used, resets_at, .. } = use_of(front, organization, quota).await?;
        uses.insert(quota.as_str(), QuotaUse { limit, used, resets_at });
    }
    Ok(uses)
}

/// Returns the limits of the organization and their use: sessions, creates per minute, runs, waiters,
/// viewers, DevTools connections, event streams, stored MiB, MiB of network traffic of the UTC day, and
/// requests at once.
#[utoipa::path(
    get,
    path = "/v1/quotas",
    tag = "Credentials",
    responses((
        status = 200,
        description = "The quotas by name",
        body = BTreeMap<String, QuotaUse>,
        example = json!({ "sessions": { "limit": 5, "used": 2, "resets_at": null } }),
    )),
)]
pub async fn own(caller: Caller, front: Data<Front>) -> Result<Json<Uses>, ApiError> {
    Ok(Json(uses(&front, caller.organization).await?))
}
