//! Workflow runs. Only their actors write these rows, through the store.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde_json::Value;

use super::Db;
use super::organizations::locked;
use super::outbox;
use super::query::{DbError, on};
use super::sealed::{REQUEST, Secrets, open_proxies, seal_proxies};
use super::store::{Full, RunChange, StoreError};
use super::values::{
    Page, Reader, all, containing, counted, insert_by, insert_once, json, lower, now, older, one,
    stored,
};
use super::webhook_messages::Row as Message;
use crate::domain::event::EventKind;
use crate::domain::ids::{
    DebugSessionId, NodeId, OrganizationId, RunId, SessionId, WebhookMessageId, WorkflowPermanentId,
};
use crate::domain::quota::{Limits, Quota};
use crate::domain::run::{BlockStatus, RunRecord, RunStatus};
use crate::domain::sealing::{SealError, SecretLocation, Vault};
use crate::schema::{
    webhook_messages as messages, workflow_run_blocks as blocks, workflow_runs as runs,
};

/// The statuses of a run that has not ended, as in the partial index.
pub(super) const UNFINISHED: [&str; 4] = [
    RunStatus::Created.as_str(),
    RunStatus::Queued.as_str(),
    RunStatus::Running.as_str(),
    RunStatus::Paused.as_str(),
];

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = runs, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    organization_id: String,
    node_id: String,
    workflow_id: String,
    workflow_permanent_id: String,
    session_id: Option<String>,
    owns_session: bool,
    debug_session_id: Option<String>,
    title: Option<String>,
    status: String,
    parameters: Value,
    request: Value,
    outputs: Value,
    failure: Option<Value>,
    created_at: NaiveDateTime,
    queued_at: Option<NaiveDateTime>,
    started_at: Option<NaiveDateTime>,
    finished_at: Option<NaiveDateTime>,
    modified_at: NaiveDateTime,
    api_key_id: Option<String>,
}

impl Row {
    /// Returns the webhook message about the run's end, if the request names a URL for it.
    fn message(&self, id: WebhookMessageId) -> Option<Message> {
        let url = self.request.get("webhook_url").and_then(Value::as_str).map(str::trim);
        let url = url.filter(|url| !url.is_empty())?;
        let ended_at = self.finished_at.unwrap_or(self.modified_at);
        Some(Message {
            run_id: Some(self.id.clone()),
            session_id: self.session_id.clone(),
            kind: EventKind::RunEnded.to_string(),
            ..Message::pending(id, self.organization_id.clone(), url.to_owned(), ended_at)
        })
    }
}

/// The changed columns. A field that is `None` is unchanged.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = runs)]
struct Changes {
    status: Option<&'static str>,
    session_id: Option<String>,
    owns_session: Option<bool>,
    outputs: Option<Value>,
    failure: Option<Value>,
    queued_at: Option<NaiveDateTime>,
    started_at: Option<NaiveDateTime>,
    finished_at: Option<NaiveDateTime>,
    modified_at: NaiveDateTime,
}

impl From<RunChange> for Changes {
    fn from(change: RunChange) -> Self {
        Self {
            status: change.status.map(RunStatus::as_str),
            session_id: change.session.map(|session| session.to_string()),
            owns_session: change.owns_session,
            outputs: change.outputs,
            failure: change.failure.as_ref().map(json),
            queued_at: change.queued_at.map(stored),
            started_at: change.started_at.map(stored),
            finished_at: change.finished_at.map(stored),
            modified_at: now(),
        }
    }
}

impl Secrets for Row {
    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        seal_proxies(vault, SecretLocation { kind: REQUEST, of: &self.id }, &mut self.request)
    }

    fn open(&mut self, vault: &Vault) {
        open_proxies(vault, SecretLocation { kind: REQUEST, of: &self.id }, &mut self.request);
    }
}

impl From<&RunRecord> for Row {
    fn from(run: &RunRecord) -> Self {
        Self {
            id: run.id.to_string(),
            organization_id: run.organization.to_string(),
            node_id: run.node.to_string(),
            workflow_id: run.workflow.to_string(),
            workflow_permanent_id: run.workflow_permanent_id.to_string(),
            session_id: run.session.map(|session| session.to_string()),
            owns_session: run.owns_session,
            debug_session_id: run.debug_session.map(|session| session.to_string()),
            title: run.title.clone(),
            status: run.status.to_string(),
            parameters: run.parameters.clone(),
            request: run.request.clone(),
            outputs: run.outputs.clone(),
            failure: run.failure.as_ref().map(json),
            created_at: stored(run.created_at),
            queued_at: run.queued_at.map(stored),
            started_at: run.started_at.map(stored),
            finished_at: run.finished_at.map(stored),
            modified_at: stored(run.modified_at),
            api_key_id: run.api_key.map(|key| key.to_string()),
        }
    }
}

