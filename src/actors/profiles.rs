//! Versions of browser profiles: read from the object store before a launch, and stored in it.
//!
//! An archive is stored first, its row second. So a row always has an archive, and a server that
//! ends in between leaves an archive without a row, of which no session knows. An archive whose row may
//! be stored stays: only a refused row has it removed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::storing::{STORE_AGAIN, until_stored};
use super::world::World;
use crate::db::store::StoreError;
use crate::domain::event::{EventKind, Subject};
use crate::domain::ids::{OrganizationId, ProfileId, SessionId};
use crate::domain::labels::{Name, Tags};
use crate::domain::profile::{
    Described, Manager, Origin, ProfileRecord, ProfileUse, VersionRecord,
};
use crate::domain::quota::QuotaExceeded;
use crate::domain::run::WorkflowRecord;
use crate::domain::session::Failure;
use crate::domain::workflow_settings::{persists, profile_id};
use crate::system::desktop::PackedProfile;
use crate::system::objects::{ObjectError, PROFILES};

/// The number of times that a read or write of the database is repeated. At the end of a session, which
/// has no other chance, writes are repeated until the time is up.
const RETRIES: u32 = 5;

/// The locks under which profiles are described. Each profile has one of them.
static DESCRIBING: [Mutex<()>; 16] = [const { Mutex::const_new(()) }; 16];

/// The characters of a checksum in the name of an archive.
const CHECKSUM_IN_NAME: usize = 12;

/// The reason why no version of a profile was stored. The former version is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProfileError {
    /// The profile of the session is being stored already.
    #[error("the profile of the session is being stored already: try again when it is done")]
    UnderWay,
    /// The profile could not be packed.
    #[error("{}", .0.message)]
    NotPacked(Box<Failure>),
    /// The archive could not be stored. The log has the cause.
    #[error("the profile could not be stored: the storage is unavailable")]
    Objects(ObjectError),
    /// It was not stored in time.
    #[error("the profile was not stored within {} s (sessions.profile_store_seconds)", .0.as_secs())]
    Late(Duration),
    /// The profile was deleted, or the session is its writer no more.
    #[error(
        "the profile {0} was deleted meanwhile, or the session may not write to it any more: store a \
         new profile, with a name"
    )]
    NotWriter(ProfileId),
    /// The row could not be stored.
    #[error("the profile could not be stored: {0}")]
    Row(StoreError),
    /// A quota of the organization is reached.
    #[error("{0}")]
    Quota(Box<QuotaExceeded>),
}

/// A file with an archive, which is removed on drop.
#[derive(Debug)]
pub(super) struct Fetched(pub(super) PackedProfile);

impl Drop for Fetched {
    fn drop(&mut self) {
        // It may be moved, or never have been written.
        let _ = std::fs::remove_file(&self.0.file);
    }
}

/// Returns a file for an archive of a session, in the directory of files in transit. No other call
/// returns the same: a former writer may be late.
pub(super) fn transit(world: &World, session: SessionId, way: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    world.transit.join(format!("{session}.{way}.{number}.tar.zst"))
}

/// Makes the record of an empty profile.
pub fn empty(world: &World, organization: OrganizationId, name: Name) -> ProfileRecord {
    let now = world.clock.now();
    ProfileRecord {
        id: world.mint.mint(now),
        organization,
        name,
        description: None,
        tags: Tags::default(),
        manager: None,
        current: 0,
        last: 0,
        writer: None,
        created_at: now,
        modified_at: now,
    }
}

/// Returns the profile that the server keeps for a manager, and makes an empty one at first.
///
/// # Errors
///
/// Those of the database.
pub async fn managed(
    world: &World,
    organization: OrganizationId,
    manager: Manager,
) -> Result<ProfileUse, StoreError> {
    let name = match &manager {
        Manager::Workflow { workflow, .. } => format!("Profile of {workflow}"),
        Manager::Debug { workflow, .. } => format!("Debug profile of {workflow}"),
    };
    let name = name.parse().map_err(|_never| StoreError::Missing)?;
    let profile = ProfileRecord { manager: Some(manager), ..empty(world, organization, name) };
    Ok(ProfileUse::written(world.store.managed_profile(profile).await?))
}

