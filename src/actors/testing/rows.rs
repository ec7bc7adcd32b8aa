//! A store in memory for the tests of actors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::sleep;

use crate::db::store::{
    Ended, Full, Occupied, Rotated, RunChange, Started, Store, StoreError, Stored,
};
use crate::db::{Outage, Reason, Rejection};
use crate::domain::audit::AuditEvent;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::EgressLists;
use crate::domain::event::NewEvent;
use crate::domain::ids::{
    ArtifactId, OrganizationId, ProfileId, RunId, SessionId, WorkflowPermanentId,
};
use crate::domain::labels::LabelChange;
use crate::domain::occupancy::{Event, Generation};
use crate::domain::profile::{Described, ProfileAccess, ProfileRecord, ProfileUse, VersionRecord};
use crate::domain::quota::{Limits, Quota};
use crate::domain::run::{ArtifactRecord, BlockRecord, BlockStatus, RunRecord, WorkflowRecord};
use crate::domain::session::{DesktopIdentity, SessionRecord, SessionSpec, SessionStatus};

/// A store in memory. Each write takes a millisecond, plus `slow`. `broken` makes it unavailable;
/// with `mute` it writes, but reports an error; `refuses` makes it refuse all writes.
#[derive(Debug, Default)]
pub struct Rows {
    pub sessions: Mutex<HashMap<SessionId, SessionRecord>>,
    pub runs: Mutex<HashMap<RunId, RunRecord>>,
    pub blocks: Mutex<Vec<BlockRecord>>,
    pub workflows: Mutex<Vec<WorkflowRecord>>,
    /// The versions of profiles.
    pub versions: Mutex<Vec<VersionRecord>>,
    /// The lists of the organization.
    pub egress: Mutex<EgressLists>,
    pub broken: Mutex<bool>,
    pub refuses: Mutex<bool>,
    pub mute: Mutex<bool>,
    pub slow: Mutex<Duration>,
    pub writes: AtomicUsize,
}

impl Rows {
    pub fn session(&self, id: SessionId) -> SessionRecord {
        self.sessions.lock().get(&id).cloned().expect("the session is stored")
    }

    pub fn run(&self, id: RunId) -> RunRecord {
        self.runs.lock().get(&id).cloned().expect("the run is stored")
    }

    fn write<T: Send + 'static>(
        self: &Rows,
        outcome: impl FnOnce(&Rows) -> Result<T, StoreError>,
    ) -> Stored<T> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let outcome = if *self.broken.lock() {
            Err(StoreError::Unavailable(Outage::new("it is broken")))
        } else if *self.refuses.lock() {
            Err(StoreError::Rejected(Rejection::new(Reason::Data, "a NUL in a text")))
        } else {
            outcome(self)
        };
        let outcome = if *self.mute.lock() {
            Err(StoreError::Unavailable(Outage::new("it does not answer")))
        } else {
            outcome
        };
        let takes = Duration::from_millis(1) + *self.slow.lock();
        Box::pin(async move {
            sleep(takes).await;
            outcome
        })
    }

    fn change_session(
        &self,
        id: SessionId,
        change: impl FnOnce(&mut SessionRecord) -> Result<(), StoreError>,
    ) -> Stored {
        self.write(|rows| {
            let mut sessions = rows.sessions.lock();
            let record = sessions.get_mut(&id).ok_or(StoreError::Missing)?;
            if record.status.is_final() {
                return Err(StoreError::Final);
            }
            change(record)
        })
    }
}

/// The limit that is reached, if one is.
fn full(quota: Quota, limits: &Limits, there: usize) -> Option<Full> {
    let (limit, used) = (limits.get(quota)?, u64::try_from(there).unwrap());
    (used >= limit).then_some(Full { quota, limit, used, oldest: None })
}

impl Store for Rows {
    fn insert_session(
        &self,
        session: SessionRecord,
        limits: Limits,
        _: Vec<NewEvent>,
    ) -> Stored<Option<Full>> {
        self.write(|rows| {
            let mut sessions = rows.sessions.lock();
            let own = sessions.values().filter(|it| it.organization == session.organization);
            let live = own.filter(|it| !it.status.is_final() && it.id != session.id).count();
            let full = full(Quota::Sessions, &limits, live);
            if full.is_none() {
                let mut session = session;
                let writes = |of: &SessionRecord, id: ProfileId| {
                    let used = of.spec.profile.as_ref().filter(|used| used.id == id);
                    let is_other = of.id != session.id && !of.status.is_final();
                    is_other && used.is_some_and(|used| used.access == ProfileAccess::Write)
                };
                let wanted = session.spec.profile.as_ref().map(|used| used.id);
                let taken = wanted.is_some_and(|id| sessions.values().any(|of| writes(of, id)));
                if let Some(used) = session.spec.profile.as_mut().filter(|_used| taken) {
                    used.access = ProfileAccess::Copy;
                }
                sessions.insert(session.id, session);
            }
            Ok(full)
        })
    }

    fn stored_bytes(&self, _: OrganizationId) -> Stored<u64> {
        Box::pin(async { Ok(0) })
    }

