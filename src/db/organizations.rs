//! Tenants. The row of a deleted organization stays, without its name. Queries return it only if
//! their documentation says so.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, all, json, one, stored};
use crate::domain::egress::EgressLists;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Limits, Quota};
use crate::domain::tenancy::Organization;
use crate::schema::organizations;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = organizations, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    id: String,
    name: String,
    created_at: NaiveDateTime,
    suspended_at: Option<NaiveDateTime>,
    deleted_at: Option<NaiveDateTime>,
}

impl From<&Organization> for Row {
    fn from(organization: &Organization) -> Self {
        Self {
            id: organization.id.to_string(),
            name: organization.name.clone(),
            created_at: stored(organization.created_at),
            suspended_at: organization.suspended_at.map(stored),
            deleted_at: organization.deleted_at.map(stored),
        }
    }
}

impl TryFrom<Row> for Organization {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let id = Reader { row: &row.id }.parse("organizations.id", &row.id)?;
        Ok(Self {
            id,
            name: row.name,
            created_at: row.created_at.and_utc(),
            suspended_at: row.suspended_at.map(|at| at.and_utc()),
            deleted_at: row.deleted_at.map(|at| at.and_utc()),
        })
    }
}

/// Selects the organizations whose deletion is not complete.
macro_rules! there {
    () => {
        organizations::table.filter(organizations::purged_at.is_null())
    };
}

/// Inserts the row of an organization.
///
/// # Errors
///
/// [`DbError::Conflict`] if the id is taken.
pub async fn insert(db: &Db, organization: &Organization) -> Result<(), DbError> {
    let row = Row::from(organization);
    on!(db, write, |c| {
        diesel::insert_into(organizations::table).values(row).execute(c).await?;
        Ok(())
    })
    .await
}

/// Returns the oldest organization, if there is any.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn first(db: &Db) -> Result<Option<Organization>, DbError> {
    let row = on!(db, read, |c| {
        let query = there!().order((organizations::created_at, organizations::id));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    });
    one(row.await?)
}

/// Returns the organization with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(db: &Db, id: OrganizationId) -> Result<Option<Organization>, DbError> {
    let row = on!(db, read, |c| {
        let query = there!().filter(organizations::id.eq(id.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    });
    one(row.await?)
}

/// Returns all organizations, the oldest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(db: &Db) -> Result<Vec<Organization>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = there!().order((organizations::created_at, organizations::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns the ids of suspended organizations.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn suspended(db: &Db) -> Result<Vec<OrganizationId>, DbError> {
    let ids: Vec<String> = on!(db, read, |c| {
        let query = there!().filter(organizations::suspended_at.is_not_null());
        Ok(query.select(organizations::id).load(c).await?)
    })
    .await?;
    read_ids(&ids)
}

fn read_ids(ids: &[String]) -> Result<Vec<OrganizationId>, DbError> {
    ids.iter().map(|id| Reader { row: id }.parse("organizations.id", id)).collect()
}

/// True if an organization has this id, or had it before its deletion.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn is_known(db: &Db, id: OrganizationId) -> Result<bool, DbError> {
    let count: i64 = on!(db, read, |c| {
        Ok(organizations::table.find(id.to_string()).count().get_result(c).await?)
    })
    .await?;
    Ok(count > 0)
}

/// Starts the deletion of an organization, and suspends it. Returns false if deletion has started
/// before.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn delete(db: &Db, id: OrganizationId, at: DateTime<Utc>) -> Result<bool, DbError> {
    let at = Some(stored(at));
    let changed = on!(db, write, |c| {
        let there = organizations::table
            .filter(organizations::id.eq(id.to_string()))
            .filter(organizations::deleted_at.is_null());
        let change = (organizations::deleted_at.eq(at), organizations::suspended_at.eq(at));
        Ok(diesel::update(there).set(change).execute(c).await?)
    });
    Ok(changed.await? > 0)
}

/// Returns the organizations whose deletion has started and is not complete.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn being_deleted(db: &Db) -> Result<Vec<OrganizationId>, DbError> {
    let ids: Vec<String> = on!(db, read, |c| {
        let query = there!().filter(organizations::deleted_at.is_not_null());
        Ok(query.select(organizations::id).load(c).await?)
    })
    .await?;
    read_ids(&ids)
}

/// Returns the organizations whose deletion is complete, since a time or ever.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn deleted_since(
    db: &Db,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<OrganizationId>, DbError> {
    let since = stored(since.unwrap_or_default());
    let ids: Vec<String> = on!(db, read, |c| {
        let query = organizations::table.filter(organizations::purged_at.ge(since));
        Ok(query.select(organizations::id).load(c).await?)
    })
    .await?;
    read_ids(&ids)
}