/// Returns the profile of the session that a run of a workflow makes for itself: the one that its
/// settings name, or the one that the server keeps for it.
///
/// # Errors
///
/// [`StoreError::Missing`] if its organization has no profile with the id in its settings; those of the
/// database.
pub async fn of_workflow(
    world: &World,
    workflow: &WorkflowRecord,
) -> Result<Option<ProfileUse>, StoreError> {
    if let Some(text) = profile_id(&workflow.settings) {
        // The setting may name a profile of another organization, or one that was deleted.
        let id = text.parse().map_err(|_odd| StoreError::Missing)?;
        let known = world.store.described_profile(workflow.organization, id).await?;
        return known.map(|_own| Some(ProfileUse::written(id))).ok_or(StoreError::Missing);
    }
    let Some(key) = persists(&workflow.settings) else { return Ok(None) };
    let manager = Manager::Workflow { workflow: workflow.permanent_id, key: key.to_owned() };
    managed(world, workflow.organization, manager).await.map(Some)
}

fn failure(code: &str, message: String) -> Failure {
    Failure::new(code, message).stage("profile")
}

/// Reads the archive of the version that sessions start from, and notes the version in the session's
/// row; none if the profile has no version yet.
pub(super) async fn fetch(
    world: &World,
    organization: OrganizationId,
    session: SessionId,
    used: &ProfileUse,
) -> Result<Option<(i64, Fetched)>, Failure> {
    let id = used.id;
    let unread =
        |cause: StoreError| failure("profile_unread", format!("the profile {id}: {cause}"));
    let read = || world.store.described_profile(organization, id);
    let described = until_stored(format!("the read of profile {id}"), RETRIES, read).await;
    let Described { profile, versions } = match described.map_err(unread)? {
        Some(described) => described,
        None if used.is_new => return Ok(None),
        None => return Err(failure("profile_gone", format!("the profile {id} was deleted"))),
    };
    let number = profile.current;
    if number == 0 {
        return Ok(None);
    }
    let lost = || {
        let message = format!("version {number} of the profile {id} is missing in the storage");
        let hint = "roll the profile back to another version";
        failure("profile_lost", message).hint(hint)
    };
    let version = versions.into_iter().find(|version| version.number == number);
    let version = version.ok_or_else(lost)?;
    let file = transit(world, session, "in");
    let fetched = Fetched(PackedProfile {
        file: file.clone(),
        bytes: u64::try_from(version.size).unwrap_or_default(),
        checksum: version.checksum,
        browser_version: version.browser_version,
    });
    if let Err(cause) = world.objects.fetch_to(&version.path, &file).await {
        warn!("version {number} of profile {id} is not read: {cause}");
        return Err(match cause {
            ObjectError::Missing { .. } => lost(),
            ObjectError::StoreAway { .. }
            | ObjectError::Refused { .. }
            | ObjectError::Full { .. }
            | ObjectError::TooLarge { .. }
            | ObjectError::File { .. }
            | ObjectError::BadKey { .. }
            | ObjectError::Misconfigured { .. } => {
                let message = format!("version {number} of the profile {id} cannot be read now");
                let hint = "the storage is unavailable: try again, or see the server's log";
                failure("profile_unreachable", message).hint(hint)
            }
        });
    }
    world.store.set_profile_version(session, id, number).await.map_err(unread)?;
    Ok(Some((number, fetched)))
}

/// A version to be stored.
#[derive(Debug)]
pub(super) struct NewVersion {
    pub(super) profile: ProfileRecord,
    /// True if the row of the profile is made with its first version.
    pub(super) is_new: bool,
    /// The session that it is stored from.
    pub(super) session: SessionId,
    pub(super) origin: Origin,
}

