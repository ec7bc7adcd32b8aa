//! Lookup of sessions, runs and workflows: the published state of what lives here, else the stored
//! one.

use super::core::Core;
use super::error::ServiceError;
use crate::actors::views::{RunView, SessionView};
use crate::db;
use crate::domain::ids::{OrganizationId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::run::{ArtifactRecord, RunRecord, WorkflowRecord};

/// Returns the view of a session: the last published one if it lives, else the stored one.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if the organization has no such session; those of the database.
pub async fn session(
    core: &Core,
    organization: OrganizationId,
    id: SessionId,
) -> Result<SessionView, ServiceError> {
    if let Some(view) = core.world.views.session(organization, id) {
        return Ok(view.borrow().clone());
    }
    match db::sessions::by_id(&core.db, organization, id).await? {
        Some(record) => Ok(SessionView::of_stored(record)),
        None => Err(ServiceError::unknown(id)),
    }
}

/// Returns the state of a run: the published state while it runs, the stored one afterwards.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if the organization has no such run; those of the database.
pub async fn run(
    core: &Core,
    organization: OrganizationId,
    id: RunId,
) -> Result<RunView, ServiceError> {
    if let Some(view) = core.world.views.run(organization, id) {
        return Ok(view.borrow().clone());
    }
    let record = db::runs::by_id(&core.db, organization, id).await?;
    let record = record.ok_or_else(|| ServiceError::unknown(id))?;
    let blocks = db::blocks::of_run(&core.db, organization, id).await?;
    Ok(RunView { version: 0, record, blocks })
}

/// Returns the files that a run produced, oldest first.
///
/// # Errors
///
/// Those of the database.
pub async fn artifacts_of(
    core: &Core,
    run: &RunRecord,
) -> Result<Vec<ArtifactRecord>, ServiceError> {
    Ok(db::artifacts::of_run(&core.db, run.organization, run.id, Vec::new()).await?)
}

/// Returns the latest version of a workflow.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if the workflow does not exist, or was deleted; those of the database.
pub async fn workflow(
    core: &Core,
    organization: OrganizationId,
    id: WorkflowPermanentId,
) -> Result<WorkflowRecord, ServiceError> {
    let found = db::workflows::latest(&core.db, organization, id).await?;
    found.ok_or_else(|| ServiceError::unknown(id))
}