    fn session(
        &self,
        organization: OrganizationId,
        id: SessionId,
    ) -> Stored<Option<SessionRecord>> {
        self.write(|rows| {
            let row = rows.sessions.lock().get(&id).cloned();
            Ok(row.filter(|row| row.organization == organization))
        })
    }

    fn occupy(&self, id: SessionId, change: Occupied) -> Stored {
        let Occupied { expected, next, idle, .. } = change;
        self.change_session(id, |record| {
            if record.occupancy.generation() != expected {
                return Err(StoreError::Conflict { stored: record.occupancy.clone() });
            }
            record.occupancy = next;
            record.deadlines.idle_expires_at = idle.or(record.deadlines.idle_expires_at);
            Ok(())
        })
    }

    fn start_session(&self, id: SessionId, started: Started) -> Stored {
        self.change_session(id, |record| {
            record.status = SessionStatus::Running;
            record.desktop = Some(started.desktop);
            record.started_at = Some(started.at);
            record.deadlines = started.deadlines;
            Ok(())
        })
    }

    fn retry_session(&self, id: SessionId) -> Stored {
        self.change_session(id, |record| {
            record.status = SessionStatus::Retry;
            Ok(())
        })
    }

    fn restart_session(&self, id: SessionId, desktop: DesktopIdentity) -> Stored {
        self.change_session(id, |record| {
            record.status = SessionStatus::Running;
            record.desktop = Some(desktop);
            Ok(())
        })
    }

    fn claim_profile(&self, id: SessionId, used: ProfileUse) -> Stored<Option<SessionId>> {
        self.write(|rows| {
            let mut sessions = rows.sessions.lock();
            let holds = |record: &&SessionRecord| {
                let theirs = record.spec.profile.as_ref();
                let writes = |own: &ProfileUse| own.access == ProfileAccess::Write;
                record.id != id
                    && !record.status.is_final()
                    && theirs.is_some_and(|own| own.id == used.id && writes(own))
            };
            if let Some(holder) = sessions.values().find(holds) {
                return Ok(Some(holder.id));
            }
            let record = sessions.get_mut(&id).ok_or(StoreError::Missing)?;
            record.spec.profile = Some(ProfileUse { access: ProfileAccess::Write, ..used });
            Ok(None)
        })
    }

    fn managed_profile(&self, profile: ProfileRecord) -> Stored<ProfileId> {
        Box::pin(async move { Ok(profile.id) })
    }

    fn set_profile(&self, id: SessionId, used: Option<ProfileUse>) -> Stored {
        self.change_session(id, |record| {
            record.spec.profile = used;
            Ok(())
        })
    }

    fn set_profile_version(&self, id: SessionId, profile: ProfileId, version: i64) -> Stored {
        self.change_session(id, |record| {
            let used = record.spec.profile.as_mut().filter(|used| used.id == profile);
            if let Some(used) = used {
                used.version = Some(version);
            }
            Ok(())
        })
    }

    fn add_profile_version(
        &self,
        profile: ProfileRecord,
        _: bool,
        version: VersionRecord,
    ) -> Stored<VersionRecord> {
        self.write(|rows| {
            let sessions = rows.sessions.lock();
            let writes = |id: SessionId| {
                let used = sessions.get(&id).and_then(|row| row.spec.profile.as_ref());
                used.is_some_and(|it| it.id == profile.id && it.access == ProfileAccess::Write)
            };
            if profile.writer.is_some_and(|writer| !writes(writer)) {
                return Err(StoreError::Missing);
            }
            let mut versions = rows.versions.lock();
            if let Some(known) = versions.iter().find(|known| known.path == version.path) {
                return Ok(known.clone());
            }
            let last = versions.iter().filter(|it| it.profile == profile.id).count();
            let number = i64::try_from(last).unwrap() + 1;
            let version = VersionRecord { number, ..version };
            versions.push(version.clone());
            Ok(version)
        })
    }

    fn described_profile(&self, _: OrganizationId, _: ProfileId) -> Stored<Option<Described>> {
        Box::pin(async { Ok(None) })
    }

    fn old_profile_versions(&self, _: ProfileId, _: u32) -> Stored<Vec<VersionRecord>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn delete_profile_version(&self, id: ProfileId, number: i64) -> Stored<bool> {
        self.write(|rows| {
            rows.versions.lock().retain(|it| it.profile != id || it.number != number);
            Ok(true)
        })
    }

    fn set_sanitize_after(&self, id: SessionId, after: Option<Generation>) -> Stored {
        self.change_session(id, |record| {
            record.spec.sanitize_after = after;
            Ok(())
        })
    }

    fn set_sanitize_due(&self, id: SessionId, due: Option<Generation>) -> Stored {
        self.change_session(id, |record| {
            record.spec.sanitize_due = due;
            Ok(())
        })
    }