impl NewVersion {
    fn subject(&self) -> Subject {
        Subject { organization: self.profile.organization, session: Some(self.session), run: None }
    }
}

/// Stores an archive as the next version of a profile, and reports the outcome as an event.
pub(super) async fn store(
    world: &World,
    new: NewVersion,
    packed: Result<PackedProfile, Failure>,
) -> Result<VersionRecord, ProfileError> {
    let (subject, id) = (new.subject(), new.profile.id);
    let organization = new.profile.organization;
    let limit = world.settings.profile_store_limit();
    let stored = match packed {
        Ok(packed) => {
            let put = timeout(limit, put(world, new, packed)).await;
            put.unwrap_or(Err(ProfileError::Late(limit)))
        }
        Err(failure) => Err(ProfileError::NotPacked(Box::new(failure))),
    };
    match &stored {
        Ok(version) => {
            world.quotas.add_stored(organization, version.size);
            retire(world, id).await;
            describe(world, organization, id).await;
            info!("profile {id}, version {}: {} bytes", version.number, version.size);
            let data = json!({
                "browser_profile_id": id,
                "version": version.number,
                "origin": version.origin,
                "size": version.size,
            });
            world.events.record(subject, EventKind::ProfileStored, data);
        }
        Err(cause) => {
            warn!("no version of profile {id} is stored: {cause}");
            let data = json!({ "browser_profile_id": id, "failure": cause.to_string() });
            world.events.record(subject, EventKind::ProfileNotStored, data);
        }
    }
    stored
}

async fn put(
    world: &World,
    NewVersion { profile, is_new, session, origin }: NewVersion,
    packed: PackedProfile,
) -> Result<VersionRecord, ProfileError> {
    let packed = Fetched(packed);
    let organization = profile.organization;
    let admitted = world.quotas.check_storage(world.store.as_ref(), organization).await;
    admitted.map_err(|refusal| ProfileError::Quota(Box::new(refusal)))?;
    let PackedProfile { file, bytes, checksum, browser_version } = &packed.0;
    let now = world.clock.now();
    let path = archive_path(organization, profile.id, now, checksum);
    let retries = if origin == Origin::SessionEnd { u32::MAX } else { RETRIES };
    deposit(world, &path, file, *bytes, retries).await?;
    let version = VersionRecord {
        profile: profile.id,
        number: 0,
        organization,
        session: Some(session),
        origin,
        path: path.clone(),
        size: i64::try_from(*bytes).unwrap_or(i64::MAX),
        checksum: checksum.clone(),
        browser_version: browser_version.clone(),
        created_at: now,
    };
    let id = profile.id;
    let add = || world.store.add_profile_version(profile.clone(), is_new, version.clone());
    let added = until_stored(format!("the version of profile {id}"), retries, add).await;
    take_back(world, &added, &path).await;
    added.map_err(|cause| match cause {
        StoreError::Missing => ProfileError::NotWriter(id),
        StoreError::Conflict { .. }
        | StoreError::Final
        | StoreError::Unavailable(_)
        | StoreError::Rejected(_) => ProfileError::Row(cause),
    })
}

/// Removes an archive whose row was refused. If the outcome is unknown, the row may name it.
pub async fn take_back<T>(world: &World, added: &Result<T, StoreError>, path: &str) {
    match added {
        Ok(_) => {}
        Err(StoreError::Unavailable(cause)) => {
            warn!("{path} stays, because its row may be stored: {cause}");
        }
        Err(
            StoreError::Conflict { .. }
            | StoreError::Final
            | StoreError::Missing
            | StoreError::Rejected(_),
        ) => {
            if let Err(cause) = world.objects.delete(path).await {
                warn!("{path} has no row and is not removed: {cause}");
            }
        }
    }
}

