//! Browser profiles beyond one session: those that the server keeps by itself, copies, and removal.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::actors;
use crate::actors::profiles::{archive_path, describe, description_path, take_back};
use crate::db;
use crate::domain::ids::{OrganizationId, ProfileId, SessionId};
use crate::domain::labels::Name;
use crate::domain::profile::{
    Described, LARGEST_DESCRIPTION, Origin, ProfileRecord, VersionRecord,
};
use crate::domain::session::SessionRecord;
use crate::service::core::Core;
use crate::service::error::ServiceError;
use crate::system::objects::PROFILES;

/// Returns a profile of an organization.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if it does not exist; those of the database.
pub async fn find(
    core: &Core,
    organization: OrganizationId,
    id: ProfileId,
) -> Result<ProfileRecord, ServiceError> {
    let found = db::profiles::by_id(&core.db, organization, id).await?;
    found.ok_or_else(|| ServiceError::unknown(id))
}

/// Makes the record of an empty profile.
pub fn empty(core: &Core, organization: OrganizationId, name: Name) -> ProfileRecord {
    actors::profiles::empty(&core.world, organization, name)
}

/// Checks that an organization may have another profile.
///
/// # Errors
///
/// [`ServiceError::TooManyProfiles`] if the limit is reached; those of the database.
pub async fn check_room(core: &Core, organization: OrganizationId) -> Result<(), ServiceError> {
    let limit = core.world.settings.max_profiles;
    match db::profiles::count(&core.db, organization).await? {
        known if known < limit => Ok(()),
        _ => Err(ServiceError::TooManyProfiles { limit }),
    }
}

/// Returns the latest version that was stored from a session.
///
/// # Errors
///
/// [`ServiceError::NoProfile`] if there is none; those of the database.
pub async fn stored_from(
    core: &Core,
    session: &SessionRecord,
) -> Result<VersionRecord, ServiceError> {
    let none = ServiceError::NoProfile(session.id);
    let Some(used) = &session.spec.profile else { return Err(none) };
    let versions = db::profiles::versions_of(&core.db, used.id).await?;
    versions.into_iter().find(|version| version.session == Some(session.id)).ok_or(none)
}

/// A file that is removed on drop.
struct Transit(PathBuf);

