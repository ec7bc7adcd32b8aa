//! The removal of stored files that are too old, or too many, by the limits of their organization.
//!
//! Of a version of a profile the row goes first, because a rollback may choose the version at the same time: see
//! [`profiles::remove_version`]. Of every other file,
//! the object is removed first, and then the row. After a crash in between, the row is still the
//! oldest: the next round finds it again, and removes both. The other order would leave objects
//! that nothing names.
//!
//! Files in a directory are removed by the server that has them, and their size is added up for
//! each server. Files in a bucket are removed by any server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use super::core::Core;
use super::error::ServiceError;
use super::profiles;
use crate::db::retention::{self, Scope};
use crate::db::{self, DbError};
use crate::domain::ids::OrganizationId;
use crate::domain::profile::VersionRecord;
use crate::domain::retention::{Kept, KeptLimits, Retention};
use crate::domain::run::ArtifactRecord;

/// The time between two rounds.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The time after which a round that failed is repeated.
const RETRY_DELAY: Duration = Duration::from_secs(60);

/// The number of files that are removed together.
const BATCH: i64 = 100;

/// The number of objects that are removed at once.
const AT_ONCE: usize = 8;

/// The limits of the settings, and the notice of a change.
#[derive(Debug)]
pub struct Retaining {
    /// The limits of organizations that have none of their own.
    pub defaults: Retention,
    /// Notified when an operator has changed limits; the next round begins at once.
    pub changed: Notify,
}

impl Retaining {
    pub fn new(defaults: Retention) -> Self {
        Self { defaults, changed: Notify::new() }
    }
}

/// The reason why a round ended early.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("{left} files cannot be removed: {cause}")]
    Objects { left: usize, cause: String },
    #[error("the records of removed files are not deleted: {0}")]
    Rows(String),
}

