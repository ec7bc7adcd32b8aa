//! Storage states of profiles: read from their archives, and written into new versions, without a browser.
//!
//! A state passes through no actor, no event and no log. A version that is written has the files of the current one.
//! Its row is added only while no live session may write to the profile, and while the profile has the versions that
//! it had when the state was made.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::sync::Semaphore;
use tracing::warn;

use super::core::Core;
use super::error::ServiceError;
use crate::actors::profiles::{self, archive_path, describe, retire};
use crate::db;
use crate::db::profiles::Added;
use crate::domain::event::{EventKind, Subject};
use crate::domain::profile::{Origin, ProfileRecord, VersionRecord};
use crate::system::objects::ObjectError;
use crate::system::profile::{Packed, StateError, UnpackError, read_state, write_state};
use crate::system::storage_state::{Mode, Selection, StorageState};

/// The number of archives that are read or written at once. Each may need the memory for several large states.
static WORKING: Semaphore = Semaphore::const_new(2);

/// The number of times that a state is added to a profile that other requests change at the same time.
const TRIES: u32 = 3;

/// A file in the directory of files in transit, which is removed on drop.
#[derive(Debug)]
struct Transit(PathBuf);

impl Transit {
    fn new(core: &Core, profile: &ProfileRecord) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(core.world.transit.join(format!("{}.{number}.state.tar.zst", profile.id)))
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        // It may be moved, or never have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the storage state of a version of a profile; an empty one without a version.
///
/// # Errors
///
/// [`ServiceError::ProfileUnusable`] for an archive that is damaged or missing; [`ServiceError::StateTooLarge`]; those
/// of the object store.
pub async fn read(
    core: &Core,
    profile: &ProfileRecord,
    version: Option<&VersionRecord>,
    selection: Selection,
) -> Result<StorageState, ServiceError> {
    let Some(version) = version else { return Ok(StorageState::default()) };
    let _working = WORKING.acquire().await;
    let archive = fetched(core, profile, version).await?;
    let work = move || {
        let file = File::open(&archive.0).map_err(|cause| unreadable(&archive.0, cause))?;
        Ok(read_state(file, &selection)?)
    };
    beside(core, work).await
}

/// Makes a profile whose first version has a storage state and no files. No profile is made if this fails.
///
/// # Errors
///
/// Those of [`write()`]; [`StoreError::Rejected`](crate::db::store::StoreError::Rejected) if another profile has the name.
pub async fn create(
    core: &Core,
    profile: ProfileRecord,
    state: StorageState,
) -> Result<VersionRecord, ServiceError> {
    let (target, packed) = packed(core, &profile, None, state, Mode::Replace).await?;
    let version = deposited(core, &profile, &target, packed).await?;
    let added = core.world.store.add_profile_version(profile, true, version.clone()).await;
    profiles::take_back(&core.world, &added, &version.path).await;
    let added = added?;
    stored(core, &added).await;
    Ok(added)
}

/// Writes a storage state into a new version of a profile, beside the files of the current version.
///
/// # Errors
///
/// [`ServiceError::ProfileInUse`] while a session may write to the profile; [`ServiceError::ProfileChanged`] if other
/// requests change it all the time; [`ServiceError::ProfileUnusable`] for a current version whose archive is damaged or
/// missing; [`ServiceError::StateTooLarge`]; those of the object store and of the database. Nothing is added then.
pub async fn write(
    core: &Core,
    profile: &ProfileRecord,
    state: &StorageState,
    mode: Mode,
) -> Result<VersionRecord, ServiceError> {
    let (organization, id) = (profile.organization, profile.id);
    for _ in 0..TRIES {
        // Before the work, which a refusal would waste.
        if let Some(by) = db::profiles::writer(&core.db, id).await? {
            return Err(ServiceError::ProfileInUse { id, by });
        }
        let read = db::profiles::by_id(&core.db, organization, id).await?;
        let read = read.ok_or_else(|| ServiceError::unknown(id))?;
        let current = db::profiles::current(&core.db, organization, id).await?;
        let (target, packed) = packed(core, &read, current.as_ref(), state.clone(), mode).await?;
        let version = deposited(core, &read, &target, packed).await?;
        let added = db::profiles::add_to(&core.db, &read, &version).await;
        if !matches!(added, Ok(Added::Stored(_)) | Err(db::DbError::Unavailable(_))) {
            take_back(core, &version).await;
        }
        match added? {
            Added::Stored(number) => {
                let version = VersionRecord { number, ..version };
                stored(core, &version).await;
                return Ok(version);
            }
            Added::Written(by) => return Err(ServiceError::ProfileInUse { id, by }),
            Added::Gone => return Err(ServiceError::unknown(id)),
            Added::Changed => {}
        }
    }
    Err(ServiceError::ProfileChanged(id))
}

/// Runs work that blocks.
async fn beside<T: Send + 'static>(
    core: &Core,
    work: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    let worked = core.world.runtime.spawn_blocking(work).await;
    worked.unwrap_or_else(|cause| {
        let message = format!("the profile's archive was not read to its end: {cause}");
        Err(ServiceError::ProfileUnusable { code: "profile_not_read", message })
    })
}