impl Drop for Transit {
    fn drop(&mut self) {
        // It may be moved, or never have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Adds a copy of a version to a profile, which is made if it does not exist. Must not be dropped
/// before its end: an archive would be left without a row.
///
/// # Errors
///
/// Those of the object store and of the database. Nothing is added then, unless the database did not
/// answer.
pub async fn copy(
    core: &Core,
    version: &VersionRecord,
    profile: ProfileRecord,
) -> Result<VersionRecord, ServiceError> {
    let world = &core.world;
    let now = world.clock.now();
    let path = archive_path(profile.organization, profile.id, now, &version.checksum);
    let file = Transit(world.transit.join(format!("{}.copy.tar.zst", profile.id)));
    world.objects.fetch_to(&version.path, &file.0).await?;
    world.objects.deposit(&path, &file.0).await?;
    let copied = VersionRecord {
        profile: profile.id,
        number: 0,
        organization: profile.organization,
        origin: Origin::Request,
        path: path.clone(),
        created_at: now,
        ..version.clone()
    };
    let added = world.store.add_profile_version(profile, true, copied).await;
    take_back(world, &added, &path).await;
    let added = added?;
    world.quotas.add_stored(added.organization, added.size);
    describe(world, added.organization, added.profile).await;
    Ok(added)
}

/// Removes a profile. From the beginning no session starts from one of its versions any more. Then
/// its archives go, and its row last, so that none is left without a row.
///
/// # Errors
///
/// [`ServiceError::ProfileInUse`] while a session may write to it; those of the object store and the
/// database, after which the removal may be repeated.
pub async fn remove(core: &Core, profile: &ProfileRecord) -> Result<(), ServiceError> {
    if let Some(by) = db::profiles::begin_removal(&core.db, profile.id).await? {
        return Err(ServiceError::ProfileInUse { id: profile.id, by });
    }
    let description = description_path(profile.organization, profile.id);
    core.world.objects.delete(&description).await?;
    for version in db::profiles::versions_of(&core.db, profile.id).await? {
        core.world.objects.delete(&version.path).await?;
    }
    Ok(db::profiles::delete(&core.db, profile.organization, profile.id).await?)
}

/// Removes a version. Returns false if sessions start from it. The row goes first, because a rollback
/// may choose the version at the same time.
///
/// # Errors
///
/// As [`remove`].
pub async fn remove_version(core: &Core, version: &VersionRecord) -> Result<bool, ServiceError> {
    if !db::profiles::delete_version(&core.db, version.profile, version.number).await? {
        return Ok(false);
    }
    describe(&core.world, version.organization, version.profile).await;
    core.world.objects.delete(&version.path).await?;
    Ok(true)
}

/// The sessions of an organization that have not ended and use a profile.
///
/// # Errors
///
/// Those of the database.
pub async fn sessions_of(
    core: &Core,
    organization: OrganizationId,
    id: ProfileId,
) -> Result<Vec<SessionRecord>, ServiceError> {
    let live = db::sessions::active(&core.db, organization).await?;
    let uses =
        |session: &SessionRecord| session.spec.profile.as_ref().is_some_and(|used| used.id == id);
    Ok(live.into_iter().filter(uses).collect())
}

/// The writers of profiles that have not ended, among these.
///
/// # Errors
///
/// Those of the database.
pub async fn live_writers(
    core: &Core,
    profiles: &[ProfileRecord],
) -> Result<Vec<SessionId>, ServiceError> {
    let writers: Vec<SessionId> = profiles.iter().filter_map(|profile| profile.writer).collect();
    let known = db::sessions::of_ids(&core.db, &writers).await?;
    Ok(known.iter().filter(|it| !it.status.is_final()).map(|it| it.id).collect())
}

/// The outcome of a restoration.
#[derive(Debug, Default, Serialize)]
pub struct Restored {
    /// The profiles that have rows again.
    pub restored: Vec<ProfileId>,
    /// The profiles that were left alone, with the reason.
    pub skipped: Vec<Skipped>,
}

/// A profile that was not restored.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// The key of its description in the object store.
    pub key: String,
    pub reason: String,
}

/// Restores the rows of profiles from the object store, for a database that has lost them: into
/// their own organizations, or all into `into`. What exists is left alone, as are versions without an archive.
///
/// # Errors
///
/// Those of the object store and of the database. What was restored before stays.
pub async fn restore(core: &Core, into: Option<OrganizationId>) -> Result<Restored, ServiceError> {
    let objects = core.world.objects.list(PROFILES).await?;
    let archives: HashSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    let mut outcome = Restored::default();
    for object in &objects {
        if !object.key.ends_with("/profile.json") {
            continue;
        }
        match restore_one(core, &object.key, into, &archives).await? {
            Ok(id) => outcome.restored.push(id),
            Err(reason) => outcome.skipped.push(Skipped { key: object.key.clone(), reason }),
        }
    }
    Ok(outcome)
}

async fn restore_one(
    core: &Core,
    key: &str,
    into: Option<OrganizationId>,
    archives: &HashSet<&str>,
) -> Result<Result<ProfileId, String>, ServiceError> {
    let bytes = core.world.objects.read_bytes(key, LARGEST_DESCRIPTION).await?;
    let Ok(Described { mut profile, versions }) = serde_json::from_slice(&bytes) else {
        return Ok(Err("the description cannot be read".to_owned()));
    };
    profile.organization = into.unwrap_or(profile.organization);
    profile.writer = None;
    let organization = profile.organization;
    if db::organizations::by_id(&core.db, organization).await?.is_none() {
        return Ok(Err(format!(
            "organization {organization} does not exist: create it with this id, or name another"
        )));
    }
    let versions: Vec<_> = versions
        .into_iter()
        .filter(|version| archives.contains(version.path.as_str()))
        .map(|version| VersionRecord { organization, session: None, ..version })
        .collect();
    if !versions.iter().any(|version| version.number == profile.current) {
        profile.current = versions.iter().map(|version| version.number).max().unwrap_or(0);
    }
    let id = profile.id;
    let described = Described { profile, versions };
    if db::profiles::restore(&core.db, &described).await? {
        Ok(Ok(id))
    } else {
        Ok(Err("there is a profile with this id or name".to_owned()))
    }
}
