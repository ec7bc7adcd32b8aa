//! `/admin/profiles/restore`: the rows of profiles, from the object store.

use actix_web::web::{Data, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::ids::OrganizationId;
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::service::profiles::{Restored, restore};

/// A request to restore profiles.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = RestoreProfilesRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The organization that gets all profiles, `o_…`; without it each goes to the organization that
    /// it belonged to.
    organization_id: Option<String>,
}

/// Restores the profiles of a database that has lost them, from their descriptions and archives in the
/// object store. Profiles that exist are left alone.
#[utoipa::path(
    post,
    path = "/admin/profiles/restore",
    tag = "Operation",
    request_body = Request,
    responses(
        (status = 200, description = "`restored`, the ids of profiles, and `skipped`: `key`, `reason`"),
        (status = 403, description = "This is not the operator key"),
        (status = 404, description = "There is no such organization"),
        (status = 503, description = "The storage or the database does not answer"),
    ),
)]
pub async fn begin(
    _: Operator,
    Body(Request { organization_id }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<Restored>, ApiError> {
    let into = match &organization_id {
        Some(text) => {
            let unknown = || Problem::unknown::<OrganizationId>(text);
            Some(text.parse().map_err(|_odd| unknown())?)
        }
        None => None,
    };
    Ok(Json(restore(&front, into).await?))
}
