//! Browser sessions. Only their actors write these rows, through the store.

mod row;

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::dsl::{count_star, min};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use self::row::Row;
use super::organizations::locked;
use super::profiles::place::{is_free, take_place};
use super::query::{DbError, on};
use super::sealed::seal_passwords;
use super::store::{Ended, Full, Occupied, Rotated, Started, StoreError};
use super::values::{
    Page, Reader, all, coalesce, counted, insert_by, json, now, older, one, stored,
};
use super::{Db, audit_events, leases, outbox};
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::deadlines::Deadlines;
use crate::domain::event::NewEvent;
use crate::domain::ids::{Mint, NodeId, OrganizationId, SessionId};
use crate::domain::labels::LabelChange;
use crate::domain::occupancy::Generation;
use crate::domain::profile::{ProfileAccess, ProfileUse};
use crate::domain::quota::{Limits, MINUTE, Quota};
use crate::domain::session::{DesktopIdentity, SessionRecord, SessionSpec, SessionStatus};
use crate::schema::browser_sessions as sessions;

/// The statuses of a session that has not ended, as in the partial indexes.
pub(super) const LIVE: [&str; 3] = [
    SessionStatus::Created.as_str(),
    SessionStatus::Running.as_str(),
    SessionStatus::Retry.as_str(),
];

/// The most ids in one query.
const MOST_AT_ONCE: usize = 500;

/// Returns the session of this organization with this id, ended or not.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: SessionId,
) -> Result<Option<SessionRecord>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = sessions::table
            .filter(sessions::id.eq(id.to_string()))
            .filter(sessions::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(db.opened_one(row))
}

/// Returns the organization of a session, for an operator, who names sessions of any.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn owner(db: &Db, id: SessionId) -> Result<Option<OrganizationId>, DbError> {
    let owner: Option<String> = on!(db, read, |c| {
        let query = sessions::table.filter(sessions::id.eq(id.to_string()));
        Ok(query.select(sessions::organization_id).first(c).await.optional()?)
    })
    .await?;
    let row = id.to_string();
    Reader { row: &row }.parse_some("browser_sessions.organization_id", owner.as_deref())
}

