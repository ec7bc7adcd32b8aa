//! [`Store`] on a database.

use chrono::{DateTime, Utc};

use super::store::{Ended, Full, Occupied, Rotated, RunChange, Started, Store, StoreError, Stored};
use super::{
    Db, Pools, artifacts, audit_events, blocks, organizations, profiles, runs, sessions, workflows,
};
use crate::domain::audit::AuditEvent;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::EgressLists;
use crate::domain::event::NewEvent;
use crate::domain::ids::{
    ArtifactId, OrganizationId, ProfileId, RunId, SessionId, WorkflowPermanentId,
};
use crate::domain::labels::LabelChange;
use crate::domain::occupancy::Generation;
use crate::domain::profile::{Described, ProfileRecord, ProfileUse, VersionRecord};
use crate::domain::quota::Limits;
use crate::domain::run::{ArtifactRecord, BlockRecord, RunRecord, WorkflowRecord};
use crate::domain::session::{DesktopIdentity, SessionRecord, SessionSpec};
use crate::traces::{Kind, Span, Value};

/// Converts the error of a query to that of the store, where it is not one already.
fn stored<T, E: Into<StoreError>>(outcome: Result<T, E>) -> Result<T, StoreError> {
    outcome.map_err(Into::into)
}

/// The same work as a span of the current trace, named after the operation. Nothing of its arguments is in the
/// span, which is sent when the write is durable.
fn traced<T, F>(db: &Db, operation: &'static str, work: F) -> Stored<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let attributes = || {
        let system = match &*db.pools {
            Pools::Sqlite(_) => "sqlite",
            Pools::Postgres(_) => "postgresql",
        };
        let operation = Value::Word(operation);
        vec![("db.system.name", Value::Word(system)), ("db.operation.name", operation)]
    };
    match Span::begin(Kind::Client, || format!("db {operation}").into(), attributes) {
        None => Box::pin(work),
        Some(span) => Box::pin(async move {
            let outcome = work.await;
            span.end(matches!(outcome, Err(StoreError::Unavailable { .. })));
            outcome
        }),
    }
}

/// Implements [`Store`] by the queries of the same arguments.
macro_rules! store {
    ($($method:ident($($name:ident: $type:ty),* $(,)?) -> $answer:ty = $query:path;)*) => {
        impl Store for Db {
            $(fn $method(&self, $($name: $type),*) -> Stored<$answer> {
                let db = self.clone();
                let work = async move { stored($query(&db, $($name),*).await) };
                traced(self, stringify!($method), work)
            })*
        }
    };
}

store! {
    insert_session(
        session: SessionRecord,
        limits: Limits,
        events: Vec<NewEvent>,
    ) -> Option<Full> = sessions::insert;
    session(
        organization: OrganizationId,
        id: SessionId,
    ) -> Option<SessionRecord> = sessions::by_id;
    occupy(id: SessionId, change: Occupied) -> () = sessions::occupy;
    start_session(id: SessionId, started: Started) -> () = sessions::start;
    retry_session(id: SessionId) -> () = sessions::retry;
    restart_session(id: SessionId, desktop: DesktopIdentity) -> () = sessions::restart;
    extend_deadlines(
        id: SessionId,
        deadlines: Deadlines,
        events: Vec<NewEvent>,
    ) -> () = sessions::extend_deadlines;
    claim_profile(id: SessionId, used: ProfileUse) -> Option<SessionId> = profiles::claim;
    managed_profile(profile: ProfileRecord) -> ProfileId = profiles::managed;
    set_profile(id: SessionId, used: Option<ProfileUse>) -> () = profiles::set_use;
    set_profile_version(
        id: SessionId,
        profile: ProfileId,
        version: i64,
    ) -> () = profiles::set_version;
    add_profile_version(
        profile: ProfileRecord,
        is_new: bool,
        version: VersionRecord,
    ) -> VersionRecord = profiles::add_version;
    set_sanitize_after(
        id: SessionId,
        after: Option<Generation>,
    ) -> () = sessions::set_sanitize_after;
    set_sanitize_due(id: SessionId, due: Option<Generation>) -> () = sessions::set_sanitize_due;
    rotate_session(id: SessionId, next: Rotated) -> () = sessions::rotate;
    change_labels(id: SessionId, change: LabelChange) -> () = sessions::change_labels;
    change_settings(id: SessionId, settings: BrowserSettings) -> () = sessions::change_settings;
    change_egress(id: SessionId, spec: SessionSpec) -> () = sessions::change_egress;
    stored_bytes(organization: OrganizationId) -> u64 = artifacts::bytes_of;
    described_profile(
        organization: OrganizationId,
        id: ProfileId,
    ) -> Option<Described> = profiles::described;
    old_profile_versions(id: ProfileId, keep: u32) -> Vec<VersionRecord> = profiles::old_versions;
    delete_profile_version(id: ProfileId, number: i64) -> bool = profiles::delete_version;
    organization_egress(organization: OrganizationId) -> EgressLists = organizations::egress;
    end_session(id: SessionId, ended: Ended) -> () = sessions::end;
    insert_run(run: RunRecord, limits: Limits) -> Option<Full> = runs::insert;
    change_run(id: RunId, change: RunChange) -> () = runs::change;
    insert_block(block: BlockRecord) -> () = blocks::insert;
    end_block(block: BlockRecord) -> () = blocks::end;
    insert_artifact(artifact: ArtifactRecord) -> () = artifacts::insert;
    workflow(
        organization: OrganizationId,
        id: WorkflowPermanentId,
    ) -> Option<WorkflowRecord> = workflows::latest;
    old_artifacts(
        organization: OrganizationId,
        artifact_type: String,
        keep: u32,
        before: DateTime<Utc>,
    ) -> Vec<ArtifactRecord> = artifacts::old;
    delete_artifacts(ids: Vec<ArtifactId>) -> () = artifacts::delete;
    insert_audit(events: Vec<AuditEvent>) -> () = audit_events::insert;
}