impl TryFrom<Row> for RunRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("workflow_runs.id", &row.id)?,
            organization: read.parse("workflow_runs.organization_id", &row.organization_id)?,
            node: read.parse("workflow_runs.node_id", &row.node_id)?,
            workflow: read.parse("workflow_runs.workflow_id", &row.workflow_id)?,
            workflow_permanent_id: read
                .parse("workflow_runs.workflow_permanent_id", &row.workflow_permanent_id)?,
            session: read.parse_some("workflow_runs.session_id", row.session_id.as_deref())?,
            owns_session: row.owns_session,
            debug_session: read
                .parse_some("workflow_runs.debug_session_id", row.debug_session_id.as_deref())?,
            title: row.title,
            status: read.parse("workflow_runs.status", &row.status)?,
            parameters: row.parameters,
            request: row.request,
            outputs: row.outputs,
            failure: read.json("workflow_runs.failure", row.failure)?,
            created_at: row.created_at.and_utc(),
            queued_at: row.queued_at.map(|at| at.and_utc()),
            started_at: row.started_at.map(|at| at.and_utc()),
            finished_at: row.finished_at.map(|at| at.and_utc()),
            modified_at: row.modified_at.and_utc(),
            api_key: read.parse_some("workflow_runs.api_key_id", row.api_key_id.as_deref())?,
        })
    }
}

/// The filter of a list of runs. An empty or `None` field excludes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The statuses of the runs.
    pub statuses: Vec<RunStatus>,
    /// The workflow of the runs, in any version.
    pub workflow_permanent_id: Option<WorkflowPermanentId>,
    /// The session of the runs.
    pub session: Option<SessionId>,
    /// The debug session of the runs.
    pub debug_session: Option<DebugSessionId>,
    /// A text in the title or the id, ignoring case.
    pub search: Option<String>,
    /// The earliest time at which the runs were stored.
    pub created_from: Option<DateTime<Utc>>,
    /// The time before which the runs were stored.
    pub created_until: Option<DateTime<Utc>>,
}

/// Returns the organization of a run, for an operator, who names runs of any.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn owner(db: &Db, id: RunId) -> Result<Option<OrganizationId>, DbError> {
    let owner: Option<String> = on!(db, read, |c| {
        let query = runs::table.filter(runs::id.eq(id.to_string()));
        Ok(query.select(runs::organization_id).first(c).await.optional()?)
    })
    .await?;
    let row = id.to_string();
    Reader { row: &row }.parse_some("workflow_runs.organization_id", owner.as_deref())
}

/// Returns the run of this organization with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: RunId,
) -> Result<Option<RunRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = runs::table
            .filter(runs::id.eq(id.to_string()))
            .filter(runs::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(db.opened_one(row))
}

/// Returns an organization's runs, the newest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(
    db: &Db,
    organization: OrganizationId,
    filter: Filter,
    page: Page,
) -> Result<Vec<RunRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query =
            runs::table.filter(runs::organization_id.eq(organization.to_string())).into_boxed();
        if !filter.statuses.is_empty() {
            let statuses: Vec<_> = filter.statuses.iter().map(|status| status.as_str()).collect();
            query = query.filter(runs::status.eq_any(statuses));
        }
        if let Some(workflow) = filter.workflow_permanent_id {
            query = query.filter(runs::workflow_permanent_id.eq(workflow.to_string()));
        }
        if let Some(session) = filter.session {
            query = query.filter(runs::session_id.eq(session.to_string()));
        }
        if let Some(session) = filter.debug_session {
            query = query.filter(runs::debug_session_id.eq(session.to_string()));
        }
        if let Some(from) = filter.created_from {
            query = query.filter(runs::created_at.ge(stored(from)));
        }
        if let Some(until) = filter.created_until {
            query = query.filter(runs::created_at.lt(stored(until)));
        }
        if let Some(needle) = &filter.search {
            let pattern = containing(needle);
            let title = lower(runs::title.assume_not_null()).like(lower(pattern.clone()));
            let id = runs::id.like(lower(pattern));
            query = query
                .filter((runs::title.is_not_null().and(title.escape('\\'))).or(id.escape('\\')));
        }
        let (most, skipped) = (page.limit(), page.offset());
        if let Some(mark) = page.after {
            query = query.filter(older!(runs, mark));
        }
        let query =
            query.order((runs::created_at.desc(), runs::id.desc())).limit(most).offset(skipped);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Returns the runs that have not ended on a node, the oldest first: the remains of a server that