/// Returns the sessions that have not ended on a node, the oldest first, for it to adopt.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn live_on(db: &Db, node: NodeId) -> Result<Vec<SessionRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = sessions::table
            .filter(sessions::node_id.eq(node.to_string()))
            .filter(sessions::status.eq_any(LIVE))
            .order((sessions::created_at, sessions::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Returns an organization's sessions that have not ended, the newest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn active(db: &Db, organization: OrganizationId) -> Result<Vec<SessionRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = sessions::table
            .filter(sessions::organization_id.eq(organization.to_string()))
            .filter(sessions::status.eq_any(LIVE))
            .order((sessions::created_at.desc(), sessions::id.desc()));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Returns an organization's sessions created since `since`: first those that have not ended, then
/// the newest first. A session that ends while the list is followed by positions may be there twice.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn history(
    db: &Db,
    organization: OrganizationId,
    since: DateTime<Utc>,
    page: Page,
) -> Result<Vec<SessionRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let mut query = sessions::table
            .filter(sessions::organization_id.eq(organization.to_string()))
            .filter(sessions::created_at.ge(stored(since)))
            .into_boxed();
        let (most, skipped) = (page.limit(), page.offset());
        if let Some(mark) = page.after {
            let (live, older) = (mark.live, older!(sessions, mark));
            let has_ended = sessions::status.ne_all(LIVE);
            query = if live {
                query.filter(has_ended.or(older))
            } else {
                query.filter(has_ended.and(older))
            };
        }
        let query = query
            .order((
                sessions::status.eq_any(LIVE).desc(),
                sessions::created_at.desc(),
                sessions::id.desc(),
            ))
            .limit(most)
            .offset(skipped);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Selects the row of a session, unless its status is final.
macro_rules! live {
    ($id:expr) => {
        sessions::table
            .filter(sessions::id.eq($id.to_string()))
            .filter(sessions::status.eq_any(LIVE))
    };
}

/// A row with the same owner, node and time as another one is that one.
macro_rules! same {
    ($row:ident) => {{
        let owner = sessions::organization_id.eq($row.organization_id.clone());
        let node = sessions::node_id.eq($row.node_id.clone());
        owner.and(node).and(sessions::created_at.eq($row.created_at))
    }};
}

/// The start of the window in which new sessions are counted.
fn window(now: DateTime<Utc>) -> DateTime<Utc> {
    now - MINUTE
}

/// An organization's sessions that have not ended.
macro_rules! live_of {
    ($organization:expr) => {
        sessions::table
            .filter(sessions::organization_id.eq($organization.to_string()))
            .filter(sessions::status.eq_any(LIVE))
    };
}

/// An organization's sessions that were made since a time.
macro_rules! made_since {
    ($organization:expr, $since:expr) => {
        sessions::table
            .filter(sessions::organization_id.eq($organization.to_string()))
            .filter(sessions::created_at.gt(stored($since)))
    };
}

/// Counts and inserts in one transaction. Others that insert for the same organization wait for its
/// end at the organization's row, on every node. In the same transaction the session becomes the writer
/// of its profile, if it is to be it and no other live session is; else its row has a copy.
pub(super) async fn insert(
    db: &Db,
    session: SessionRecord,
    limits: Limits,
    events: Vec<NewEvent>,
) -> Result<Option<Full>, StoreError> {
    let (most_live, most_new) = (limits.get(Quota::Sessions), limits.get(Quota::CreatesPerMinute));
    let (id, organization) = (session.id.to_string(), session.organization);
    let row = db.sealed(Row::from(&session))?;
    let events = outbox::rows(&events);
    let wished = session.spec.profile.filter(|used| used.access == ProfileAccess::Write);
    if most_live.is_none() && most_new.is_none() && wished.is_none() {
        on!(db, write, |c| {
            c.transaction(async move |c| {
                insert_by!(c, sessions, row, |row| same!(row))?;
                outbox::put!(c, events);
                Ok(())
            })
            .await
        })
        .await?;
        return Ok(None);
    }
    let since = window(Utc::now());
    let full = on!(db, write, |c| {
        c.transaction(async move |c| {
            locked!(c, organization);
            if let Some(limit) = most_live {
                let others = live_of!(organization).filter(sessions::id.ne(id.clone()));
                let used = counted(others.count().get_result(c).await?);
                if used >= limit {
                    return Ok(Some(Full { quota: Quota::Sessions, limit, used, oldest: None }));
                }
            }
            if let Some(limit) = most_new {
                let others = made_since!(organization, since).filter(sessions::id.ne(id.clone()));
                let columns = (count_star(), min(sessions::created_at));
                let (used, oldest): (i64, Option<NaiveDateTime>) =
                    others.select(columns).first(c).await?;
                let (used, oldest) = (counted(used), oldest.map(|at| at.and_utc()));
                if used >= limit {
                    return Ok(Some(Full { quota: Quota::CreatesPerMinute, limit, used, oldest }));
                }
            }
            outbox::put!(c, events);
            let Some(used) = wished else {
                insert_by!(c, sessions, row, |row| same!(row))?;
                return Ok(None);
            };
            let is_free = is_free!(c, organization.to_string(), id, used);
            let copy = ProfileUse { access: ProfileAccess::Copy, ..used.clone() };
            let row = if is_free { row } else { row.with_profile(&copy) };
            insert_by!(c, sessions, row, |row| same!(row))?;
            if is_free {
                take_place!(c, id, used);
            }
            Ok(None)
        })
        .await
    })
    .await?;
    Ok(full)
}

/// The number of an organization's sessions that have not ended.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn count_live(db: &Db, organization: OrganizationId) -> Result<u64, DbError> {
    let count =
        on!(db, read, |c| Ok(live_of!(organization).count().get_result::<i64>(c).await?)).await?;
    Ok(counted(count))
}

/// The number of sessions that an organization has made within the last minute, and the time of the
/// oldest of them.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn count_new(
    db: &Db,
    organization: OrganizationId,
) -> Result<(u64, Option<DateTime<Utc>>), DbError> {
    let since = window(Utc::now());
    let (count, oldest): (i64, Option<NaiveDateTime>) = on!(db, read, |c| {
        let columns = (count_star(), min(sessions::created_at));
        Ok(made_since!(organization, since).select(columns).first(c).await?)
    })
    .await?;
    Ok((counted(count), oldest.map(|at| at.and_utc())))
}

/// The rows of other tables that are stored with a change of the occupancy.
struct Beside {
    events: Vec<outbox::Row>,
    taken: Option<leases::Row>,
    audit: Option<audit_events::Row>,
    mint: Arc<Mint>,
}

impl Beside {
    fn of(db: &Db, change: &Occupied) -> Self {
        Self {
            events: outbox::rows(&change.events),
            taken: change.taken.map(leases::Row::from),
            audit: change.audit.as_ref().map(audit_events::Row::from),
            mint: Arc::clone(&db.mint),
        }
    }
}

/// Stores them by the connection `c` of the transaction of the change.
macro_rules! put_with_change {
    ($c:ident, $beside:expr) => {{
        let Beside { events, taken, audit, mint } = $beside;
        outbox::put!($c, events);
        if let Some(row) = &taken {
            leases::put!($c, row);
        }
        if let Some(row) = audit {
            audit_events::put!($c, row, mint);
        }
    }};
}

