//! The deletion of an organization's rows, in batches, so that no transaction is long.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Db;
use super::query::{DbError, on};
use super::values::now;
use crate::domain::ids::OrganizationId;
use crate::schema::{
    api_keys, artifacts, audit_events, browser_profiles, browser_sessions, debug_sessions,
    egress_usage, event_outbox, event_sequences, idempotency_keys, leases, organizations,
    session_events, webhook_deliveries, webhook_messages, webhooks, workflow_run_blocks,
    workflow_runs, workflows,
};

/// The most rows of a table that one statement deletes.
const BATCH: i64 = 500;

/// Returns the number of sessions and runs of an organization that have not ended, on any node.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn still_running(db: &Db, id: OrganizationId) -> Result<i64, DbError> {
    let id = id.to_string();
    on!(db, read, |c| {
        let live = browser_sessions::table
            .filter(browser_sessions::organization_id.eq(id.clone()))
            .filter(browser_sessions::status.eq_any(super::sessions::LIVE));
        let sessions: i64 = live.count().get_result(c).await?;
        let unfinished = workflow_runs::table
            .filter(workflow_runs::organization_id.eq(id))
            .filter(workflow_runs::status.eq_any(super::runs::UNFINISHED));
        let runs: i64 = unfinished.count().get_result(c).await?;
        Ok(sessions + runs)
    })
    .await
}

/// Deletes up to [`BATCH`] rows of a table with ids, and returns their number.
macro_rules! delete_some {
    ($db:expr, $organization:expr, $table:ident) => {{
        let of = $organization.clone();
        let deleted: usize = on!($db, write, |c| {
            let some = $table::table.filter($table::organization_id.eq(of)).limit(BATCH);
            let ids: Vec<String> = some.select($table::id).load(c).await?;
            let rows = $table::table.filter($table::id.eq_any(ids));
            Ok(diesel::delete(rows).execute(c).await?)
        })
        .await?;
        deleted
    }};
}

/// Deletes some rows of an organization, referring rows before the rows that they refer to. Returns
/// the number of rows; 0 when nothing is left.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn purge_some(db: &Db, id: OrganizationId) -> Result<usize, DbError> {
    let id = id.to_string();
    let mut deleted = 0;
    deleted += delete_keys(db, &id).await?;
    deleted += delete_some!(db, id, webhook_deliveries);
    deleted += delete_some!(db, id, webhook_messages);
    deleted += delete_some!(db, id, webhooks);
    deleted += delete_some!(db, id, artifacts);
    deleted += delete_some!(db, id, workflow_run_blocks);
    deleted += delete_some!(db, id, debug_sessions);
    deleted += delete_some!(db, id, event_outbox);
    deleted += delete_some!(db, id, session_events);
    deleted += delete_some!(db, id, audit_events);
    if deleted > 0 {
        return Ok(deleted); // These rows refer to rows of the tables below.
    }
    deleted += delete_some!(db, id, workflow_runs);
    if deleted > 0 {
        return Ok(deleted);
    }
    deleted += delete_some!(db, id, workflows);
    deleted += delete_some!(db, id, browser_sessions);
    deleted += delete_some!(db, id, browser_profiles); // With their versions.
    let rest: usize = on!(db, write, |c| {
        let keys = idempotency_keys::table.filter(idempotency_keys::organization_id.eq(id.clone()));
        let keys = diesel::delete(keys).execute(c).await?;
        let taken = leases::table.filter(leases::organization_id.eq(id.clone()));
        let taken = diesel::delete(taken).execute(c).await?;
        let usage = egress_usage::table.filter(egress_usage::organization_id.eq(id.clone()));
        let usage = diesel::delete(usage).execute(c).await?;
        let sequence = event_sequences::table.filter(event_sequences::organization_id.eq(id));
        Ok(keys + taken + usage + diesel::delete(sequence).execute(c).await?)
    })
    .await?;
    Ok(deleted + rest)
}

/// Deletes the keys except those of the setting `keys.bootstrap`: their hashes stay, so that a start with the
/// same setting does not give such a key to another organization.
async fn delete_keys(db: &Db, id: &str) -> Result<usize, DbError> {
    let (of, bootstrap) = (id.to_owned(), id.to_owned());
    on!(db, write, |c| {
        let all = api_keys::table.filter(api_keys::organization_id.eq(of));
        let some = all.filter(api_keys::is_bootstrap.eq(false)).limit(BATCH);
        let ids: Vec<String> = some.select(api_keys::id).load(c).await?;
        let rows = api_keys::table.filter(api_keys::id.eq_any(ids));
        let deleted = diesel::delete(rows).execute(c).await?;
        let kept = api_keys::table
            .filter(api_keys::organization_id.eq(bootstrap))
            .filter(api_keys::is_bootstrap.eq(true))
            .filter(api_keys::signer.is_not_null().or(api_keys::revoked_at.is_null()));
        let bare = (
            api_keys::revoked_at.eq(Some(now())),
            api_keys::signer.eq(None::<String>),
            api_keys::last_used_from.eq(None::<String>),
        );
        Ok(deleted + diesel::update(kept).set(bare).execute(c).await?)
    })
    .await
}

/// Records that an organization's deletion is complete. Only the id is kept of its row.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn purged(db: &Db, id: OrganizationId) -> Result<(), DbError> {
    on!(db, write, |c| {
        let gone = organizations::table
            .filter(organizations::id.eq(id.to_string()))
            .filter(organizations::deleted_at.is_not_null())
            .filter(organizations::purged_at.is_null());
        let change = (
            organizations::purged_at.eq(Some(now())),
            organizations::name.eq(""),
            organizations::egress.eq(None::<serde_json::Value>),
            organizations::quotas.eq(None::<serde_json::Value>),
        );
        diesel::update(gone).set(change).execute(c).await?;
        Ok(())
    })
    .await
}
