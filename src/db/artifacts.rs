//! Artifacts: stored files of runs and sessions.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::Db;
use super::query::{DbError, on};
use super::store::StoreError;
use super::values::{Reader, all, counted, insert_once, stored};
use crate::domain::ids::{ArtifactId, BlockRunId, NodeId, OrganizationId, RunId, SessionId};
use crate::domain::run::ArtifactRecord;
use crate::schema::{artifacts, browser_profile_versions as versions, browser_sessions};

/// The most ids in one query.
const MOST_AT_ONCE: usize = 500;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = artifacts, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    id: String,
    organization_id: String,
    session_id: Option<String>,
    run_id: Option<String>,
    block_id: Option<String>,
    artifact_type: String,
    path: String,
    media_type: String,
    size: i64,
    checksum: Option<String>,
    created_at: NaiveDateTime,
}

impl From<&ArtifactRecord> for Row {
    fn from(artifact: &ArtifactRecord) -> Self {
        Self {
            id: artifact.id.to_string(),
            organization_id: artifact.organization.to_string(),
            session_id: artifact.session.map(|id| id.to_string()),
            run_id: artifact.run.map(|id| id.to_string()),
            block_id: artifact.block.map(|id| id.to_string()),
            artifact_type: artifact.artifact_type.clone(),
            path: artifact.path.clone(),
            media_type: artifact.media_type.clone(),
            size: artifact.size,
            checksum: artifact.checksum.clone(),
            created_at: stored(artifact.created_at),
        }
    }
}

impl TryFrom<Row> for ArtifactRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("artifacts.id", &row.id)?,
            organization: read.parse("artifacts.organization_id", &row.organization_id)?,
            session: read.parse_some("artifacts.session_id", row.session_id.as_deref())?,
            run: read.parse_some("artifacts.run_id", row.run_id.as_deref())?,
            block: read.parse_some("artifacts.block_id", row.block_id.as_deref())?,
            artifact_type: row.artifact_type,
            path: row.path,
            media_type: row.media_type,
            size: row.size,
            checksum: row.checksum,
            created_at: row.created_at.and_utc(),
            rotation: 0,
        })
    }
}

/// The records of these rows, with the rotations of their sessions' credentials.
async fn with_rotations(db: &Db, rows: Vec<Row>) -> Result<Vec<ArtifactRecord>, DbError> {
    let mut ids: Vec<String> = rows.iter().filter_map(|row| row.session_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut records: Vec<ArtifactRecord> = all(rows)?;
    for some in ids.chunks(MOST_AT_ONCE) {
        let some = some.to_vec();
        let found: Vec<(String, i64)> = on!(db, read, |c| {
            let query = browser_sessions::table
                .filter(browser_sessions::id.eq_any(some))
                .filter(browser_sessions::rotation.gt(0));
            let columns = (browser_sessions::id, browser_sessions::rotation);
            Ok(query.select(columns).load(c).await?)
        })
        .await?;
        for (id, rotation) in found {
            let session = id.parse::<SessionId>().ok();
            for record in records.iter_mut().filter(|it| it.session == session) {
                record.rotation = rotation;
            }
        }
    }
    Ok(records)
}

/// The artifacts of a run, the oldest first; only of these types, unless there are none.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_run(
    db: &Db,
    organization: OrganizationId,
    run: RunId,
    types: Vec<String>,
) -> Result<Vec<ArtifactRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = artifacts::table
            .filter(artifacts::run_id.eq(run.to_string()))
            .filter(artifacts::organization_id.eq(organization.to_string()))
            .into_boxed();
        if !types.is_empty() {
            query = query.filter(artifacts::artifact_type.eq_any(types));
        }
        let query = query.order((artifacts::created_at, artifacts::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    with_rotations(db, rows).await
}

/// Returns the artifacts of a session, the oldest first, including those of the runs in it.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_session(
    db: &Db,
    organization: OrganizationId,
    session: SessionId,
) -> Result<Vec<ArtifactRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = artifacts::table
            .filter(artifacts::session_id.eq(session.to_string()))
            .filter(artifacts::organization_id.eq(organization.to_string()))
            .order((artifacts::created_at, artifacts::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    with_rotations(db, rows).await
}

/// The same for a session that lives on this node, whose artifacts no other server stores. If it is known to have
/// none, the database is not asked.
///
/// # Errors
///
/// Those of [`of_session`], if the database is asked.
pub async fn of_live_session(
    db: &Db,
    organization: OrganizationId,
    session: SessionId,
) -> Result<Vec<ArtifactRecord>, DbError> {
    let Some(reading) = db.fileless.read(session) else { return Ok(Vec::new()) };
    let found = of_session(db, organization, session).await?;
    if found.is_empty() {
        db.fileless.found_none(reading);
    }
    Ok(found)
}

/// Returns the artifacts of a block, the oldest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_block(
    db: &Db,
    organization: OrganizationId,
    block: BlockRunId,
) -> Result<Vec<ArtifactRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = artifacts::table
            .filter(artifacts::block_id.eq(block.to_string()))
            .filter(artifacts::organization_id.eq(organization.to_string()))
            .order((artifacts::created_at, artifacts::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    with_rotations(db, rows).await
}

/// Returns the artifact of this organization with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: ArtifactId,
) -> Result<Option<ArtifactRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = artifacts::table
            .filter(artifacts::id.eq(id.to_string()))
            .filter(artifacts::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    Ok(with_rotations(db, row.into_iter().collect()).await?.pop())
}

