//! Browser profiles and their versions. The archives are in the object store.
//!
//! A profile has one writer at a time: the session named in its row, until that session has ended.

mod adding;
mod aging;
pub(super) mod place;
mod removing;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde_json::Value;

pub(super) use self::adding::add_version;
pub use self::adding::{Added, add_to};
pub use self::aging::{bytes, former};
pub use self::removing::{begin_removal, known_among, modified};
use super::Db;
pub use super::profile_lists::{Filter, count, list};
use super::query::{DbError, on};
use super::sessions::LIVE;
use super::store::StoreError;
use super::values::{Reader, all, json, now, one, stored};
use crate::domain::ids::{OrganizationId, ProfileId, SessionId, WorkflowPermanentId};
use crate::domain::labels::{Name, Tags};
use crate::domain::profile::{Described, ProfileAccess, ProfileRecord, ProfileUse, VersionRecord};
use crate::schema::{
    browser_profile_versions as versions, browser_profiles as profiles,
    browser_sessions as sessions,
};

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = profiles, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    id: String,
    organization_id: String,
    name: String,
    description: Option<String>,
    tags: Option<Value>,
    managed_by: Option<String>,
    current_version: i64,
    last_version: i64,
    writer_id: Option<String>,
    created_at: NaiveDateTime,
    modified_at: NaiveDateTime,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = versions, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct VersionRow {
    profile_id: String,
    number: i64,
    organization_id: String,
    session_id: Option<String>,
    origin: String,
    path: String,
    size: i64,
    checksum: String,
    browser_version: Option<String>,
    created_at: NaiveDateTime,
}

impl From<&ProfileRecord> for Row {
    fn from(profile: &ProfileRecord) -> Self {
        Self {
            id: profile.id.to_string(),
            organization_id: profile.organization.to_string(),
            name: profile.name.to_string(),
            description: profile.description.clone(),
            tags: tags(&profile.tags),
            managed_by: profile.manager.as_ref().map(ToString::to_string),
            current_version: profile.current,
            last_version: profile.last,
            writer_id: profile.writer.map(|session| session.to_string()),
            created_at: stored(profile.created_at),
            modified_at: stored(profile.modified_at),
        }
    }
}

fn tags(tags: &Tags) -> Option<Value> {
    (!tags.is_empty()).then(|| json(tags))
}

impl TryFrom<Row> for ProfileRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("browser_profiles.id", &row.id)?,
            organization: read.parse("browser_profiles.organization_id", &row.organization_id)?,
            name: read.parse("browser_profiles.name", &row.name)?,
            description: row.description,
            tags: read.json("browser_profiles.tags", row.tags)?.unwrap_or_default(),
            manager: read.parse_some("browser_profiles.managed_by", row.managed_by.as_deref())?,
            current: row.current_version,
            last: row.last_version,
            writer: read.parse_some("browser_profiles.writer_id", row.writer_id.as_deref())?,
            created_at: row.created_at.and_utc(),
            modified_at: row.modified_at.and_utc(),
        })
    }
}

impl From<&VersionRecord> for VersionRow {
    fn from(version: &VersionRecord) -> Self {
        Self {
            profile_id: version.profile.to_string(),
            number: version.number,
            organization_id: version.organization.to_string(),
            session_id: version.session.map(|session| session.to_string()),
            origin: version.origin.as_str().to_owned(),
            path: version.path.clone(),
            size: version.size,
            checksum: version.checksum.clone(),
            browser_version: version.browser_version.clone(),
            created_at: stored(version.created_at),
        }
    }
}

impl TryFrom<VersionRow> for VersionRecord {
    type Error = DbError;

    fn try_from(row: VersionRow) -> Result<Self, DbError> {
        let read = Reader { row: &row.profile_id };
        let organization =
            read.parse("browser_profile_versions.organization_id", &row.organization_id)?;
        let session = row.session_id.as_deref();
        Ok(Self {
            profile: read.parse("browser_profile_versions.profile_id", &row.profile_id)?,
            number: row.number,
            organization,
            session: read.parse_some("browser_profile_versions.session_id", session)?,
            origin: read.parse("browser_profile_versions.origin", &row.origin)?,
            path: row.path,
            size: row.size,
            checksum: row.checksum,
            browser_version: row.browser_version,
            created_at: row.created_at.and_utc(),
        })
    }
}

/// A profile of an organization.
macro_rules! profile_of {
    ($organization:expr, $id:expr) => {
        profiles::table
            .filter(profiles::id.eq($id.to_string()))
            .filter(profiles::organization_id.eq($organization.to_string()))
    };
}

