//! Changes of limits by operators.

use serde_json::{Map, Value};

use crate::db;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{EXPECTED, Quota, checked_limit};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;

/// Reads changes: by name of a quota a limit, or null for the default.
///
/// # Errors
///
/// 422 that names every unknown quota and every invalid limit.
pub fn checked(given: &Map<String, Value>) -> Result<Vec<(Quota, Option<u64>)>, Problem> {
    let mut fields = Fields::new();
    let mut changes = Vec::new();
    for (name, value) in given {
        let place = format!("quotas.{name}");
        let quota = fields.check(&place, value.clone(), name.parse::<Quota>());
        let limit = match value {
            Value::Null => Ok(None),
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => value.as_u64().ok_or(EXPECTED).and_then(checked_limit).map(Some),
        };
        let Some(quota) = quota else { continue };
        if let Some(limit) = fields.check(&place, value.clone(), limit) {
            changes.push((quota, limit));
        }
    }
    fields.finish()?;
    Ok(changes)
}

/// Stores changes of an organization's limits and puts them in force.
///
/// # Errors
///
/// 503 without the database.
pub async fn changed(
    front: &Front,
    organization: OrganizationId,
    changes: Vec<(Quota, Option<u64>)>,
) -> Result<(), ApiError> {
    let limits = db::organizations::change_quotas(&front.db, organization, changes).await?;
    tracing::info!("the quotas of organization {organization} are {limits:?}, the rest by default");
    front.world.quotas.set_limits(organization, limits);
    Ok(())
}
