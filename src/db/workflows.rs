//! Workflows: one row per version, which is never edited.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::sealed::{SETTINGS, Secrets, open_proxies, seal_proxies};
use super::values::{Page, Reader, all, containing, lower, now, older, one, stored};
use crate::domain::ids::{OrganizationId, WorkflowId, WorkflowPermanentId};
use crate::domain::run::WorkflowRecord;
use crate::domain::sealing::{SealError, SecretLocation, Vault};
use crate::domain::workflow_settings::name;
use crate::schema::workflows;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = workflows, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    permanent_id: String,
    organization_id: String,
    version: i32,
    title: String,
    description: Option<String>,
    status: String,
    definition: Value,
    settings: Value,
    created_at: NaiveDateTime,
    modified_at: NaiveDateTime,
    deleted_at: Option<NaiveDateTime>,
    /// The name in the settings, of the latest version of a workflow that is not deleted.
    name: Option<String>,
}

impl Secrets for Row {
    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        seal_proxies(vault, SecretLocation { kind: SETTINGS, of: &self.id }, &mut self.settings)
    }

    fn open(&mut self, vault: &Vault) {
        open_proxies(vault, SecretLocation { kind: SETTINGS, of: &self.id }, &mut self.settings);
    }
}

impl From<&WorkflowRecord> for Row {
    fn from(workflow: &WorkflowRecord) -> Self {
        Self {
            id: workflow.id.to_string(),
            permanent_id: workflow.permanent_id.to_string(),
            organization_id: workflow.organization.to_string(),
            version: workflow.version,
            title: workflow.title.clone(),
            description: workflow.description.clone(),
            status: workflow.status.clone(),
            definition: workflow.definition.clone(),
            settings: workflow.settings.clone(),
            created_at: stored(workflow.created_at),
            modified_at: stored(workflow.modified_at),
            deleted_at: workflow.deleted_at.map(stored),
            name: match workflow.deleted_at {
                None => name(&workflow.settings).map(str::to_owned),
                Some(_) => None,
            },
        }
    }
}

impl TryFrom<Row> for WorkflowRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("workflows.id", &row.id)?,
            permanent_id: read.parse("workflows.permanent_id", &row.permanent_id)?,
            organization: read.parse("workflows.organization_id", &row.organization_id)?,
            version: row.version,
            title: row.title,
            description: row.description,
            status: row.status,
            definition: row.definition,
            settings: row.settings,
            created_at: row.created_at.and_utc(),
            modified_at: row.modified_at.and_utc(),
            deleted_at: row.deleted_at.map(|at| at.and_utc()),
        })
    }
}

/// The filter of a list of workflows. An empty or `None` field excludes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A text in the title or the permanent id, ignoring case.
    pub search: Option<String>,
    /// The statuses of the latest version: `published`, `draft`.
    pub statuses: Vec<String>,
    /// The whole name, as it is written.
    pub name: Option<String>,
}

/// Inserts a version of a workflow, the first or a later one. The version number distinguishes
/// concurrent writers: the second one gets [`DbError::Conflict`], reads the latest version and
/// retries. The name of the workflow is that of its latest version.
///
/// # Errors
///
/// [`DbError::Conflict`] if the version exists already, or another workflow has the name.
pub async fn insert(db: &Db, workflow: &WorkflowRecord) -> Result<(), DbError> {
    let row = db.sealed(Row::from(workflow))?;
    on!(db, write, |c| {
        c.transaction(async move |c| {
            let former = workflows::table
                .filter(workflows::organization_id.eq(row.organization_id.clone()))
                .filter(workflows::permanent_id.eq(row.permanent_id.clone()));
            let nothing = workflows::name.eq(None::<String>);
            diesel::update(former).set(nothing).execute(c).await?;
            diesel::insert_into(workflows::table).values(row).execute(c).await?;
            Ok(())
        })
        .await
    })
    .await
}

/// Returns the workflow of an organization with this name, unless it was deleted.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn named(
    db: &Db,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<WorkflowPermanentId>, DbError> {
    let name = name.to_owned();
    let found: Option<String> = on!(db, read, |c| {
        let query = workflows::table
            .filter(workflows::organization_id.eq(organization.to_string()))
            .filter(workflows::name.eq(Some(name)));
        Ok(query.select(workflows::permanent_id).first(c).await.optional()?)
    })
    .await?;
    let row = Reader { row: "workflow" };
    row.parse_some("workflows.permanent_id", found.as_deref())
}