/// Locks the row of a profile until the end of the transaction: a write that changes nothing.
macro_rules! locked {
    ($c:ident, $profile:expr) => {{
        let row = profiles::table.filter(profiles::id.eq($profile));
        let same = profiles::writer_id.eq(profiles::writer_id);
        diesel::update(row).set(same).execute($c).await?
    }};
}

/// Returns the profile of this organization with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: ProfileId,
) -> Result<Option<ProfileRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = profile_of!(organization, id);
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Returns the profile that the server keeps for the manager of `profile`, which is inserted if there
/// is none.
pub(super) async fn managed(db: &Db, profile: ProfileRecord) -> Result<ProfileId, StoreError> {
    let row = Row::from(&profile);
    let id: String = on!(db, write, |c| {
        let (organization, manager) = (row.organization_id.clone(), row.managed_by.clone());
        diesel::insert_into(profiles::table)
            .values(row)
            .on_conflict_do_nothing()
            .execute(c)
            .await?;
        let known = profiles::table
            .filter(profiles::organization_id.eq(organization))
            .filter(profiles::managed_by.eq(manager));
        Ok(known.select(profiles::id).first(c).await?)
    })
    .await?;
    Ok(Reader { row: &id }.parse("browser_profiles.id", &id)?)
}

/// Returns the versions of a profile, the newest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn versions_of(db: &Db, id: ProfileId) -> Result<Vec<VersionRecord>, DbError> {
    let rows: Vec<VersionRow> = on!(db, read, |c| {
        let query = versions::table
            .filter(versions::profile_id.eq(id.to_string()))
            .order(versions::number.desc());
        Ok(query.select(VersionRow::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns a version of a profile.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn version(
    db: &Db,
    organization: OrganizationId,
    id: ProfileId,
    number: i64,
) -> Result<Option<VersionRecord>, DbError> {
    let row: Option<VersionRow> = on!(db, read, |c| {
        let query = versions::table
            .filter(versions::profile_id.eq(id.to_string()))
            .filter(versions::organization_id.eq(organization.to_string()))
            .filter(versions::number.eq(number));
        Ok(query.select(VersionRow::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Returns a profile with all its versions; none if it does not exist.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn described(
    db: &Db,
    organization: OrganizationId,
    id: ProfileId,
) -> Result<Option<Described>, DbError> {
    let Some(profile) = by_id(db, organization, id).await? else { return Ok(None) };
    Ok(Some(Described { profile, versions: versions_of(db, id).await? }))
}

/// Inserts a profile with its versions as another database had them. Returns false if there is a
/// profile with its id, or with its name.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn restore(db: &Db, described: &Described) -> Result<bool, DbError> {
    let row = Row::from(&described.profile);
    let all: Vec<VersionRow> = described.versions.iter().map(VersionRow::from).collect();
    on!(db, write, |c| {
        c.transaction(async move |c| {
            let insert = diesel::insert_into(profiles::table).values(row);
            if insert.on_conflict_do_nothing().execute(c).await? == 0 {
                return Ok(false);
            }
            for version in all {
                diesel::insert_into(versions::table).values(version).execute(c).await?;
            }
            Ok(true)
        })
        .await
    })
    .await
}

/// Returns the version of a profile that sessions start from; none if it has none.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn current(
    db: &Db,
    organization: OrganizationId,
    id: ProfileId,
) -> Result<Option<VersionRecord>, DbError> {
    let found = current_of(db, &[id]).await?.pop();
    Ok(found.filter(|version| version.organization == organization))
}

/// Returns the versions that sessions start from, of these profiles.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn current_of(db: &Db, ids: &[ProfileId]) -> Result<Vec<VersionRecord>, DbError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows: Vec<VersionRow> = on!(db, read, |c| {
        let query = versions::table
            .inner_join(profiles::table)
            .filter(versions::profile_id.eq_any(ids))
            .filter(versions::number.eq(profiles::current_version));
        Ok(query.select(VersionRow::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns the profiles that the server keeps for a workflow.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn managed_for(
    db: &Db,
    organization: OrganizationId,
    workflow: WorkflowPermanentId,
) -> Result<Vec<ProfileRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = profiles::table
            .filter(profiles::organization_id.eq(organization.to_string()))
            .filter(profiles::managed_by.is_not_null());
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    let all: Vec<ProfileRecord> = all(rows)?;
    let is_for = |profile: &ProfileRecord| {
        profile.manager.as_ref().is_some_and(|manager| manager.workflow() == workflow)
    };
    Ok(all.into_iter().filter(is_for).collect())
}

/// Inserts a profile without a version.
///
/// # Errors
///
/// [`DbError::Conflict`] if another profile of the organization has the name.
pub async fn insert(db: &Db, profile: &ProfileRecord) -> Result<(), DbError> {
    let row = Row::from(profile);
    on!(db, write, |c| {
        diesel::insert_into(profiles::table).values(row).execute(c).await?;
        Ok(())
    })
    .await
}

/// The changes of a profile. A field that is `None` is unchanged.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub name: Option<Name>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    pub tags: Option<Tags>,
    /// The version that sessions start from, which must exist.
    pub current: Option<i64>,
}

/// Changes a profile. Returns it as stored; none if it does not exist, or the version does not.
///
/// # Errors
///
/// [`DbError::Conflict`] if another profile of the organization has the name.
pub async fn change(
    db: &Db,
    organization: OrganizationId,
    id: ProfileId,
    change: Change,
) -> Result<Option<ProfileRecord>, DbError> {
    let row: Option<Row> = on!(db, write, |c| {
        c.transaction(async move |c| {
            let Change { name, description, tags: marks, current } = change;
            locked!(c, id.to_string());
            if let Some(number) = current {
                let known = versions::table
                    .filter(versions::profile_id.eq(id.to_string()))
                    .filter(versions::number.eq(number));
                if known.count().get_result::<i64>(c).await? == 0 {
                    return Ok(None);
                }
            }
            let changes = (
                name.map(|name| profiles::name.eq(name.to_string())),
                description.map(|text| profiles::description.eq(text)),
                marks.map(|marks| profiles::tags.eq(tags(&marks))),
                current.map(|number| profiles::current_version.eq(number)),
                profiles::modified_at.eq(now()),
            );
            diesel::update(profile_of!(organization, id)).set(changes).execute(c).await?;
            let query = profile_of!(organization, id);
            Ok(query.select(Row::as_select()).first(c).await.optional()?)
        })
        .await
    })
    .await?;
    one(row)
}

/// Deletes a profile with its versions, whose archives are already removed.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn delete(db: &Db, organization: OrganizationId, id: ProfileId) -> Result<(), DbError> {
    on!(db, write, |c| {
        c.transaction(async move |c| {
            let of = versions::table
                .filter(versions::profile_id.eq(id.to_string()))
                .filter(versions::organization_id.eq(organization.to_string()));
            diesel::delete(of).execute(c).await?;
            diesel::delete(profile_of!(organization, id)).execute(c).await?;
            Ok(())
        })
        .await
    })
    .await
}

/// Returns the versions beyond the `keep` newest, except the one that sessions start from.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn old_versions(
    db: &Db,
    id: ProfileId,
    keep: u32,
) -> Result<Vec<VersionRecord>, DbError> {
    let current: Option<i64> = on!(db, read, |c| {
        let row = profiles::table.filter(profiles::id.eq(id.to_string()));
        Ok(row.select(profiles::current_version).first(c).await.optional()?)
    })
    .await?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let old = versions_of(db, id).await?.into_iter().skip(keep);
    Ok(old.filter(|version| Some(version.number) != current).collect())
}

/// Forgets a version, unless sessions start from it. Returns false if it is still there. Its archive
/// is removed after its row.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn delete_version(db: &Db, id: ProfileId, number: i64) -> Result<bool, DbError> {
    on!(db, write, |c| {
        c.transaction(async move |c| {
            let id = id.to_string();
            locked!(c, id.clone());
            let row = profiles::table.filter(profiles::id.eq(id.clone()));
            let current: Option<i64> =
                row.select(profiles::current_version).first(c).await.optional()?;
            if current == Some(number) {
                return Ok(false);
            }
            let one = versions::table
                .filter(versions::profile_id.eq(id))
                .filter(versions::number.eq(number));
            diesel::delete(one).execute(c).await?;
            Ok(true)
        })
        .await
    })
    .await
}

/// The session in the row of a profile, if it has not ended.
macro_rules! live_writer {
    ($c:ident, $profile:expr) => {{
        let row = profiles::table.filter(profiles::id.eq($profile));
        let writer: Option<Option<String>> =
            row.select(profiles::writer_id).first($c).await.optional()?;
        match writer.flatten() {
            Some(writer) => {
                let live = sessions::table
                    .filter(sessions::id.eq(writer))
                    .filter(sessions::status.eq_any(LIVE));
                live.select(sessions::id).first::<String>($c).await.optional()?
            }
            None => None,
        }
    }};
}

use {live_writer, locked, profile_of};

/// Makes a live session the writer of its profile, in the row of the profile and in that of the
/// session. Returns the writer if another live session is it.
pub(super) async fn claim(
    db: &Db,
    session: SessionId,
    used: ProfileUse,
) -> Result<Option<SessionId>, StoreError> {
    let (id, profile, is_new) = (session.to_string(), used.id.to_string(), used.is_new);
    let column = json(&ProfileUse { access: ProfileAccess::Write, ..used });
    // None if there is no such profile.
    let holder: Option<Option<String>> = on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, profile.clone());
            let own = sessions::table.filter(sessions::id.eq(id.clone()));
            let organization: Option<String> =
                own.select(sessions::organization_id).first(c).await.optional()?;
            let row = profiles::table.filter(profiles::id.eq(profile.clone()));
            let owner: Option<String> =
                row.select(profiles::organization_id).first(c).await.optional()?;
            let is_there = owner.is_some();
            if is_there && owner != organization || !is_there && !is_new {
                return Ok(None);
            }
            let writer = live_writer!(c, profile.clone());
            if writer.as_ref().is_some_and(|writer| *writer != id) {
                return Ok(Some(writer));
            }
            let row = profiles::table.filter(profiles::id.eq(profile));
            let writer = profiles::writer_id.eq(Some(id.clone()));
            diesel::update(row).set(writer).execute(c).await?;
            let row =
                sessions::table.filter(sessions::id.eq(id)).filter(sessions::status.eq_any(LIVE));
            let change = (sessions::profile.eq(Some(column)), sessions::modified_at.eq(now()));
            diesel::update(row).set(change).execute(c).await?;
            Ok(Some(None))
        })
        .await
    })
    .await?;
    let holder = holder.ok_or(StoreError::Missing)?;
    let read = Reader { row: "writer" };
    Ok(read.parse_some("browser_profiles.writer_id", holder.as_deref())?)
}