fn unreadable(file: &Path, cause: std::io::Error) -> ServiceError {
    let what = format!("{} cannot be used", file.display());
    StateError::Unpack(UnpackError::NotWritten { what, cause }).into()
}

/// Reads the archive of a version from the object store.
async fn fetched(
    core: &Core,
    profile: &ProfileRecord,
    version: &VersionRecord,
) -> Result<Transit, ServiceError> {
    let archive = Transit::new(core, profile);
    match core.world.objects.fetch_to(&version.path, &archive.0).await {
        Ok(_size) => Ok(archive),
        Err(ObjectError::Missing { .. }) => {
            let (number, id) = (version.number, profile.id);
            let message = format!(
                "version {number} of the profile {id} is missing in the storage: roll the profile back to another version"
            );
            Err(ServiceError::ProfileUnusable { code: "profile_lost", message })
        }
        Err(cause) => Err(cause.into()),
    }
}

/// Writes the archive of the next version into a file.
async fn packed(
    core: &Core,
    profile: &ProfileRecord,
    current: Option<&VersionRecord>,
    state: StorageState,
    mode: Mode,
) -> Result<(Transit, Packed), ServiceError> {
    let _working = WORKING.acquire().await;
    let archive = match current {
        Some(current) => Some(fetched(core, profile, current).await?),
        None => None,
    };
    let target = Transit::new(core, profile);
    let created_at = core.world.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let work = move || {
        let base = archive
            .as_ref()
            .map(|base| File::open(&base.0).map_err(|cause| unreadable(&base.0, cause)));
        let base = base.transpose()?;
        let unwritten = |cause| unreadable(&target.0, cause);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(&target.0);
        let mut file = file.map_err(unwritten)?;
        let packed = write_state(base, state, mode, &created_at, &mut file)?;
        file.sync_all().map_err(unwritten)?;
        Ok((target, packed))
    };
    beside(core, work).await
}

/// Puts an archive into the object store, and returns the record of its version, without a number.
async fn deposited(
    core: &Core,
    profile: &ProfileRecord,
    file: &Transit,
    packed: Packed,
) -> Result<VersionRecord, ServiceError> {
    let created_at = core.world.clock.now();
    let path = archive_path(profile.organization, profile.id, created_at, &packed.sha256);
    core.world.objects.deposit(&path, &file.0).await?;
    Ok(VersionRecord {
        profile: profile.id,
        number: 0,
        organization: profile.organization,
        session: None,
        origin: Origin::StorageState,
        path,
        size: i64::try_from(packed.bytes).unwrap_or(i64::MAX),
        checksum: packed.sha256,
        browser_version: packed.browser_version.map(|version| version.to_string()),
        created_at,
    })
}

/// Removes an archive that has no row.
async fn take_back(core: &Core, version: &VersionRecord) {
    if let Err(cause) = core.world.objects.delete(&version.path).await {
        warn!("{} has no row and is not removed: {cause}", version.path);
    }
}

/// Reports a version that is stored, and removes those beyond the number that is kept.
async fn stored(core: &Core, version: &VersionRecord) {
    let VersionRecord { organization, profile, number, size, origin, .. } = version;
    let world = &core.world;
    world.quotas.add_stored(*organization, *size);
    retire(world, *profile).await;
    describe(world, *organization, *profile).await;
    let subject = Subject { organization: *organization, session: None, run: None };
    let data = json!({
        "browser_profile_id": profile, "version": number, "origin": origin, "size": size,
    });
    world.events.record(subject, EventKind::ProfileStored, data);
}