/// Renames an organization. Returns false if it does not exist.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn rename(db: &Db, id: OrganizationId, name: &str) -> Result<bool, DbError> {
    let name = name.to_owned();
    let changed = on!(db, write, |c| {
        let organization = diesel::update(organizations::table.find(id.to_string()));
        Ok(organization.set(organizations::name.eq(name)).execute(c).await?)
    });
    Ok(changed.await? > 0)
}

/// Suspends or resumes an organization's keys. Returns false if nothing changes, or it does not
/// exist.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn set_suspended(
    db: &Db,
    id: OrganizationId,
    suspended_at: Option<DateTime<Utc>>,
) -> Result<bool, DbError> {
    let (at, suspends) = (suspended_at.map(stored), suspended_at.is_some());
    let changed = on!(db, write, |c| {
        let id = organizations::id.eq(id.to_string());
        let changed = if suspends {
            let in_force =
                organizations::table.filter(id).filter(organizations::suspended_at.is_null());
            diesel::update(in_force).set(organizations::suspended_at.eq(at)).execute(c).await?
        } else {
            let not = organizations::table
                .filter(id)
                .filter(organizations::suspended_at.is_not_null())
                .filter(organizations::deleted_at.is_null());
            diesel::update(not).set(organizations::suspended_at.eq(at)).execute(c).await?
        };
        Ok(changed)
    });
    Ok(changed.await? > 0)
}

/// Takes the lock of an organization's row until the end of the transaction.
///
/// This is a write, so that SQLite also takes its lock before anything is read.
macro_rules! locked {
    ($c:ident, $organization:expr) => {{
        use $crate::schema::organizations as locked;
        let row = diesel::update(locked::table.find($organization.to_string()));
        row.set(locked::name.eq(locked::name)).execute($c).await?;
    }};
}

pub(super) use locked;

/// The limits that an operator has set for an organization; empty by default.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn quotas(db: &Db, id: OrganizationId) -> Result<Limits, DbError> {
    let stored: Option<Option<serde_json::Value>> = on!(db, read, |c| {
        let query = organizations::table.find(id.to_string()).select(organizations::quotas);
        Ok(query.first(c).await.optional()?)
    })
    .await?;
    let name = id.to_string();
    let limits = Reader { row: &name }.json("organizations.quotas", stored.flatten())?;
    Ok(limits.unwrap_or_default())
}

/// The limits of all organizations for which an operator has set some.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn all_quotas(db: &Db) -> Result<HashMap<OrganizationId, Limits>, DbError> {
    let rows: Vec<(String, Option<serde_json::Value>)> = on!(db, read, |c| {
        let query = organizations::table.filter(organizations::quotas.is_not_null());
        Ok(query.select((organizations::id, organizations::quotas)).load(c).await?)
    })
    .await?;
    let read = |(id, limits): (String, Option<serde_json::Value>)| {
        let row = Reader { row: &id };
        let limits: Option<Limits> = row.json("organizations.quotas", limits)?;
        Ok((row.parse("organizations.id", &id)?, limits.unwrap_or_default()))
    };
    rows.into_iter().map(read).collect()
}

/// Changes some limits of an organization; a limit of `None` restores the default. Returns all limits.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn change_quotas(
    db: &Db,
    id: OrganizationId,
    changes: Vec<(Quota, Option<u64>)>,
) -> Result<Limits, DbError> {
    on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, id);
            let (of, name) = (organizations::table.find(id.to_string()), id.to_string());
            let stored: Option<Option<serde_json::Value>> =
                of.select(organizations::quotas).first(c).await.optional()?;
            let limits = Reader { row: &name }.json("organizations.quotas", stored.flatten())?;
            let mut limits: Limits = limits.unwrap_or_default();
            for (quota, limit) in changes {
                limits.set(quota, limit);
            }
            let column = (!limits.is_empty()).then(|| json(&limits));
            let organization = diesel::update(organizations::table.find(id.to_string()));
            organization.set(organizations::quotas.eq(column)).execute(c).await?;
            Ok(limits)
        })
        .await
    })
    .await
}

/// The lists that narrow the egress of all sessions of an organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn egress(db: &Db, id: OrganizationId) -> Result<EgressLists, DbError> {
    let stored: Option<Option<serde_json::Value>> = on!(db, read, |c| {
        let query = organizations::table.find(id.to_string()).select(organizations::egress);
        Ok(query.first(c).await.optional()?)
    })
    .await?;
    let name = id.to_string();
    let lists = Reader { row: &name }.json("organizations.egress", stored.flatten())?;
    Ok(lists.unwrap_or_default())
}

/// Replaces the lists of an organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn set_egress(db: &Db, id: OrganizationId, lists: &EgressLists) -> Result<(), DbError> {
    let lists = (!lists.is_empty()).then(|| json(lists));
    on!(db, write, |c| {
        let organization = diesel::update(organizations::table.find(id.to_string()));
        organization.set(organizations::egress.eq(lists)).execute(c).await?;
        Ok(())
    })
    .await
}
