//! The removal of profiles, and the archives that no version has.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::{live_writer, locked};
use crate::db::Db;
use crate::db::query::{DbError, on};
use crate::db::sessions::LIVE;
use crate::db::values::Reader;
use crate::domain::ids::{ProfileId, SessionId};
use crate::schema::{
    browser_profile_versions as versions, browser_profiles as profiles,
    browser_sessions as sessions,
};

/// The most values in one query.
const MOST_AT_ONCE: usize = 500;

/// Begins the removal of a profile: sessions start from none of its versions any more. Returns the live
/// session that may write to it, if there is one; nothing is changed then.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn begin_removal(db: &Db, id: ProfileId) -> Result<Option<SessionId>, DbError> {
    let profile = id.to_string();
    let writer: Option<String> = on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, profile.clone());
            let writer = live_writer!(c, profile.clone());
            if writer.is_none() {
                let row = profiles::table.filter(profiles::id.eq(profile));
                let none = profiles::current_version.eq(0);
                diesel::update(row).set(none).execute(c).await?;
            }
            Ok(writer)
        })
        .await
    })
    .await?;
    let read = Reader { row: "writer" };
    read.parse_some("browser_profiles.writer_id", writer.as_deref())
}

/// Returns those of these paths that versions of profiles have.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn known_among(db: &Db, paths: &[String]) -> Result<HashSet<String>, DbError> {
    let mut known = HashSet::new();
    for some in paths.chunks(MOST_AT_ONCE) {
        let some = some.to_vec();
        let found: Vec<String> = on!(db, read, |c| {
            let query = versions::table.filter(versions::path.eq_any(some));
            Ok(query.select(versions::path).load(c).await?)
        })
        .await?;
        known.extend(found);
    }
    Ok(known)
}

/// Returns the times of the last change of these profiles, as far as they exist.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn modified(
    db: &Db,
    ids: &[ProfileId],
) -> Result<HashMap<ProfileId, DateTime<Utc>>, DbError> {
    let mut known = HashMap::new();
    for some in ids.chunks(MOST_AT_ONCE) {
        let some: Vec<String> = some.iter().map(ProfileId::to_string).collect();
        let found: Vec<(String, NaiveDateTime)> = on!(db, read, |c| {
            let query = profiles::table.filter(profiles::id.eq_any(some));
            Ok(query.select((profiles::id, profiles::modified_at)).load(c).await?)
        })
        .await?;
        let found = found.into_iter();
        known.extend(found.filter_map(|(id, at)| Some((id.parse().ok()?, at.and_utc()))));
    }
    Ok(known)
}