pub(super) async fn insert(db: &Db, artifact: ArtifactRecord) -> Result<(), StoreError> {
    let (row, session, writing) = (Row::from(&artifact), artifact.session, db.clone());
    // To the end, even if the asker leaves: what is known of the session depends on it.
    let inserted = db.run(async move {
        let stores = || session.into_iter().for_each(|session| writing.fileless.stores(session));
        stores();
        let inserted = insert_once!(&writing, artifacts, row, |known| {
            artifacts::organization_id
                .eq(known.organization_id.clone())
                .and(artifacts::path.eq(known.path.clone()))
        });
        stores();
        inserted
    });
    Ok(inserted.await?)
}

/// The bytes of all stored files of an organization: artifacts, and archives of profiles.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn bytes_of(db: &Db, organization: OrganizationId) -> Result<u64, DbError> {
    let organization = organization.to_string();
    // PostgreSQL adds integers up to a number of any length, which diesel reads only as text.
    let bytes: i64 = on!(db, read, |c| {
        const TOTAL: &str = "CAST(COALESCE(SUM(size), 0) AS BIGINT)";
        let files = artifacts::table.filter(artifacts::organization_id.eq(organization.clone()));
        let files: i64 = files.select(sql::<BigInt>(TOTAL)).first(c).await?;
        let archives = versions::table.filter(versions::organization_id.eq(organization));
        let archives: i64 = archives.select(sql::<BigInt>(TOTAL)).first(c).await?;
        Ok(files.saturating_add(archives))
    })
    .await?;
    Ok(counted(bytes))
}

/// Of these artifacts, those that have a row.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn known_among(db: &Db, ids: &[ArtifactId]) -> Result<HashSet<ArtifactId>, DbError> {
    let mut known = HashSet::new();
    for some in ids.chunks(MOST_AT_ONCE) {
        let some: Vec<String> = some.iter().map(ArtifactId::to_string).collect();
        let found: Vec<String> = on!(db, read, |c| {
            let query = artifacts::table.filter(artifacts::id.eq_any(some));
            Ok(query.select(artifacts::id).load(c).await?)
        })
        .await?;
        known.extend(found.iter().filter_map(|id| id.parse::<ArtifactId>().ok()));
    }
    Ok(known)
}

/// An artifact's id and path, with the run and the session that produced it.
pub type FileLocation = (ArtifactId, String, Option<RunId>, Option<SessionId>);

/// Returns the places of all artifacts of the sessions of a node.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_node(db: &Db, node: NodeId) -> Result<Vec<FileLocation>, DbError> {
    let rows: Vec<(String, String, Option<String>, Option<String>)> = on!(db, read, |c| {
        let of_node = browser_sessions::table
            .filter(browser_sessions::node_id.eq(node.to_string()))
            .select(browser_sessions::id.nullable());
        let query = artifacts::table.filter(artifacts::session_id.eq_any(of_node));
        let columns = (artifacts::id, artifacts::path, artifacts::run_id, artifacts::session_id);
        Ok(query.select(columns).load(c).await?)
    })
    .await?;
    rows.into_iter()
        .map(|(id, path, run, session)| {
            let read = Reader { row: &id };
            let run = read.parse_some("artifacts.run_id", run.as_deref())?;
            let session = read.parse_some("artifacts.session_id", session.as_deref())?;
            Ok((read.parse("artifacts.id", &id)?, path, run, session))
        })
        .collect()
}

/// Returns the artifacts of a type that were stored before `before`, and those beyond the `keep`
/// newest.
pub(super) async fn old(
    db: &Db,
    organization: OrganizationId,
    artifact_type: String,
    keep: u32,
    before: DateTime<Utc>,
) -> Result<Vec<ArtifactRecord>, StoreError> {
    let before = stored(before);
    let rows: Vec<Row> = on!(db, read, |c| {
        let of_type = artifacts::table
            .filter(artifacts::organization_id.eq(organization.to_string()))
            .filter(artifacts::artifact_type.eq(artifact_type))
            .order((artifacts::created_at.desc(), artifacts::id.desc()));
        Ok(of_type.select(Row::as_select()).load(c).await?)
    })
    .await?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let old = rows.into_iter().enumerate();
    let old = old.filter(|(place, row)| *place >= keep || row.created_at < before);
    Ok(all(old.map(|(_, row)| row).collect())?)
}

/// Deletes the rows of artifacts. Those that are gone already are no error.
///
/// # Errors
///
/// [`StoreError::Unavailable`].
pub async fn delete(db: &Db, ids: Vec<ArtifactId>) -> Result<(), StoreError> {
    for some in ids.chunks(MOST_AT_ONCE) {
        let some: Vec<String> = some.iter().map(ArtifactId::to_string).collect();
        on!(db, write, |c| {
            let delete = diesel::delete(artifacts::table.filter(artifacts::id.eq_any(some)));
            delete.execute(c).await?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}