/// Puts an archive of `size` bytes into the object store, again and again while that is out of order.
async fn deposit(
    world: &World,
    path: &str,
    file: &Path,
    size: u64,
    retries: u32,
) -> Result<(), ProfileError> {
    let mut tries = 0_u32;
    loop {
        match world.objects.deposit(path, file).await {
            Err(cause) if cause.is_outage() && tries < retries => {
                warn!("{path} is not stored yet: {cause}");
                tries = tries.saturating_add(1);
                sleep(STORE_AGAIN).await;
            }
            Err(cause) => {
                // An attempt that was late may have moved the file after all.
                let moved = world.objects.head(path).await;
                if moved.is_ok_and(|moved| moved.size == size) {
                    return Ok(());
                }
                warn!("{path} is not stored: {cause}");
                return Err(ProfileError::Objects(cause));
            }
            Ok(_stored_or_queued) => return Ok(()),
        }
    }
}

/// The key of an archive in the object store. Keys of one profile are in the order of their times.
pub fn archive_path(
    organization: OrganizationId,
    profile: ProfileId,
    at: chrono::DateTime<chrono::Utc>,
    checksum: &str,
) -> String {
    let short = checksum.get(..CHECKSUM_IN_NAME).unwrap_or(checksum);
    let at = at.format("%Y%m%dT%H%M%S%6f");
    format!("{PROFILES}/{organization}/{profile}/{at}-{short}.tar.zst")
}

/// The key of the description of a profile in the object store.
pub fn description_path(organization: OrganizationId, profile: ProfileId) -> String {
    format!("{PROFILES}/{organization}/{profile}/profile.json")
}

/// Stores the description of a profile beside its archives, from which a server without its rows
/// restores it. A failure is logged: the next change describes it again.
pub async fn describe(world: &World, organization: OrganizationId, id: ProfileId) {
    // One at a time of a profile, so that the description that was read last is also written last.
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let number = usize::try_from(hasher.finish()).unwrap_or_default();
    let [first, ..] = &DESCRIBING;
    let lock = DESCRIBING.get(number.checked_rem(DESCRIBING.len()).unwrap_or_default());
    let _describing = lock.unwrap_or(first).lock().await;
    let described = match world.store.described_profile(organization, id).await {
        Ok(Some(described)) => described,
        Ok(None) => return,
        Err(cause) => return warn!("profile {id} is not described: {cause}"),
    };
    let bytes = serde_json::to_vec_pretty(&described).unwrap_or_default();
    let path = description_path(organization, id);
    if let Err(cause) = world.objects.deposit_bytes(&path, bytes.into()).await {
        warn!("profile {id} is not described: {cause}");
    }
}

/// Removes versions beyond the number that is kept. The row goes first, because a rollback may choose the
/// version at the same time.
pub async fn retire(world: &World, id: ProfileId) {
    let keep = world.settings.keep_profile_versions;
    let old = match world.store.old_profile_versions(id, keep).await {
        Ok(old) => old,
        Err(cause) => return warn!("old versions of profile {id} are not removed: {cause}"),
    };
    for version in old {
        match world.store.delete_profile_version(id, version.number).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(cause) => {
                warn!("version {} of profile {id} is not removed: {cause}", version.number);
                continue;
            }
        }
        if let Err(cause) = world.objects.delete(&version.path).await {
            warn!("{} has no row any more and is not removed: {cause}", version.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::{Outside, Stage};

    #[actix::test]
    async fn an_archive_that_a_late_attempt_has_moved_is_stored() {
        const PATH: &str = "profiles/o_1/bp_1/a.tar.zst";
        let data = std::env::temp_dir().join(format!("late-deposit-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let stage = Stage::new(Outside { data: data.clone(), ..Outside::default() });
        let file = data.join("archive");
        std::fs::write(&file, b"archive").unwrap();
        deposit(&stage.world, PATH, &file, 7, 0).await.unwrap();
        assert!(!file.exists());
        deposit(&stage.world, PATH, &file, 7, 0).await.unwrap();
        let other = deposit(&stage.world, PATH, &file, 8, 0).await;
        assert!(matches!(other, Err(ProfileError::Objects(_))), "{other:?}");
        std::fs::remove_dir_all(data).unwrap();
    }
}