/// Returns the latest version, unless the workflow was deleted.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn latest(
    db: &Db,
    organization: OrganizationId,
    id: WorkflowPermanentId,
) -> Result<Option<WorkflowRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = workflows::table
            .filter(workflows::organization_id.eq(organization.to_string()))
            .filter(workflows::permanent_id.eq(id.to_string()))
            .filter(workflows::deleted_at.is_null())
            .order(workflows::version.desc());
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(db.opened_one(row))
}

/// Returns the version with this number, unless the workflow was deleted.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn version(
    db: &Db,
    organization: OrganizationId,
    id: WorkflowPermanentId,
    version: i32,
) -> Result<Option<WorkflowRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = workflows::table
            .filter(workflows::organization_id.eq(organization.to_string()))
            .filter(workflows::permanent_id.eq(id.to_string()))
            .filter(workflows::version.eq(version))
            .filter(workflows::deleted_at.is_null());
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(db.opened_one(row))
}

/// Returns the version with this id, even if deleted: a run still shows what it executed.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: WorkflowId,
) -> Result<Option<WorkflowRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = workflows::table
            .filter(workflows::id.eq(id.to_string()))
            .filter(workflows::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(db.opened_one(row))
}

/// Returns all versions, the latest first; none if the workflow was deleted.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn versions(
    db: &Db,
    organization: OrganizationId,
    id: WorkflowPermanentId,
) -> Result<Vec<WorkflowRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = workflows::table
            .filter(workflows::organization_id.eq(organization.to_string()))
            .filter(workflows::permanent_id.eq(id.to_string()))
            .filter(workflows::deleted_at.is_null())
            .order(workflows::version.desc());
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Returns the latest version of each workflow of an organization that is not deleted, the newest
/// version first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(
    db: &Db,
    organization: OrganizationId,
    filter: Filter,
    page: Page,
) -> Result<Vec<WorkflowRecord>, DbError> {
    let later = diesel::alias!(workflows as later);
    let rows: Vec<Row> = on!(db, read, |c| {
        let has_later = later
            .filter(later.field(workflows::organization_id).eq(workflows::organization_id))
            .filter(later.field(workflows::permanent_id).eq(workflows::permanent_id))
            .filter(later.field(workflows::version).gt(workflows::version));
        let mut query = workflows::table
            .filter(workflows::organization_id.eq(organization.to_string()))
            .filter(workflows::deleted_at.is_null())
            .filter(diesel::dsl::not(diesel::dsl::exists(has_later)))
            .into_boxed();
        if !filter.statuses.is_empty() {
            query = query.filter(workflows::status.eq_any(filter.statuses));
        }
        if let Some(name) = filter.name {
            query = query.filter(workflows::name.eq(Some(name)));
        }
        if let Some(needle) = &filter.search {
            let pattern = containing(needle);
            let title = lower(workflows::title).like(lower(pattern.clone())).escape('\\');
            let id = workflows::permanent_id.like(lower(pattern)).escape('\\');
            query = query.filter(title.or(id));
        }
        let (most, skipped) = (page.limit(), page.offset());
        if let Some(mark) = page.after {
            query = query.filter(older!(workflows, mark));
        }
        let query = query
            .order((workflows::created_at.desc(), workflows::id.desc()))
            .limit(most)
            .offset(skipped);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Deletes a workflow with all its versions; its runs are kept. Returns true if it existed.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn delete(
    db: &Db,
    organization: OrganizationId,
    id: WorkflowPermanentId,
) -> Result<bool, DbError> {
    let changed: usize = on!(db, write, |c| {
        let versions = workflows::table
            .filter(workflows::organization_id.eq(organization.to_string()))
            .filter(workflows::permanent_id.eq(id.to_string()))
            .filter(workflows::deleted_at.is_null());
        let at = now();
        let change = (
            workflows::deleted_at.eq(Some(at)),
            workflows::modified_at.eq(at),
            workflows::name.eq(None::<String>),
        );
        Ok(diesel::update(versions).set(change).execute(c).await?)
    })
    .await?;
    Ok(changed > 0)
}
