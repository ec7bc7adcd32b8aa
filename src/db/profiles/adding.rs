//! New versions of profiles.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::{Row, VersionRow, live_writer, locked, profile_of};
use crate::db::Db;
use crate::db::query::{DbError, on};
use crate::db::sessions::LIVE;
use crate::db::store::StoreError;
use crate::db::values::{Reader, now};
use crate::domain::ids::SessionId;
use crate::domain::profile::{ProfileRecord, VersionRecord};
use crate::schema::{
    browser_profile_versions as versions, browser_profiles as profiles,
    browser_sessions as sessions,
};

/// Adds a version, whose archive is stored already, under the next number, and makes it the one that
/// sessions start from. With `is_new` the profile is made from `profile`. The writer in `profile`, if
/// any, must be the one in the row. Returns the version with its number.
pub(in crate::db) async fn add_version(
    db: &Db,
    profile: ProfileRecord,
    is_new: bool,
    version: VersionRecord,
) -> Result<VersionRecord, StoreError> {
    let (row, mut new) = (Row::from(&profile), VersionRow::from(&version));
    let number: Option<i64> = on!(db, write, |c| {
        c.transaction(async move |c| {
            let (id, organization) = (row.id.clone(), row.organization_id.clone());
            let writer = row.writer_id.clone();
            if is_new {
                let insert = diesel::insert_into(profiles::table).values(row);
                insert.on_conflict(profiles::id).do_nothing().execute(c).await?;
            }
            // A repeated write finds its own row.
            let again = versions::table.filter(versions::path.eq(new.path.clone()));
            let known: Option<i64> = again.select(versions::number).first(c).await.optional()?;
            if known.is_some() {
                return Ok(known);
            }
            let change = (
                profiles::last_version.eq(profiles::last_version + 1),
                profiles::current_version.eq(profiles::last_version + 1),
                profiles::modified_at.eq(now()),
            );
            let known = profiles::table
                .filter(profiles::id.eq(id))
                .filter(profiles::organization_id.eq(organization));
            locked!(c, new.profile_id.clone());
            let stored: Option<Option<String>> =
                known.clone().select(profiles::writer_id).first(c).await.optional()?;
            let Some(stored) = stored else { return Ok(None) };
            if writer.is_some() && stored != writer {
                return Ok(None);
            }
            diesel::update(known.clone()).set(change).execute(c).await?;
            new.number = known.select(profiles::last_version).first(c).await?;
            let number = new.number;
            diesel::insert_into(versions::table).values(new).execute(c).await?;
            Ok(Some(number))
        })
        .await
    })
    .await?;
    Ok(VersionRecord { number: number.ok_or(StoreError::Missing)?, ..version })
}

/// The outcome of adding a version to a profile as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It is stored, with this number, and sessions start from it.
    Stored(i64),
    /// A live session may write to the profile.
    Written(SessionId),
    /// The profile has another current or latest version than when it was read.
    Changed,
    /// The profile does not exist any more.
    Gone,
}

/// Adds a version, whose archive is stored already, to a profile that no live session may write to and that has
/// the same versions as when it was read: its next session must find a state that was made from the current one.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn add_to(
    db: &Db,
    read: &ProfileRecord,
    version: &VersionRecord,
) -> Result<Added, DbError> {
    let (organization, id) = (read.organization, read.id);
    let (current, last) = (read.current, read.last);
    let mut new = VersionRow::from(version);
    let (added, writer): (Added, Option<String>) = on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, id.to_string());
            let query = profile_of!(organization, id);
            let numbers = query.select((profiles::current_version, profiles::last_version));
            let known: Option<(i64, i64)> = numbers.first(c).await.optional()?;
            let Some(known) = known else { return Ok((Added::Gone, None)) };
            // A repeated write finds its own row.
            let again = versions::table.filter(versions::path.eq(new.path.clone()));
            let stored: Option<i64> = again.select(versions::number).first(c).await.optional()?;
            if let Some(number) = stored {
                return Ok((Added::Stored(number), None));
            }
            let writer = live_writer!(c, id.to_string());
            if writer.is_some() || known != (current, last) {
                return Ok((Added::Changed, writer));
            }
            new.number = last.saturating_add(1);
            let change = (
                profiles::last_version.eq(new.number),
                profiles::current_version.eq(new.number),
                profiles::modified_at.eq(now()),
            );
            diesel::update(profile_of!(organization, id)).set(change).execute(c).await?;
            let number = new.number;
            diesel::insert_into(versions::table).values(new).execute(c).await?;
            Ok((Added::Stored(number), None))
        })
        .await
    })
    .await?;
    let row = Reader { row: "writer" };
    let writer = row.parse_some("browser_profiles.writer_id", writer.as_deref())?;
    Ok(writer.map_or(added, Added::Written))
}
