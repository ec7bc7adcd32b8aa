//! Lists of an organization's browser profiles.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Db;
use super::profiles::Row;
use super::query::{DbError, on};
use super::values::{Page, all, older};
use crate::domain::ids::OrganizationId;
use crate::domain::profile::ProfileRecord;
use crate::schema::browser_profiles as profiles;

/// The condition for profiles of a list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A part of the name or the description, without regard to case.
    pub search: Option<String>,
    /// True for managed profiles only, false for the others only.
    pub managed: Option<bool>,
    /// The whole name, as it is written.
    pub name: Option<String>,
    /// Tags that a profile must have, all of them.
    pub tags: Vec<String>,
}

impl Filter {
    /// True for a condition that the database does not decide: it does not compare text of any language without
    /// regard to case, and does not read tags.
    fn is_of_text(&self) -> bool {
        self.search.is_some() || !self.tags.is_empty()
    }

    /// True if a profile has the text and the tags.
    fn matches(&self, profile: &ProfileRecord) -> bool {
        let found = self.search.as_deref().is_none_or(|needle| {
            let needle = needle.to_lowercase();
            let described = profile.description.as_deref().unwrap_or_default();
            profile.name.as_str().to_lowercase().contains(&needle)
                || described.to_lowercase().contains(&needle)
        });
        found && profile.tags.has_all(&self.tags)
    }
}

/// Returns an organization's profiles, the newest first.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn list(
    db: &Db,
    organization: OrganizationId,
    filter: Filter,
    page: Page,
) -> Result<Vec<ProfileRecord>, DbError> {
    let is_of_text = filter.is_of_text();
    let (limit, offset) = (page.limit(), page.offset());
    let (name, managed) = (filter.name.clone(), filter.managed);
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = profiles::table
            .filter(profiles::organization_id.eq(organization.to_string()))
            .order((profiles::created_at.desc(), profiles::id.desc()))
            .into_boxed();
        if let Some(name) = name {
            query = query.filter(profiles::name.eq(name));
        }
        query = match managed {
            Some(true) => query.filter(profiles::managed_by.is_not_null()),
            Some(false) => query.filter(profiles::managed_by.is_null()),
            None => query,
        };
        if let Some(mark) = page.after {
            query = query.filter(older!(profiles, mark));
        }
        if !is_of_text {
            query = query.limit(limit).offset(offset);
        }
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    let found: Vec<ProfileRecord> = all(rows)?;
    if !is_of_text {
        return Ok(found);
    }
    let matching = found.into_iter().filter(|profile| filter.matches(profile));
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(matching.skip(skipped).take(most).collect())
}

/// Returns the number of an organization's profiles, without those that the server keeps by itself.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn count(db: &Db, organization: OrganizationId) -> Result<u64, DbError> {
    let count: i64 = on!(db, read, |c| {
        let query = profiles::table
            .filter(profiles::organization_id.eq(organization.to_string()))
            .filter(profiles::managed_by.is_null());
        Ok(query.count().get_result(c).await?)
    })
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}
