//! What actors write, and the little that they read.

use std::fmt;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use super::error::{Outage, Rejection};
use crate::domain::audit::AuditEvent;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::EgressLists;
use crate::domain::ids::{OrganizationId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::occupancy::{Generation, Occupancy};
use crate::domain::quota::{Limits, Quota};
use crate::domain::run::{ArtifactRecord, BlockRecord, RunRecord, RunStatus, WorkflowRecord};
use crate::domain::session::{DesktopIdentity, Failure, SessionRecord, SessionSpec, SessionStatus};

/// Why a write did not take effect, or is not known to have.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The row is not what the write rested on; it is given as it is.
    #[error("another has changed the row")]
    Conflict {
        /// The occupancy as stored.
        stored: Occupancy,
    },
    /// The row is in a final status, and stays so.
    #[error("the row is final")]
    Final,
    /// There is no such row.
    #[error("there is no such row")]
    Missing,
    /// The database did not answer; whether the write took effect is unknown. The same write may
    /// succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] Outage),
    /// The database refuses what the write holds. Nothing was written, and the same write is
    /// refused again.
    #[error("the database refuses this: {0}")]
    Rejected(#[source] Rejection),
}

/// The answer to a write.
pub type Stored<T = ()> = BoxFuture<'static, Result<T, StoreError>>;

/// A session that has started.
#[derive(Debug, Clone)]
pub struct Started {
    /// Its processes.
    pub desktop: DesktopIdentity,
    /// When its browser could first be driven.
    pub at: DateTime<Utc>,
    /// When it ends by itself.
    pub deadlines: Deadlines,
}

/// A session whose credentials are replaced.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The generation that the change rests on.
    pub expected: Generation,
    /// The occupancy, with the new lease of its holder.
    pub occupancy: Occupancy,
    /// The end of the session if it stays vacant, where this makes it so.
    pub idle: Option<DateTime<Utc>>,
    /// The number of the rotation, one more than before.
    pub rotation: i64,
}

/// A session that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// One of the final ones.
    pub status: SessionStatus,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What has changed of a run. What is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct RunChange {
    /// How it stands.
    pub status: Option<RunStatus>,
    /// The session it drives.
    pub session: Option<SessionId>,
    /// Whether it made that session for itself.
    pub owns_session: Option<bool>,
    /// `{label}_output` of every block that has finished.
    pub outputs: Option<serde_json::Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its first block began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A row that was not added: its organization has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The quota whose limit is reached.
    pub quota: Quota,
    /// The limit.
    pub limit: u64,
    /// The rows that count.
    pub used: u64,
    /// The time at which the oldest of them was made.
    pub oldest: Option<DateTime<Utc>>,
}

/// The database as actors see it. Every write resolves when it is durable.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Adds a session unless its organization has as many as `limits` allow, in one transaction. The
    /// answer is the limit that is reached; none if the row is stored.
    fn insert_session(&self, session: SessionRecord, limits: Limits) -> Stored<Option<Full>>;

    /// The session of this organization as it is stored; none if there is no such.
    fn session(&self, organization: OrganizationId, id: SessionId)
    -> Stored<Option<SessionRecord>>;

    /// `next` takes the place of the occupancy if its generation is still `expected` and the
    /// session has not ended; otherwise [`StoreError::Conflict`] or [`StoreError::Final`]. Where
    /// that makes the session vacant, `idle` is when it will have been so for too long.
    fn occupy(
        &self,
        id: SessionId,
        expected: Generation,
        next: Occupancy,
        idle: Option<DateTime<Utc>>,
    ) -> Stored;

    /// The session runs.
    fn start_session(&self, id: SessionId, started: Started) -> Stored;

    /// A part of the session's desktop has ended and is being brought back.
    fn retry_session(&self, id: SessionId) -> Stored;

    /// The session runs again, on this desktop. Its deadlines stay.
    fn restart_session(&self, id: SessionId, desktop: DesktopIdentity) -> Stored;

    /// The session's deadlines are not before these; those that are later already stay.
    fn extend_deadlines(&self, id: SessionId, deadlines: Deadlines) -> Stored;

    /// What clients asked for, and read back, has changed.
    fn amend_session(&self, id: SessionId, echo: serde_json::Value) -> Stored;

    /// Occupants of later generations than `after` leave the session to be sanitized; with none, no
    /// occupant does.
    fn set_sanitize_after(&self, id: SessionId, after: Option<Generation>) -> Stored;

    /// The session is to be sanitized once the occupant of this generation has left; with none, that is done.
    fn set_sanitize_due(&self, id: SessionId, due: Option<Generation>) -> Stored;

    /// The credentials of the session are those of the `next` rotation, and `occupancy` takes the place of the
    /// one there; refused as [`occupy`](Self::occupy) does.
    fn rotate_session(&self, id: SessionId, next: Rotated) -> Stored;

    /// The session's lists, its proxy and what clients read back of them are those of `spec`.
    fn change_egress(&self, id: SessionId, spec: SessionSpec) -> Stored;

    /// The lists of an organization; empty ones if it has none.
    fn organization_egress(&self, organization: OrganizationId) -> Stored<EgressLists>;

    /// The session has ended, and its occupancy is closed. A final row is not written again:
    /// [`StoreError::Final`].
    fn end_session(&self, id: SessionId, ended: Ended) -> Stored;

    /// Adds a run unless its organization has as many as `limits` allow, as for sessions.
    fn insert_run(&self, run: RunRecord, limits: Limits) -> Stored<Option<Full>>;

    /// A change of a run that has not ended; of one that has: [`StoreError::Final`]. With the end
    /// of a run those of its blocks are stored that are under way, whoever ends it; and its
    /// webhook, which is told from then on.
    fn change_run(&self, id: RunId, change: RunChange) -> Stored;

    /// A block has begun.
    fn insert_block(&self, block: BlockRecord) -> Stored;

    /// A block has ended: its status, output, failure and `finished_at` are written.
    fn end_block(&self, block: BlockRecord) -> Stored;

    /// A file was stored.
    fn insert_artifact(&self, artifact: ArtifactRecord) -> Stored;

    /// The bytes of all stored files of an organization.
    fn stored_bytes(&self, organization: OrganizationId) -> Stored<u64>;

    /// The latest version of a workflow; none if there is no such workflow of this organization.
    fn workflow(
        &self,
        organization: OrganizationId,
        id: WorkflowPermanentId,
    ) -> Stored<Option<WorkflowRecord>>;

    /// Removes the organization's artifacts of this type that were stored before `before`, and
    /// those beyond the `keep` newest. Gives them, for their files.
    fn retire_artifacts(
        &self,
        organization: OrganizationId,
        artifact_type: String,
        keep: u32,
        before: DateTime<Utc>,
    ) -> Stored<Vec<ArtifactRecord>>;

    /// State-changing messages, for the audit trail.
    fn insert_audit(&self, events: Vec<AuditEvent>) -> Stored;
}
