//! Debug sessions. A unique index ensures that a user has at most one live debug session per
//! workflow.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Db;
use super::query::{DbError, on};
use super::values::{Page, Reader, all, now, one, stored};
use crate::domain::debug_session::{DebugSession, DebugSessionStatus};
use crate::domain::ids::{DebugSessionId, OrganizationId, SessionId, WorkflowPermanentId};
use crate::domain::run::RunRecord;
use crate::schema::debug_sessions;

const LIVE: &str = DebugSessionStatus::Created.as_str();

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = debug_sessions, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    organization_id: String,
    user_id: String,
    workflow_permanent_id: String,
    session_id: String,
    status: String,
    expires_at: NaiveDateTime,
    created_at: NaiveDateTime,
    modified_at: NaiveDateTime,
}

impl From<&DebugSession> for Row {
    fn from(session: &DebugSession) -> Self {
        Self {
            id: session.id.to_string(),
            organization_id: session.organization.to_string(),
            user_id: session.user.clone(),
            workflow_permanent_id: session.workflow_permanent_id.to_string(),
            session_id: session.session.to_string(),
            status: session.status.to_string(),
            expires_at: stored(session.expires_at),
            created_at: stored(session.created_at),
            modified_at: stored(session.modified_at),
        }
    }
}

impl TryFrom<Row> for DebugSession {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("debug_sessions.id", &row.id)?,
            organization: read.parse("debug_sessions.organization_id", &row.organization_id)?,
            user: row.user_id,
            workflow_permanent_id: read
                .parse("debug_sessions.workflow_permanent_id", &row.workflow_permanent_id)?,
            session: read.parse("debug_sessions.session_id", &row.session_id)?,
            status: read.parse("debug_sessions.status", &row.status)?,
            expires_at: row.expires_at.and_utc(),
            created_at: row.created_at.and_utc(),
            modified_at: row.modified_at.and_utc(),
        })
    }
}

/// Returns the live debug session of a user for a workflow, expired or not.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn live(
    db: &Db,
    organization: OrganizationId,
    user: &str,
    workflow: WorkflowPermanentId,
) -> Result<Option<DebugSession>, DbError> {
    let user = user.to_owned();
    let row: Option<Row> = on!(db, read, |c| {
        let query = debug_sessions::table
            .filter(debug_sessions::organization_id.eq(organization.to_string()))
            .filter(debug_sessions::user_id.eq(user))
            .filter(debug_sessions::workflow_permanent_id.eq(workflow.to_string()))
            .filter(debug_sessions::status.eq(LIVE));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Inserts a debug session.
///
/// # Errors
///
/// [`DbError::Conflict`] if the user has a live one for the workflow, which [`live`] returns.
pub async fn insert(db: &Db, session: &DebugSession) -> Result<(), DbError> {
    let row = Row::from(session);
    on!(db, write, |c| {
        diesel::insert_into(debug_sessions::table).values(row).execute(c).await?;
        Ok(())
    })
    .await
}

/// Records a use: extends the debug session to `expires_at`, and never shortens it. Returns true if
/// it was live.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn touch(
    db: &Db,
    id: DebugSessionId,
    expires_at: DateTime<Utc>,
) -> Result<bool, DbError> {
    let expires_at = stored(expires_at);
    let alive: usize = on!(db, write, |c| {
        let live = debug_sessions::table
            .filter(debug_sessions::id.eq(id.to_string()))
            .filter(debug_sessions::status.eq(LIVE));
        let later = diesel::dsl::case_when(
            debug_sessions::expires_at.gt(expires_at),
            debug_sessions::expires_at,
        )
        .otherwise(expires_at.into_sql::<diesel::sql_types::Timestamp>());
        let change = (debug_sessions::expires_at.eq(later), debug_sessions::modified_at.eq(now()));
        Ok(diesel::update(live).set(change).execute(c).await?)
    })
    .await?;
    Ok(alive > 0)
}

/// Completes a debug session that was replaced or has expired. Returns true if it was live; safe to
/// repeat.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn complete(db: &Db, id: DebugSessionId) -> Result<bool, DbError> {
    let changed: usize = on!(db, write, |c| {
        let live = debug_sessions::table
            .filter(debug_sessions::id.eq(id.to_string()))
            .filter(debug_sessions::status.eq(LIVE));
        let change = (
            debug_sessions::status.eq(DebugSessionStatus::Completed.as_str()),
            debug_sessions::modified_at.eq(now()),
        );
        Ok(diesel::update(live).set(change).execute(c).await?)
    })
    .await?;
    Ok(changed > 0)
}

/// Completes a debug session that was not used since `then`. Returns false if it was used in the
/// meantime.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn complete_unused(
    db: &Db,
    id: DebugSessionId,
    then: DateTime<Utc>,
) -> Result<bool, DbError> {
    let changed: usize = on!(db, write, |c| {
        let unused = debug_sessions::table
            .filter(debug_sessions::id.eq(id.to_string()))
            .filter(debug_sessions::status.eq(LIVE))
            .filter(debug_sessions::modified_at.le(stored(then)));
        let change = (
            debug_sessions::status.eq(DebugSessionStatus::Completed.as_str()),
            debug_sessions::modified_at.eq(now()),
        );
        Ok(diesel::update(unused).set(change).execute(c).await?)
    })
    .await?;
    Ok(changed > 0)
}

/// Returns the debug session of this organization with this id, live or not.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: DebugSessionId,
) -> Result<Option<DebugSession>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = debug_sessions::table
            .filter(debug_sessions::id.eq(id.to_string()))
            .filter(debug_sessions::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Returns live debug sessions that expired before `now`, the oldest first; a few at a time.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn expired(db: &Db, now: DateTime<Utc>) -> Result<Vec<DebugSession>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = debug_sessions::table
            .filter(debug_sessions::status.eq(LIVE))
            .filter(debug_sessions::expires_at.le(stored(now)))
            .order((debug_sessions::expires_at, debug_sessions::id))
            .limit(100);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns live debug sessions whose last use was before `then`, the longest unused first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn unused(db: &Db, then: DateTime<Utc>) -> Result<Vec<DebugSession>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = debug_sessions::table
            .filter(debug_sessions::status.eq(LIVE))
            .filter(debug_sessions::modified_at.le(stored(then)))
            .order((debug_sessions::modified_at, debug_sessions::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns the live debug session that uses this browser session.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn live_behind(
    db: &Db,
    organization: OrganizationId,
    session: SessionId,
) -> Result<Option<DebugSession>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = debug_sessions::table
            .filter(debug_sessions::session_id.eq(session.to_string()))
            .filter(debug_sessions::organization_id.eq(organization.to_string()))
            .filter(debug_sessions::status.eq(LIVE));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Returns the runs of a debug session, the newest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn runs(
    db: &Db,
    organization: OrganizationId,
    id: DebugSessionId,
    page: Page,
) -> Result<Vec<RunRecord>, DbError> {
    let filter = super::runs::Filter { debug_session: Some(id), ..Default::default() };
    super::runs::list(db, organization, filter, page).await
}
