//! Retention of artifacts: the limits of organizations, and the artifacts that exceed them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::Db;
use super::artifacts::Row;
use super::organizations::locked;
use super::query::{DbError, on};
use super::values::{Reader, all, counted, json, stored};
use crate::domain::film::RECORDING;
use crate::domain::ids::{NodeId, OrganizationId};
use crate::domain::retention::Retention;
use crate::domain::run::ArtifactRecord;
use crate::schema::{artifacts, browser_sessions, organizations};

/// The artifacts that a limit applies to.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The organization that owns them.
    pub organization: OrganizationId,
    /// True for recordings, false for all other artifacts.
    pub recordings: bool,
    /// The node whose sessions produced them; all nodes without one.
    pub node: Option<NodeId>,
}

/// The artifacts of a scope.
macro_rules! of_scope {
    ($scope:expr) => {{
        let scope: Scope = $scope;
        let mut query = artifacts::table
            .filter(artifacts::organization_id.eq(scope.organization.to_string()))
            .into_boxed();
        query = if scope.recordings {
            query.filter(artifacts::artifact_type.eq(RECORDING))
        } else {
            query.filter(artifacts::artifact_type.ne(RECORDING))
        };
        if let Some(node) = scope.node {
            let of_node = browser_sessions::table
                .filter(browser_sessions::node_id.eq(node.to_string()))
                .select(browser_sessions::id.nullable());
            query = query.filter(artifacts::session_id.eq_any(of_node));
        }
        query
    }};
}

/// Returns the oldest artifacts of a scope, `most` at most; with `before`, only older ones.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn oldest(
    db: &Db,
    scope: Scope,
    before: Option<DateTime<Utc>>,
    most: i64,
) -> Result<Vec<ArtifactRecord>, DbError> {
    let before = before.map(stored);
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = of_scope!(scope);
        if let Some(before) = before {
            query = query.filter(artifacts::created_at.lt(before));
        }
        let query = query.order((artifacts::created_at, artifacts::id)).limit(most);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// The bytes of the artifacts of a scope.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn bytes(db: &Db, scope: Scope) -> Result<u64, DbError> {
    let bytes: i64 = on!(db, read, |c| {
        let total = sql::<BigInt>("CAST(COALESCE(SUM(size), 0) AS BIGINT)");
        Ok(of_scope!(scope).select(total).first(c).await?)
    })
    .await?;
    Ok(counted(bytes))
}

/// Returns the limits that operators have set, by organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn own_limits(db: &Db) -> Result<HashMap<OrganizationId, Retention>, DbError> {
    let rows: Vec<(String, Option<serde_json::Value>)> = on!(db, read, |c| {
        let query = organizations::table.filter(organizations::retention.is_not_null());
        Ok(query.select((organizations::id, organizations::retention)).load(c).await?)
    })
    .await?;
    let read = |(id, limits): (String, Option<serde_json::Value>)| {
        let row = Reader { row: &id };
        let limits: Option<Retention> = row.json("organizations.retention", limits)?;
        Ok((row.parse("organizations.id", &id)?, limits.unwrap_or_default()))
    };
    rows.into_iter().map(read).collect()
}

/// Returns the limits that an operator has set for an organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn limits_of(db: &Db, id: OrganizationId) -> Result<Retention, DbError> {
    let found: Option<Option<serde_json::Value>> = on!(db, read, |c| {
        let query = organizations::table.find(id.to_string()).select(organizations::retention);
        Ok(query.first(c).await.optional()?)
    })
    .await?;
    let name = id.to_string();
    let limits = Reader { row: &name }.json("organizations.retention", found.flatten())?;
    Ok(limits.unwrap_or_default())
}

/// Changes limits of an organization, by their names. Unknown names change nothing. Returns all
/// limits of its own.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn change_limits(
    db: &Db,
    id: OrganizationId,
    changes: Vec<(String, Option<u64>)>,
) -> Result<Retention, DbError> {
    on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, id);
            let (of, name) = (organizations::table.find(id.to_string()), id.to_string());
            let found: Option<Option<serde_json::Value>> =
                of.select(organizations::retention).first(c).await.optional()?;
            let limits = Reader { row: &name }.json("organizations.retention", found.flatten())?;
            let mut limits: Retention = limits.unwrap_or_default();
            for (name, value) in changes {
                let _checked_before = limits.set(&name, value);
            }
            let column = (limits != Retention::default()).then(|| json(&limits));
            let organization = diesel::update(organizations::table.find(id.to_string()));
            organization.set(organizations::retention.eq(column)).execute(c).await?;
            Ok(limits)
        })
        .await
    })
    .await
}
