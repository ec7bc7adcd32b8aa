//! The use of quotas, as far as it is stored.

use crate::db::{self, DbError};
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{MIB, Quota, Use};
use crate::http::front::Front;

/// Returns the use of a quota now.
///
/// # Errors
///
/// Those of the database.
pub(super) async fn use_of(
    front: &Front,
    organization: OrganizationId,
    quota: Quota,
) -> Result<Use, DbError> {
    let stored = match quota {
        Quota::Sessions => (db::sessions::count_live(&front.db, organization).await?, None),
        Quota::CreatesPerMinute => db::sessions::count_new(&front.db, organization).await?,
        Quota::Runs => (db::runs::count_unfinished(&front.db, organization).await?, None),
        Quota::StorageMib => {
            let bytes = db::artifacts::bytes_of(&front.db, organization).await?;
            (bytes.div_ceil(MIB), None)
        }
        Quota::Waiters
        | Quota::Viewers
        | Quota::DevtoolsConnections
        | Quota::EventStreams
        | Quota::EgressMibPerDay
        | Quota::Requests => (0, None),
    };
    Ok(front.world.quotas.use_of(organization, quota, stored))
}
