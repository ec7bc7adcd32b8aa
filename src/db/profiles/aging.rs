//! The versions of profiles that retention may remove.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::VersionRow;
use crate::db::Db;
use crate::db::query::{DbError, on};
use crate::db::values::{all, counted};
use crate::domain::ids::OrganizationId;
use crate::domain::profile::VersionRecord;
use crate::schema::{browser_profile_versions as versions, browser_profiles as profiles};

/// Returns the versions of an organization from which no session starts, the oldest first.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn former(db: &Db, organization: OrganizationId) -> Result<Vec<VersionRecord>, DbError> {
    let rows: Vec<VersionRow> = on!(db, read, |c| {
        let query = versions::table
            .inner_join(profiles::table)
            .filter(versions::organization_id.eq(organization.to_string()))
            .filter(versions::number.ne(profiles::current_version))
            .order((versions::created_at, versions::profile_id, versions::number));
        Ok(query.select(VersionRow::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// The bytes of the archives of all versions of an organization.
///
/// # Errors
///
/// [`DbError::Unavailable`] if the database does not answer.
pub async fn bytes(db: &Db, organization: OrganizationId) -> Result<u64, DbError> {
    let bytes: i64 = on!(db, read, |c| {
        let total = sql::<BigInt>("CAST(COALESCE(SUM(size), 0) AS BIGINT)");
        let all = versions::table.filter(versions::organization_id.eq(organization.to_string()));
        Ok(all.select(total).first(c).await?)
    })
    .await?;
    Ok(counted(bytes))
}
