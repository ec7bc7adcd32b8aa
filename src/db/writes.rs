//! [`Store`] on a database.

use chrono::{DateTime, Utc};

use super::store::{Ended, Full, Rotated, RunChange, Started, Store, Stored};
use super::{Db, artifacts, audit_events, blocks, organizations, runs, sessions, workflows};
use crate::domain::audit::AuditEvent;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::EgressLists;
use crate::domain::ids::{OrganizationId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::occupancy::{Generation, Occupancy};
use crate::domain::quota::Limits;
use crate::domain::run::{ArtifactRecord, BlockRecord, RunRecord, WorkflowRecord};
use crate::domain::session::{DesktopIdentity, SessionRecord, SessionSpec};

impl Store for Db {
    fn insert_session(&self, session: SessionRecord, limits: Limits) -> Stored<Option<Full>> {
        let db = self.clone();
        Box::pin(async move { sessions::insert(&db, session, limits).await })
    }

    fn session(
        &self,
        organization: OrganizationId,
        id: SessionId,
    ) -> Stored<Option<SessionRecord>> {
        let db = self.clone();
        Box::pin(async move { Ok(sessions::by_id(&db, organization, id).await?) })
    }

    fn occupy(
        &self,
        id: SessionId,
        expected: Generation,
        next: Occupancy,
        idle: Option<DateTime<Utc>>,
    ) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::occupy(&db, id, expected, next, idle).await })
    }

    fn start_session(&self, id: SessionId, started: Started) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::start(&db, id, started).await })
    }

    fn retry_session(&self, id: SessionId) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::retry(&db, id).await })
    }

    fn restart_session(&self, id: SessionId, desktop: DesktopIdentity) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::restart(&db, id, desktop).await })
    }

    fn extend_deadlines(&self, id: SessionId, deadlines: Deadlines) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::extend_deadlines(&db, id, deadlines).await })
    }

    fn amend_session(&self, id: SessionId, echo: serde_json::Value) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::amend(&db, id, echo).await })
    }

    fn set_sanitize_after(&self, id: SessionId, after: Option<Generation>) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::set_sanitize_after(&db, id, after).await })
    }

    fn set_sanitize_due(&self, id: SessionId, due: Option<Generation>) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::set_sanitize_due(&db, id, due).await })
    }

    fn rotate_session(&self, id: SessionId, next: Rotated) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::rotate(&db, id, next).await })
    }

    fn change_egress(&self, id: SessionId, spec: SessionSpec) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::change_egress(&db, id, spec).await })
    }

    fn stored_bytes(&self, organization: OrganizationId) -> Stored<u64> {
        let db = self.clone();
        Box::pin(async move { Ok(artifacts::bytes_of(&db, organization).await?) })
    }

    fn organization_egress(&self, organization: OrganizationId) -> Stored<EgressLists> {
        let db = self.clone();
        Box::pin(async move { Ok(organizations::egress(&db, organization).await?) })
    }

    fn end_session(&self, id: SessionId, ended: Ended) -> Stored {
        let db = self.clone();
        Box::pin(async move { sessions::end(&db, id, ended).await })
    }

    fn insert_run(&self, run: RunRecord, limits: Limits) -> Stored<Option<Full>> {
        let db = self.clone();
        Box::pin(async move { runs::insert(&db, run, limits).await })
    }

    fn change_run(&self, id: RunId, change: RunChange) -> Stored {
        let db = self.clone();
        Box::pin(async move { runs::change(&db, id, change).await })
    }

    fn insert_block(&self, block: BlockRecord) -> Stored {
        let db = self.clone();
        Box::pin(async move { blocks::insert(&db, block).await })
    }

    fn end_block(&self, block: BlockRecord) -> Stored {
        let db = self.clone();
        Box::pin(async move { blocks::end(&db, block).await })
    }

    fn insert_artifact(&self, artifact: ArtifactRecord) -> Stored {
        let db = self.clone();
        Box::pin(async move { artifacts::insert(&db, artifact).await })
    }

    fn workflow(
        &self,
        organization: OrganizationId,
        id: WorkflowPermanentId,
    ) -> Stored<Option<WorkflowRecord>> {
        let db = self.clone();
        Box::pin(async move { Ok(workflows::latest(&db, organization, id).await?) })
    }

    fn retire_artifacts(
        &self,
        organization: OrganizationId,
        artifact_type: String,
        keep: u32,
        before: DateTime<Utc>,
    ) -> Stored<Vec<ArtifactRecord>> {
        let db = self.clone();
        Box::pin(
            async move { artifacts::retire(&db, organization, artifact_type, keep, before).await },
        )
    }

    fn insert_audit(&self, events: Vec<AuditEvent>) -> Stored {
        let db = self.clone();
        Box::pin(async move { audit_events::insert(&db, events).await })
    }
}
