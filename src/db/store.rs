//! The writes of actors, and the few queries that actors need.

use std::fmt;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use super::error::{Outage, Rejection};
use crate::domain::audit::AuditEvent;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::EgressLists;
use crate::domain::event::NewEvent;
use crate::domain::ids::{
    ArtifactId, OrganizationId, ProfileId, RunId, SessionId, WorkflowPermanentId,
};
use crate::domain::labels::LabelChange;
use crate::domain::lease::TakenLease;
use crate::domain::occupancy::{Generation, Occupancy};
use crate::domain::profile::{Described, ProfileRecord, ProfileUse, VersionRecord};
use crate::domain::quota::{Limits, Quota};
use crate::domain::run::{ArtifactRecord, BlockRecord, RunRecord, RunStatus, WorkflowRecord};
use crate::domain::session::{DesktopIdentity, Failure, SessionRecord, SessionSpec, SessionStatus};

/// The reason why a write did not take effect, or may not have.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The row differs from the state on which the write was based.
    #[error("another writer has changed the row")]
    Conflict {
        /// The occupancy as stored now.
        stored: Occupancy,
    },
    /// The row has a final status, and does not change any more.
    #[error("the row is final")]
    Final,
    /// The row does not exist.
    #[error("there is no such row")]
    Missing,
    /// The database did not respond, so it is unknown whether the write took effect. The same write
    /// may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] Outage),
    /// The database refuses the values in the write. Nothing was written, and a repetition fails
    /// too.
    #[error("the database rejected the statement: {0}")]
    Rejected(#[source] Rejection),
}

/// The future result of a write.
pub type Stored<T = ()> = BoxFuture<'static, Result<T, StoreError>>;

/// The data of a session that has started.
#[derive(Debug, Clone)]
pub struct Started {
    /// The processes of its desktop.
    pub desktop: DesktopIdentity,
    /// The time at which its browser could first be driven.
    pub at: DateTime<Utc>,
    /// The deadlines at which it ends by itself.
    pub deadlines: Deadlines,
    /// The events about it, which are stored in its transaction, without their numbers.
    pub events: Vec<NewEvent>,
}

/// A change of a session's occupancy, and what is stored with it in one transaction.
#[derive(Debug, Clone)]
pub struct Occupied {
    /// The generation that the change rests on.
    pub expected: Generation,
    /// The occupancy that takes the place of the one there.
    pub next: Occupancy,
    /// The end of the session if it stays vacant, where this makes it so.
    pub idle: Option<DateTime<Utc>>,
    /// The events about it, without their numbers.
    pub events: Vec<NewEvent>,
    /// The lease of a client that has begun, with its credential. None for a run of this server.
    pub taken: Option<TakenLease>,
    /// The message that asked for it, as the audit trail has it.
    pub audit: Option<AuditEvent>,
}

impl Occupied {
    /// A change without an event, a lease and a message.
    pub fn new(expected: Generation, next: Occupancy) -> Self {
        Self { expected, next, idle: None, events: Vec::new(), taken: None, audit: None }
    }
}

/// A session whose credentials are replaced.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The change to an occupancy with a new lease, or without a holder.
    pub change: Occupied,
    /// The number of the rotation, one more than before.
    pub rotation: i64,
}

/// A session that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The status, which is final.
    pub status: SessionStatus,
    /// The reason for its failure.
    pub failure: Option<Failure>,
    /// The time of its end.
    pub at: DateTime<Utc>,
    /// The events about it, which are stored in its transaction, without their numbers.
    pub events: Vec<NewEvent>,
}

impl Ended {
    /// The end of a session without a failure and, so far, without events.
    pub fn new(status: SessionStatus, at: DateTime<Utc>) -> Self {
        Self { status, failure: None, at, events: Vec::new() }
    }
}

/// The changed fields of a run. A field that is `None` is unchanged.
#[derive(Debug, Clone, Default)]
pub struct RunChange {
    pub status: Option<RunStatus>,
    /// The session that it drives.
    pub session: Option<SessionId>,
    /// True if the run created that session for itself.
    pub owns_session: Option<bool>,
    /// `{label}_output` of every block that has finished.
    pub outputs: Option<serde_json::Value>,
    /// The reason for its failure.
    pub failure: Option<Failure>,
    /// The time at which it began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// The time at which its first block began.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The events about it, which are stored in its transaction, without their numbers.
    pub events: Vec<NewEvent>,
}

/// A row that was not added, because a limit of its organization is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The quota whose limit is reached.
    pub quota: Quota,
    pub limit: u64,
    /// The rows that count.
    pub used: u64,
    /// The time at which the oldest of them was made.
    pub oldest: Option<DateTime<Utc>>,
}