/// was killed.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn unfinished(db: &Db, node: NodeId) -> Result<Vec<RunRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = runs::table
            .filter(runs::node_id.eq(node.to_string()))
            .filter(runs::status.eq_any(UNFINISHED))
            .order((runs::created_at, runs::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// A row with the same owner, node and time as another one is that one.
macro_rules! same {
    ($row:ident) => {{
        let owner = runs::organization_id.eq($row.organization_id.clone());
        let node = runs::node_id.eq($row.node_id.clone());
        owner.and(node).and(runs::created_at.eq($row.created_at))
    }};
}

/// An organization's runs that have not ended.
macro_rules! unfinished_of {
    ($organization:expr) => {
        runs::table
            .filter(runs::organization_id.eq($organization.to_string()))
            .filter(runs::status.eq_any(UNFINISHED))
    };
}

/// Counts and inserts in one transaction, as for sessions.
pub(super) async fn insert(
    db: &Db,
    run: RunRecord,
    limits: Limits,
) -> Result<Option<Full>, StoreError> {
    let (id, organization) = (run.id.to_string(), run.organization);
    let row = db.sealed(Row::from(&run))?;
    let Some(limit) = limits.get(Quota::Runs) else {
        insert_once!(db, runs, row, |row| same!(row))?;
        return Ok(None);
    };
    let full = on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, organization);
            let others = unfinished_of!(organization).filter(runs::id.ne(id));
            let used = counted(others.count().get_result(c).await?);
            if used >= limit {
                return Ok(Some(Full { quota: Quota::Runs, limit, used, oldest: None }));
            }
            insert_by!(c, runs, row, |row| same!(row))?;
            Ok(None)
        })
        .await
    })
    .await?;
    Ok(full)
}

/// The number of an organization's runs that have not ended.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn count_unfinished(db: &Db, organization: OrganizationId) -> Result<u64, DbError> {
    let count =
        on!(db, read, |c| Ok(unfinished_of!(organization).count().get_result::<i64>(c).await?))
            .await?;
    Ok(counted(count))
}

pub(super) async fn change(db: &Db, id: RunId, mut change: RunChange) -> Result<(), StoreError> {
    let events = outbox::rows(&std::mem::take(&mut change.events));
    let ends = change.status.filter(|status| status.is_final());
    let finished_at = change.finished_at.map(stored);
    let changes = Changes::from(change);
    let message: WebhookMessageId = db.mint.mint(Utc::now());
    let changed = on!(db, write, |c| {
        c.transaction(async move |c| {
            let run = runs::table
                .filter(runs::id.eq(id.to_string()))
                .filter(runs::status.eq_any(UNFINISHED));
            let changed = diesel::update(run).set(changes).execute(c).await?;
            if changed > 0 {
                outbox::put!(c, events);
            }
            let Some(status) = ends.filter(|_status| changed > 0) else { return Ok(changed) };
            let open = blocks::table
                .filter(blocks::run_id.eq(id.to_string()))
                .filter(blocks::status.eq(BlockStatus::Running.as_str()));
            let cut_off = (
                blocks::status.eq(BlockStatus::cut_off_by(status).as_str()),
                blocks::finished_at.eq(finished_at),
            );
            diesel::update(open).set(cut_off).execute(c).await?;
            let query = runs::table.find(id.to_string()).select(Row::as_select());
            let ended: Row = query.first(c).await?;
            if let Some(message) = ended.message(message) {
                diesel::insert_into(messages::table).values(message).execute(c).await?;
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    if changed > 0 {
        return Ok(());
    }
    let found: i64 = on!(db, write, |c| {
        Ok(runs::table.filter(runs::id.eq(id.to_string())).count().get_result(c).await?)
    })
    .await?;
    Err(if found > 0 { StoreError::Final } else { StoreError::Missing })
}

/// Returns those of these ids that have a row.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn known_among(db: &Db, ids: &[RunId]) -> Result<HashSet<RunId>, DbError> {
    let ids: Vec<String> = ids.iter().map(RunId::to_string).collect();
    let found: Vec<String> = on!(db, read, |c| {
        let query = runs::table.filter(runs::id.eq_any(ids));
        Ok(query.select(runs::id).load(c).await?)
    })
    .await?;
    Ok(found.iter().filter_map(|id| id.parse::<RunId>().ok()).collect())
}
