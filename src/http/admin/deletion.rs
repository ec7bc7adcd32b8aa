//! Deletion of organizations, with all their data.
//!
//! ```text
//! DELETE: marked and suspended --its runs and sessions have ended--> files and rows removed --> id kept
//! ```
//!
//! The mark is in the database, so a server that ends in between continues at its next start, and each node
//! removes its own files. The removal is repeated until a pass finds nothing, because the end of a session may
//! store a film after the session's row has ended.

use std::collections::HashSet;
use std::io;

use actix_web::web::{Data, Json};
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use super::organizations::{OrganizationResource, find};
use super::suspension::end_all_of;
use crate::db::{self, DbError};
use crate::domain::ids::OrganizationId;
use crate::http::body::PathId;
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::system::objects::{ARTIFACTS, PROFILES};

/// The time after a deletion for which each node continues to search for files of the organization, for nodes
/// that were unreachable at its end.
const LOOKED_FOR: TimeDelta = TimeDelta::days(7);

/// The time between two searches of a shared store for files of deleted organizations.
const SEARCH_INTERVAL: TimeDelta = TimeDelta::minutes(10);

/// Deletes an organization with all its data. Its keys are invalid from now on, its runs and sessions are
/// ended in order, and then its files and rows are removed. Until that is complete it is shown with
/// `deleted_at`; afterwards it is unknown, and its id is not used again.
#[utoipa::path(
    delete,
    path = "/admin/organizations/{organization_id}",
    tag = "Operation",
    params(("organization_id" = String, Path, description = "`o_…`")),
    responses(
        (status = 200, description = "The organization; its deletion has begun", body = OrganizationResource),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such organization"),
        (status = 409, description = "The key of the setting `keys.bootstrap` belongs to it"),
    ),
)]
pub async fn delete(
    _: Operator,
    PathId(id): PathId<OrganizationId>,
    front: Data<Front>,
) -> Result<Json<OrganizationResource>, ApiError> {
    let organization = find(&front, id).await?;
    let keys = db::api_keys::list(&front.db, id).await?;
    let now = front.world.clock.now();
    if organization.deleted_at.is_none()
        && keys.iter().any(|key| key.is_bootstrap && key.is_valid(now))
    {
        let detail = "the key of the setting `keys.bootstrap` is one of its keys, and the next start would \
                      give that key to another organization; remove the setting and revoke the key first";
        let problem = Problem::new(
            actix_web::http::StatusCode::CONFLICT,
            "organization_has_bootstrap_key",
            detail,
        );
        return Err(problem.into());
    }
    if db::organizations::delete(&front.db, id, now).await? {
        info!("organization {id} is being deleted");
    }
    front.keys.ended(&keys.iter().map(|key| key.id).collect::<Vec<_>>());
    front.suspended.notify_one();
    Ok(Json(OrganizationResource::of(find(&front, id).await?, &front)))
}

/// The state of deletions on this server.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    /// The time of the last search for files of deleted organizations.
    looked_at: Option<DateTime<Utc>>,
    /// Deleted organizations for which a session or run was created after their deletion.
    revived: HashSet<OrganizationId>,
}

impl Deletions {
    /// Removes the data that can be removed now.
    pub(super) async fn proceed(&mut self, front: &Front) -> Result<(), DbError> {
        for id in db::organizations::being_deleted(&front.db).await? {
            if has_live(front, id) || !remove_files(front, id).await {
                continue;
            }
            if db::purging::still_running(&front.db, id).await? == 0 {
                purge(front, id).await?;
            }
        }
        let now = front.world.clock.now();
        // Each search of a shared store is a request for each organization.
        let is_due = self.looked_at.is_none_or(|last| now - last > SEARCH_INTERVAL);
        let searches = is_due || !front.world.objects.is_shared();
        let since = self.looked_at.map(|_before| now - LOOKED_FOR);
        for id in db::organizations::deleted_since(&front.db, since).await? {
            if searches {
                remove_files(front, id).await;
            }
            if has_live(front, id) {
                warn!("organization {id} got a session or run after its deletion; it is ended");
                end_all_of(front, id).await;
                self.revived.insert(id);
            } else if self.revived.remove(&id) {
                purge(front, id).await?;
            }
        }
        if searches {
            self.looked_at = Some(now);
        }
        Ok(())
    }
}

/// True while a session or run of the organization is active on this server.
fn has_live(front: &Front, id: OrganizationId) -> bool {
    let runs = front.world.views.runs(id);
    runs.iter().any(|run| !run.record.status.is_final())
        || !front.world.views.sessions(id).is_empty()
}

/// Removes rows until none is left. The deletion is complete when a later pass finds none at all.
async fn purge(front: &Front, id: OrganizationId) -> Result<(), DbError> {
    let mut deleted = 0;
    while !front.closing.is_cancelled() {
        match db::purging::purge_some(&front.db, id).await? {
            0 if deleted == 0 => {
                info!("organization {id} is deleted");
                return db::purging::purged(&front.db, id).await;
            }
            0 => {
                info!("{deleted} rows of organization {id} are deleted");
                return Ok(());
            }
            some => deleted += some,
        }
    }
    Ok(())
}

/// Removes the files of an organization: those on this node, and those in a shared store. False if
/// some are left.
async fn remove_files(front: &Front, id: OrganizationId) -> bool {
    let world = &front.world;
    let mut removed = Ok(());
    let folders = [world.pictures.join(id.to_string()), world.launcher.extensions().folder_of(id)];
    for folder in folders {
        let gone = match tokio::fs::remove_dir_all(folder).await {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause.to_string()),
            Ok(()) | Err(_) => Ok(()),
        };
        removed = removed.and(gone);
    }
    for area in [ARTIFACTS, PROFILES] {
        let objects = world.objects.delete_prefix(&format!("{area}/{id}")).await;
        removed = removed.and(objects.map_err(|cause| cause.to_string()));
    }
    if let Err(cause) = &removed {
        warn!("files of organization {id} are not removed: {cause}");
    }
    removed.is_ok()
}