pub(super) async fn occupy(db: &Db, id: SessionId, change: Occupied) -> Result<(), StoreError> {
    let (expected, beside) = (change.expected, Beside::of(db, &change));
    let columns = row::OccupancyColumns::from(&change.next);
    let idle = change.idle.map(|at| sessions::idle_expires_at.eq(stored(at)));
    let changed = on!(db, write, |c| {
        c.transaction(async move |c| {
            let session = live!(id).filter(sessions::generation.eq(expected.number()));
            let change = (columns, idle, sessions::modified_at.eq(now()));
            let changed = diesel::update(session).set(change).execute(c).await?;
            if changed > 0 {
                put_with_change!(c, beside);
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    if changed > 0 { Ok(()) } else { Err(conflict(db, id).await?) }
}

/// Replaces the lease of the holder and counts the rotation, in one write.
pub(super) async fn rotate(db: &Db, id: SessionId, next: Rotated) -> Result<(), StoreError> {
    let Rotated { change, rotation } = next;
    let (expected, beside) = (change.expected, Beside::of(db, &change));
    let columns = row::OccupancyColumns::from(&change.next);
    let idle = change.idle.map(|at| sessions::idle_expires_at.eq(stored(at)));
    let changed = on!(db, write, |c| {
        c.transaction(async move |c| {
            let session = live!(id)
                .filter(sessions::generation.eq(expected.number()))
                .filter(sessions::rotation.lt(rotation));
            let change =
                (columns, idle, sessions::rotation.eq(rotation), sessions::modified_at.eq(now()));
            let changed = diesel::update(session).set(change).execute(c).await?;
            if changed > 0 {
                put_with_change!(c, beside);
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    if changed > 0 { Ok(()) } else { Err(conflict(db, id).await?) }
}

/// The reason why a change of the occupancy was not written.
async fn conflict(db: &Db, id: SessionId) -> Result<StoreError, StoreError> {
    // Read where it was written: a reader of its own may be a moment behind.
    let row: Option<Row> = on!(db, write, |c| {
        let query = sessions::table.find(id.to_string());
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    let session: SessionRecord = one(row)?.ok_or(StoreError::Missing)?;
    Ok(if session.status.is_final() {
        StoreError::Final
    } else {
        StoreError::Conflict { stored: session.occupancy }
    })
}

pub(super) async fn start(db: &Db, id: SessionId, started: Started) -> Result<(), StoreError> {
    let Started { desktop, at, deadlines, events } = started;
    let events = outbox::rows(&events);
    let changed = on!(db, write, |c| {
        let change = (
            sessions::status.eq(SessionStatus::Running.as_str()),
            sessions::display_number.eq(i32::from(desktop.display_number)),
            sessions::vnc_port.eq(i32::from(desktop.vnc_port)),
            sessions::desktop.eq(json(&desktop)),
            sessions::start_by.eq(deadlines.start_by.map(stored)),
            sessions::expires_at.eq(deadlines.expires_at.map(stored)),
            sessions::idle_expires_at.eq(deadlines.idle_expires_at.map(stored)),
            // If the launch was repeated, the time of the first start is kept.
            sessions::started_at.eq(coalesce(sessions::started_at, Some(stored(at)))),
            sessions::modified_at.eq(now()),
        );
        c.transaction(async move |c| {
            let changed = diesel::update(live!(id)).set(change).execute(c).await?;
            if changed > 0 {
                outbox::put!(c, events);
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn retry(db: &Db, id: SessionId) -> Result<(), StoreError> {
    let changed = on!(db, write, |c| {
        let status = sessions::status.eq(SessionStatus::Retry.as_str());
        let change = (status, sessions::modified_at.eq(now()));
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn restart(
    db: &Db,
    id: SessionId,
    desktop: DesktopIdentity,
) -> Result<(), StoreError> {
    let changed = on!(db, write, |c| {
        let change = (
            sessions::status.eq(SessionStatus::Running.as_str()),
            sessions::display_number.eq(i32::from(desktop.display_number)),
            sessions::vnc_port.eq(i32::from(desktop.vnc_port)),
            sessions::desktop.eq(json(&desktop)),
            sessions::modified_at.eq(now()),
        );
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn extend_deadlines(
    db: &Db,
    id: SessionId,
    deadlines: Deadlines,
    events: Vec<NewEvent>,
) -> Result<(), StoreError> {
    let events = outbox::rows(&events);
    let Deadlines { start_by: _, expires_at, idle_expires_at } = deadlines;
    let changed = on!(db, write, |c| {
        c.transaction(async move |c| {
            let session = diesel::update(live!(id)).set(sessions::modified_at.eq(now()));
            let changed = session.execute(c).await?;
            // Of two concurrent changes, the later deadline is kept.
            if let Some(at) = expires_at.map(stored) {
                let before = sessions::expires_at.is_null().or(sessions::expires_at.lt(at));
                let session = diesel::update(live!(id).filter(before));
                session.set(sessions::expires_at.eq(at)).execute(c).await?;
            }
            if let Some(at) = idle_expires_at.map(stored) {
                let before =
                    sessions::idle_expires_at.is_null().or(sessions::idle_expires_at.lt(at));
                let session = diesel::update(live!(id).filter(before));
                session.set(sessions::idle_expires_at.eq(at)).execute(c).await?;
            }
            if changed > 0 {
                outbox::put!(c, events);
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn set_sanitize_after(
    db: &Db,
    id: SessionId,
    after: Option<Generation>,
) -> Result<(), StoreError> {
    let after = after.map(Generation::number);
    let changed = on!(db, write, |c| {
        let change = (sessions::sanitize_after.eq(after), sessions::modified_at.eq(now()));
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn set_sanitize_due(
    db: &Db,
    id: SessionId,
    due: Option<Generation>,
) -> Result<(), StoreError> {
    let due = due.map(Generation::number);
    let changed = on!(db, write, |c| {
        let change = (sessions::sanitize_due.eq(due), sessions::modified_at.eq(now()));
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn change_egress(
    db: &Db,
    id: SessionId,
    spec: SessionSpec,
) -> Result<(), StoreError> {
    let columns = row::EgressColumns::from(&spec).sealed(db, id)?;
    let changed = on!(db, write, |c| {
        let change = (columns, sessions::modified_at.eq(now()));
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn change_labels(
    db: &Db,
    id: SessionId,
    LabelChange { name, tags }: LabelChange,
) -> Result<(), StoreError> {
    let changed = on!(db, write, |c| {
        let name = name.map(|name| sessions::name.eq(name.map(|name| name.to_string())));
        let tags = tags.map(|tags| sessions::tags.eq(row::tags(&tags)));
        let change = (name, tags, sessions::modified_at.eq(now()));
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn change_settings(
    db: &Db,
    id: SessionId,
    settings: BrowserSettings,
) -> Result<(), StoreError> {
    let mut settings = row::settings(&settings);
    db.sealing(|vault| seal_passwords(vault, &id.to_string(), settings.as_mut()))?;
    let changed = on!(db, write, |c| {
        let change = (sessions::settings.eq(settings), sessions::modified_at.eq(now()));
        Ok(diesel::update(live!(id)).set(change).execute(c).await?)
    })
    .await?;
    changed_or_why(db, id, changed).await
}

pub(super) async fn end(db: &Db, id: SessionId, ended: Ended) -> Result<(), StoreError> {
    let Ended { status, failure, at, events } = ended;
    let events = outbox::rows(&events);
    let changed = on!(db, write, |c| {
        let change = (
            sessions::status.eq(status.as_str()),
            sessions::failure.eq(failure.as_ref().map(json)),
            sessions::completed_at.eq(stored(at)),
            row::ClosedColumns::default(),
            sessions::modified_at.eq(now()),
        );
        c.transaction(async move |c| {
            let changed = diesel::update(live!(id)).set(change).execute(c).await?;
            if changed > 0 {
                outbox::put!(c, events);
            }
            Ok(changed)
        })
        .await
    })
    .await?;
    changed_or_why(db, id, changed).await
}

async fn changed_or_why(db: &Db, id: SessionId, changed: usize) -> Result<(), StoreError> {
    if changed > 0 {
        return Ok(());
    }
    let found: i64 = on!(db, write, |c| {
        Ok(sessions::table.filter(sessions::id.eq(id.to_string())).count().get_result(c).await?)
    })
    .await?;
    Err(if found > 0 { StoreError::Final } else { StoreError::Missing })
}

/// Returns the sessions with these ids, of any organization and node.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn of_ids(db: &Db, ids: &[SessionId]) -> Result<Vec<SessionRecord>, DbError> {
    let mut found = Vec::new();
    for some in ids.chunks(MOST_AT_ONCE) {
        let some: Vec<String> = some.iter().map(SessionId::to_string).collect();
        let rows: Vec<Row> = on!(db, read, |c| {
            let query = sessions::table.filter(sessions::id.eq_any(some));
            Ok(query.select(Row::as_select()).load(c).await?)
        })
        .await?;
        found.extend(all::<Row, SessionRecord>(db.opened(rows))?);
    }
    Ok(found)
}

/// Returns at most `most` sessions that have ended on a node, the latest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn ended_lately(db: &Db, node: NodeId, most: i64) -> Result<Vec<SessionRecord>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = sessions::table
            .filter(sessions::node_id.eq(node.to_string()))
            .filter(sessions::status.ne_all(LIVE))
            .order((sessions::completed_at.desc(), sessions::id.desc()))
            .limit(most);
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}