    fn rotate_session(&self, id: SessionId, next: Rotated) -> Stored {
        self.change_session(id, |record| {
            let Rotated { change: Occupied { expected, next, idle, .. }, rotation } = next;
            if record.occupancy.generation() != expected {
                return Err(StoreError::Conflict { stored: record.occupancy.clone() });
            }
            record.occupancy = next;
            record.deadlines.idle_expires_at = idle.or(record.deadlines.idle_expires_at);
            record.spec.rotation = rotation;
            Ok(())
        })
    }

    fn change_labels(&self, id: SessionId, change: LabelChange) -> Stored {
        self.change_session(id, |record| {
            let LabelChange { name, tags } = change;
            record.spec.name = name.unwrap_or_else(|| record.spec.name.take());
            record.spec.tags = tags.unwrap_or_else(|| std::mem::take(&mut record.spec.tags));
            Ok(())
        })
    }

    fn change_settings(&self, id: SessionId, settings: BrowserSettings) -> Stored {
        self.change_session(id, |record| {
            record.spec.settings = settings;
            Ok(())
        })
    }

    fn change_egress(&self, id: SessionId, spec: SessionSpec) -> Stored {
        self.change_session(id, |record| {
            record.spec = spec;
            Ok(())
        })
    }

    fn organization_egress(&self, _: OrganizationId) -> Stored<EgressLists> {
        let lists = self.egress.lock().clone();
        Box::pin(async move { Ok(lists) })
    }

    fn extend_deadlines(&self, id: SessionId, deadlines: Deadlines, _: Vec<NewEvent>) -> Stored {
        self.change_session(id, |record| {
            record.deadlines = record.deadlines.later(&deadlines);
            Ok(())
        })
    }

    fn end_session(&self, id: SessionId, ended: Ended) -> Stored {
        self.change_session(id, |record| {
            record.status = ended.status;
            record.failure = ended.failure;
            record.completed_at = Some(ended.at);
            record.occupancy = record.occupancy.after(Event::Close).expect("it may always close");
            Ok(())
        })
    }

    fn insert_run(&self, run: RunRecord, limits: Limits) -> Stored<Option<Full>> {
        self.write(|rows| {
            let mut runs = rows.runs.lock();
            let own = runs.values().filter(|it| it.organization == run.organization);
            let unfinished = own.filter(|it| !it.status.is_final() && it.id != run.id).count();
            let full = full(Quota::Runs, &limits, unfinished);
            if full.is_none() {
                runs.insert(run.id, run);
            }
            Ok(full)
        })
    }

    fn change_run(&self, id: RunId, change: RunChange) -> Stored {
        self.write(|rows| {
            let mut runs = rows.runs.lock();
            let record = runs.get_mut(&id).ok_or(StoreError::Missing)?;
            if record.status.is_final() {
                return Err(StoreError::Final);
            }
            record.status = change.status.unwrap_or(record.status);
            if record.status.is_final() {
                let mut blocks = rows.blocks.lock();
                let is_open =
                    |it: &&mut BlockRecord| it.run == id && it.status == BlockStatus::Running;
                for block in blocks.iter_mut().filter(is_open) {
                    block.status = BlockStatus::cut_off_by(record.status);
                    block.finished_at = change.finished_at;
                }
            }
            record.session = change.session.or(record.session);
            record.owns_session = change.owns_session.unwrap_or(record.owns_session);
            record.outputs = change.outputs.unwrap_or(Value::Null);
            record.failure = change.failure.or(record.failure.take());
            record.queued_at = change.queued_at.or(record.queued_at);
            record.started_at = change.started_at.or(record.started_at);
            record.finished_at = change.finished_at.or(record.finished_at);
            Ok(())
        })
    }

    fn insert_block(&self, block: BlockRecord) -> Stored {
        self.write(|rows| {
            rows.blocks.lock().push(block);
            Ok(())
        })
    }

    fn end_block(&self, block: BlockRecord) -> Stored {
        self.write(|rows| {
            let mut blocks = rows.blocks.lock();
            let stored = blocks.iter_mut().find(|stored| stored.id == block.id);
            *stored.ok_or(StoreError::Missing)? = block;
            Ok(())
        })
    }

    fn insert_artifact(&self, _: ArtifactRecord) -> Stored {
        self.write(|_| Ok(()))
    }

    fn workflow(
        &self,
        organization: OrganizationId,
        id: WorkflowPermanentId,
    ) -> Stored<Option<WorkflowRecord>> {
        self.write(|rows| {
            let workflows = rows.workflows.lock();
            let is_it =
                |it: &&WorkflowRecord| it.organization == organization && it.permanent_id == id;
            Ok(workflows.iter().find(is_it).cloned())
        })
    }

    fn old_artifacts(
        &self,
        _: OrganizationId,
        _: String,
        _: u32,
        _: DateTime<Utc>,
    ) -> Stored<Vec<ArtifactRecord>> {
        self.write(|_| Ok(Vec::new()))
    }

    fn delete_artifacts(&self, _: Vec<ArtifactId>) -> Stored {
        self.write(|_| Ok(()))
    }

    fn insert_audit(&self, _: Vec<AuditEvent>) -> Stored {
        self.write(|_| Ok(()))
    }
}