/// Notes the version from which a session has started, if it still uses that profile.
pub(super) async fn set_version(
    db: &Db,
    session: SessionId,
    profile: ProfileId,
    version: i64,
) -> Result<(), StoreError> {
    on!(db, write, |c| {
        c.transaction(async move |c| {
            let row = sessions::table
                .filter(sessions::id.eq(session.to_string()))
                .filter(sessions::status.eq_any(LIVE));
            let stored: Option<Option<Value>> =
                row.clone().select(sessions::profile).first(c).await.optional()?;
            let used = stored.flatten().and_then(|used| serde_json::from_value(used).ok());
            let used: Option<ProfileUse> = used.filter(|used: &ProfileUse| used.id == profile);
            if let Some(used) = used {
                let column = json(&ProfileUse { version: Some(version), ..used });
                diesel::update(row).set(sessions::profile.eq(Some(column))).execute(c).await?;
            }
            Ok(())
        })
        .await
    })
    .await?;
    Ok(())
}

/// Returns the live session that may write to a profile.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn writer(db: &Db, id: ProfileId) -> Result<Option<SessionId>, DbError> {
    let profile = id.to_string();
    let writer: Option<String> = on!(db, read, |c| Ok(live_writer!(c, profile))).await?;
    let read = Reader { row: "writer" };
    read.parse_some("browser_profiles.writer_id", writer.as_deref())
}

/// Sets the profile of a live session.
pub(super) async fn set_use(
    db: &Db,
    session: SessionId,
    used: Option<ProfileUse>,
) -> Result<(), StoreError> {
    let column = used.as_ref().map(json);
    let is_writer = used.is_some_and(|used| used.access == ProfileAccess::Write);
    let changed = on!(db, write, |c| {
        c.transaction(async move |c| {
            let id = session.to_string();
            let row = sessions::table
                .filter(sessions::id.eq(id.clone()))
                .filter(sessions::status.eq_any(LIVE));
            let change = (sessions::profile.eq(column), sessions::modified_at.eq(now()));
            let changed = diesel::update(row).set(change).execute(c).await?;
            if !is_writer {
                let written = profiles::table.filter(profiles::writer_id.eq(id));
                let nobody = profiles::writer_id.eq(None::<String>);
                diesel::update(written).set(nobody).execute(c).await?;
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    if changed > 0 { Ok(()) } else { Err(StoreError::Final) }
}
