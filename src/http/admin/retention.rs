//! Changes of the retention of an organization's files by operators.

use serde_json::{Map, Value};

use crate::db;
use crate::domain::ids::OrganizationId;
use crate::domain::retention::Retention;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;

/// Reads changes: by name a limit, or null for the default.
///
/// # Errors
///
/// 422 that names every unknown and every invalid limit.
pub(super) fn checked(given: &Map<String, Value>) -> Result<Vec<(String, Option<u64>)>, Problem> {
    let mut fields = Fields::new();
    let mut changes = Vec::new();
    for (name, value) in given {
        let limit = value.as_u64();
        // Anything but a number becomes 0, which the range refuses.
        let limit = if value.is_null() { None } else { Some(limit.unwrap_or_default()) };
        let outcome = Retention::default().set(name, limit);
        if fields.check(&format!("retention.{name}"), value.clone(), outcome).is_some() {
            changes.push((name.clone(), limit));
        }
    }
    fields.finish()?;
    Ok(changes)
}

/// Stores changes of an organization's limits, and applies them at once.
///
/// # Errors
///
/// 503 without the database.
pub(super) async fn changed(
    front: &Front,
    organization: OrganizationId,
    changes: Vec<(String, Option<u64>)>,
) -> Result<(), ApiError> {
    let limits = db::retention::change_limits(&front.db, organization, changes).await?;
    tracing::info!("the retention of organization {organization} is {limits:?}");
    front.retention.changed.notify_one();
    Ok(())
}