/// The database as actors see it. Every write resolves when it is durable.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Adds a session unless its organization has reached one of `limits`, in one transaction. Returns the
    /// limit that is reached; none if the row is stored. A session that is to write to its profile
    /// becomes the writer, or gets a copy if another live session is it. The same transaction stores
    /// the `events` about it.
    fn insert_session(
        &self,
        session: SessionRecord,
        limits: Limits,
        events: Vec<NewEvent>,
    ) -> Stored<Option<Full>>;

    /// Returns the session of this organization as stored; none if it does not exist.
    fn session(&self, organization: OrganizationId, id: SessionId)
    -> Stored<Option<SessionRecord>>;

    /// Changes the occupancy, if its generation is still the expected one and the session has not ended.
    /// Otherwise fails with [`StoreError::Conflict`] or [`StoreError::Final`], and stores nothing.
    fn occupy(&self, id: SessionId, change: Occupied) -> Stored;

    /// Stores that the session runs.
    fn start_session(&self, id: SessionId, started: Started) -> Stored;

    /// Stores that a part of the session's desktop has ended and is being restarted.
    fn retry_session(&self, id: SessionId) -> Stored;

    /// Stores that the session runs again, on this desktop. Its deadlines are unchanged.
    fn restart_session(&self, id: SessionId, desktop: DesktopIdentity) -> Stored;

    /// Moves the session's deadlines to at least these; later ones are unchanged. The
    /// `events` are stored with them.
    fn extend_deadlines(
        &self,
        id: SessionId,
        deadlines: Deadlines,
        events: Vec<NewEvent>,
    ) -> Stored;

    /// Sets the generation after which occupants leave traces to be sanitized; none if no occupant
    /// does.
    fn set_sanitize_after(&self, id: SessionId, after: Option<Generation>) -> Stored;

    /// Sets the generation after whose release the session is to be sanitized; none once that is
    /// done.
    fn set_sanitize_due(&self, id: SessionId, due: Option<Generation>) -> Stored;

    /// Changes the occupancy as [`occupy`](Self::occupy) does, and counts the rotation in the same transaction.
    fn rotate_session(&self, id: SessionId, next: Rotated) -> Stored;

    /// Sets the settings of the session's browser.
    fn change_settings(&self, id: SessionId, settings: BrowserSettings) -> Stored;

    /// Changes the name and the tags of a session. Fails with [`StoreError::Rejected`] for a name that another
    /// live session of the organization has.
    fn change_labels(&self, id: SessionId, change: LabelChange) -> Stored;

    /// The session's lists, its proxy and what clients read back of them are those of `spec`.
    fn change_egress(&self, id: SessionId, spec: SessionSpec) -> Stored;

    /// Makes a live session the writer of its profile. Returns the writer if another live session
    /// is it. Fails with [`StoreError::Missing`] if its organization has no such profile, which a new
    /// one need not be.
    fn claim_profile(&self, id: SessionId, used: ProfileUse) -> Stored<Option<SessionId>>;

    /// Returns the profile that the server keeps for the manager of `profile`, which is inserted if
    /// there is none.
    fn managed_profile(&self, profile: ProfileRecord) -> Stored<ProfileId>;

    /// Sets the profile of a session.
    fn set_profile(&self, id: SessionId, used: Option<ProfileUse>) -> Stored;

    /// Notes the version from which a session has started, if it still uses that profile.
    fn set_profile_version(&self, id: SessionId, profile: ProfileId, version: i64) -> Stored;

    /// Adds a version, whose archive is stored already, under the next number, and makes it the one
    /// that sessions start from. With `is_new` the profile is made from `profile`; otherwise it must
    /// exist. The writer in `profile`, if any, must be the one in the row. If one of
    /// these does not hold, fails with [`StoreError::Missing`].
    fn add_profile_version(
        &self,
        profile: ProfileRecord,
        is_new: bool,
        version: VersionRecord,
    ) -> Stored<VersionRecord>;

    /// Returns a profile with all its versions; none if it does not exist.
    fn described_profile(
        &self,
        organization: OrganizationId,
        id: ProfileId,
    ) -> Stored<Option<Described>>;

    /// Returns the versions of a profile beyond the `keep` newest, except the one that sessions start
    /// from.
    fn old_profile_versions(&self, id: ProfileId, keep: u32) -> Stored<Vec<VersionRecord>>;

    /// Forgets a version of a profile, unless sessions start from it. Returns false if it is still
    /// there; its archive is removed after its row.
    fn delete_profile_version(&self, id: ProfileId, number: i64) -> Stored<bool>;

    /// Returns the lists of an organization; empty ones if it has none.
    fn organization_egress(&self, organization: OrganizationId) -> Stored<EgressLists>;

    /// Stores that the session has ended, and closes its occupancy. For a final row, fails with
    /// [`StoreError::Final`].
    fn end_session(&self, id: SessionId, ended: Ended) -> Stored;

    /// Adds a run unless its organization has reached one of `limits`, as for sessions.
    fn insert_run(&self, run: RunRecord, limits: Limits) -> Stored<Option<Full>>;

    /// Changes a run that has not ended; for an ended one, fails with [`StoreError::Final`]. The
    /// end of a run, by any caller, also ends its unfinished blocks and stores its webhook message,
    /// which is due from then on.
    fn change_run(&self, id: RunId, change: RunChange) -> Stored;

    /// Inserts a block that has begun.
    fn insert_block(&self, block: BlockRecord) -> Stored;

    /// Stores that a block has ended: its status, output, failure and `finished_at`.
    fn end_block(&self, block: BlockRecord) -> Stored;

    /// Inserts the row of a stored file.
    fn insert_artifact(&self, artifact: ArtifactRecord) -> Stored;

    /// The bytes of all stored files of an organization.
    fn stored_bytes(&self, organization: OrganizationId) -> Stored<u64>;

    /// The latest version of a workflow; none if there is no such workflow of this organization.
    fn workflow(
        &self,
        organization: OrganizationId,
        id: WorkflowPermanentId,
    ) -> Stored<Option<WorkflowRecord>>;

    /// The organization's artifacts of this type that were stored before `before`, and those beyond
    /// the `keep` newest.
    fn old_artifacts(
        &self,
        organization: OrganizationId,
        artifact_type: String,
        keep: u32,
        before: DateTime<Utc>,
    ) -> Stored<Vec<ArtifactRecord>>;

    /// Deletes the records of artifacts, whose files are removed.
    fn delete_artifacts(&self, ids: Vec<ArtifactId>) -> Stored;

    /// Inserts state-changing messages into the audit trail.
    fn insert_audit(&self, events: Vec<AuditEvent>) -> Stored;
}