/// Removes files beyond the limits, every hour and after each change, until the server stops.
pub async fn enforce(core: Arc<Core>) {
    loop {
        let pause = match round(&core).await {
            Ok(()) => INTERVAL,
            Err(cause) => {
                warn!("retention: {cause}");
                RETRY_DELAY
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = core.retention.changed.notified() => {}
            () = core.closing.cancelled() => return,
        }
    }
}

/// Applies the limits of every organization. A failure of one does not keep the others from theirs.
async fn round(core: &Core) -> Result<(), RoundError> {
    let own = retention::own_limits(&core.db).await?;
    let mut failure = None;
    for organization in db::organizations::list(&core.db).await? {
        let own = own.get(&organization.id).copied().unwrap_or_default();
        let limits = own.or(core.retention.defaults);
        for kept in Kept::ALL {
            let applied = match kept {
                Kept::Artifacts | Kept::Recordings => {
                    apply(core, organization.id, kept, limits).await
                }
                Kept::ProfileVersions => {
                    apply_to_versions(core, organization.id, limits.of(kept)).await
                }
            };
            if let Err(cause) = applied {
                failure = Some(cause);
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn apply(
    core: &Core,
    organization: OrganizationId,
    kept: Kept,
    limits: Retention,
) -> Result<(), RoundError> {
    let world = &core.world;
    let node = (!world.objects.is_shared()).then_some(world.node);
    let scope = Scope { organization, recordings: kept == Kept::Recordings, node };
    let limits = limits.of(kept);
    if let Some(days) = limits.days.map(age) {
        let before = world.clock.now() - days;
        let mut removed = Removed::default();
        while !core.closing.is_cancelled() {
            let old = retention::oldest(&core.db, scope, Some(before), BATCH).await?;
            if old.is_empty() {
                break;
            }
            removed.add(remove(core, old).await?);
        }
        removed.report(organization, kept, &format!("older than {} days", days.num_days()));
    }
    if let Some(most) = limits.bytes {
        let mut removed = Removed::default();
        while !core.closing.is_cancelled() {
            let stored = retention::bytes(&core.db, scope).await?;
            let mut excess = stored.saturating_sub(most);
            if excess == 0 {
                break;
            }
            let mut old = retention::oldest(&core.db, scope, None, BATCH).await?;
            old.retain(|artifact| {
                let is_excess = excess > 0;
                excess = excess.saturating_sub(u64::try_from(artifact.size).unwrap_or_default());
                is_excess
            });
            if old.is_empty() {
                break;
            }
            removed.add(remove(core, old).await?);
        }
        removed.report(organization, kept, &format!("more than {most} bytes together"));
    }
    Ok(())
}

/// The age of so many days.
fn age(days: u64) -> TimeDelta {
    TimeDelta::days(i64::try_from(days).unwrap_or(i64::MAX).min(36_500))
}

/// Removes versions of profiles beyond the limits. The version from which sessions start stays, and so does one from
/// which a live session has started.
async fn apply_to_versions(
    core: &Core,
    organization: OrganizationId,
    KeptLimits { days, bytes: most }: KeptLimits,
) -> Result<(), RoundError> {
    if days.is_none() && most.is_none() {
        return Ok(());
    }
    let live = db::sessions::active(&core.db, organization).await?;
    let used = live.iter().filter_map(|session| session.spec.profile.as_ref());
    let used: HashSet<_> = used.filter_map(|used| Some((used.id, used.version?))).collect();
    let mut former = db::profiles::former(&core.db, organization).await?;
    former.retain(|version| !used.contains(&(version.profile, version.number)));
    let mut former = former.into_iter().peekable();
    let kept = Kept::ProfileVersions;
    if let Some(days) = days.map(age) {
        let before = core.world.clock.now() - days;
        let mut removed = Removed::default();
        while let Some(old) = former.next_if(|version| version.created_at < before)
            && !core.closing.is_cancelled()
        {
            removed.add(remove_version(core, &old).await?);
        }
        removed.report(organization, kept, &format!("older than {} days", days.num_days()));
    }
    if let Some(most) = most {
        let mut stored = db::profiles::bytes(&core.db, organization).await?;
        let mut removed = Removed::default();
        while stored > most
            && !core.closing.is_cancelled()
            && let Some(old) = former.next()
        {
            let one = remove_version(core, &old).await?;
            stored = stored.saturating_sub(one.bytes);
            removed.add(one);
        }
        removed.report(organization, kept, &format!("more than {most} bytes together"));
    }
    Ok(())
}

/// Removes a version of a profile, unless sessions start from it by now.
async fn remove_version(core: &Core, version: &VersionRecord) -> Result<Removed, RoundError> {
    match profiles::remove_version(core, version).await {
        Ok(true) => {
            let bytes = u64::try_from(version.size).unwrap_or_default();
            Ok(Removed { files: 1, bytes })
        }
        Ok(false) => Ok(Removed::default()),
        Err(ServiceError::Db(cause)) => Err(cause.into()),
        Err(cause) => Err(RoundError::Objects { left: 1, cause: cause.to_string() }),
    }
}

/// The files that a limit has removed.
#[derive(Debug, Clone, Copy, Default)]
struct Removed {
    files: usize,
    bytes: u64,
}

impl Removed {
    fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn report(self, organization: OrganizationId, kept: Kept, why: &str) {
        let Self { files, bytes } = self;
        if files > 0 {
            let kept = kept.as_str();
            info!("retention: {files} {kept} ({bytes} bytes) of {organization} removed: {why}");
        }
    }
}

/// Removes the objects of these artifacts, and then the rows of those whose objects are gone.
async fn remove(core: &Core, old: Vec<ArtifactRecord>) -> Result<Removed, RoundError> {
    let outcomes: Vec<_> = stream::iter(old)
        .map(|artifact| async move {
            let removed = core.world.objects.delete(&artifact.key()).await;
            (artifact, removed)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut removed = Removed::default();
    let (mut ids, mut left, mut failure) = (Vec::new(), 0_usize, None);
    for (artifact, outcome) in outcomes {
        match outcome {
            Ok(()) => {
                ids.push(artifact.id);
                let bytes = u64::try_from(artifact.size).unwrap_or_default();
                removed.add(Removed { files: 1, bytes });
            }
            Err(cause) => {
                left = left.saturating_add(1);
                failure = Some(cause.to_string());
            }
        }
    }
    let deleted = db::artifacts::delete(&core.db, ids).await;
    deleted.map_err(|cause| RoundError::Rows(cause.to_string()))?;
    match failure {
        None => Ok(removed),
        Some(cause) => Err(RoundError::Objects { left, cause }),
    }
}
