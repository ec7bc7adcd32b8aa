//! Requests that clients may repeat: the answer to the first is the answer to all.
//!
//! The id of what a request makes is stored with its key before the work begins. Whatever becomes of
//! the work, of its answer, or of the server, a repeated request can look for what has that id.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, now, one, stored};
use crate::domain::ids::{NodeId, OrganizationId};
use crate::schema::idempotency_keys as keys;

/// What names a request: within an organization and a scope, the key that the client chose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose request it is.
    pub organization: OrganizationId,
    /// Which kind of request: the method and the route.
    pub scope: String,
    /// As the client gave it.
    pub key: String,
}

/// A request that has been made with a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// A hash of the request: the same key with another one is a mistake of the client.
    pub request_hash: String,
    /// The answer, once there is one.
    pub response: Option<Response>,
    /// The id of what the request makes.
    pub resource: Option<String>,
    /// When work on the request last began.
    pub created_at: DateTime<Utc>,
}

/// A request that is about to be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// A hash of the request.
    pub request_hash: String,
    /// The id of what it makes.
    pub resource: String,
    /// The node that works on it.
    pub node: NodeId,
}

/// An answer, to be given again.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Value,
}

/// What came of [`reserve`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reservation {
    /// The key is new: do what is asked, then [`complete`], or [`forget`] when it came to nothing.
    New,
    /// The key has been used.
    Known(Entry),
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = keys, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    organization_id: String,
    scope: String,
    key: String,
    request_hash: String,
    response_status: Option<i32>,
    response: Option<Value>,
    created_at: NaiveDateTime,
    resource_id: Option<String>,
    node_id: Option<String>,
}

impl TryFrom<Row> for Entry {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let column = "idempotency_keys.response_status";
        let read = Reader { row: &row.key };
        let response = match row.response_status.map(u16::try_from) {
            None => None,
            Some(status) => Some(Response {
                status: read.some(column, status.ok())?,
                body: row.response.unwrap_or(Value::Null),
            }),
        };
        Ok(Self {
            request_hash: row.request_hash,
            response,
            resource: row.resource_id,
            created_at: row.created_at.and_utc(),
        })
    }
}

/// Takes the key for a request. Of any number at once, one finds it new.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn reserve(db: &Db, key: &Key, claim: &Claim) -> Result<Reservation, DbError> {
    let row = Row {
        organization_id: key.organization.to_string(),
        scope: key.scope.clone(),
        key: key.key.clone(),
        request_hash: claim.request_hash.clone(),
        response_status: None,
        response: None,
        created_at: now(),
        resource_id: Some(claim.resource.clone()),
        node_id: Some(claim.node.to_string()),
    };
    let inserted: Result<(), DbError> = on!(db, write, |c| {
        diesel::insert_into(keys::table).values(row).execute(c).await?;
        Ok(())
    })
    .await;
    match inserted {
        Ok(()) => Ok(Reservation::New),
        Err(DbError::Conflict) => match find(db, key).await? {
            Some(entry) => Ok(Reservation::Known(entry)),
            // It was forgotten meanwhile.
            None => Err(DbError::Conflict),
        },
        Err(error @ (DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Corrupt { .. })) => {
            Err(error)
        }
    }
}

/// Takes a request over whose work has ended without an answer: one of this node, which works on none
/// of this key now, or one that began before `before`, whose server ended with it. Of any number at
/// once, one takes it over.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn take_over(
    db: &Db,
    key: &Key,
    claim: &Claim,
    before: DateTime<Utc>,
) -> Result<bool, DbError> {
    let Key { organization, scope, key } = key.clone();
    let Claim { resource, node, .. } = claim.clone();
    let changed = on!(db, write, |c| {
        let node = node.to_string();
        let entry = keys::table
            .find((organization.to_string(), scope, key))
            .filter(keys::response_status.is_null())
            .filter(keys::node_id.eq(node.clone()).or(keys::created_at.lt(stored(before))));
        let change = (
            keys::resource_id.eq(Some(resource)),
            keys::node_id.eq(Some(node)),
            keys::created_at.eq(now()),
        );
        Ok(diesel::update(entry).set(change).execute(c).await?)
    })
    .await?;
    Ok(changed > 0)
}

/// The request has been answered.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn complete(db: &Db, key: &Key, response: Response) -> Result<(), DbError> {
    let Key { organization, scope, key } = key.clone();
    on!(db, write, |c| {
        let entry = keys::table.find((organization.to_string(), scope, key));
        let change = (
            keys::response_status.eq(Some(i32::from(response.status))),
            keys::response.eq(Some(response.body)),
        );
        diesel::update(entry).set(change).execute(c).await?;
        Ok(())
    })
    .await
}

/// The request, as this node has it, came to nothing and may be made again.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn forget(db: &Db, key: &Key, node: NodeId) -> Result<(), DbError> {
    let Key { organization, scope, key } = key.clone();
    on!(db, write, |c| {
        let entry = keys::table
            .find((organization.to_string(), scope, key))
            .filter(keys::node_id.eq(node.to_string()))
            .filter(keys::response_status.is_null());
        diesel::delete(entry).execute(c).await?;
        Ok(())
    })
    .await
}

/// What is known of a key.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn find(db: &Db, key: &Key) -> Result<Option<Entry>, DbError> {
    let Key { organization, scope, key } = key.clone();
    let row: Option<Row> = on!(db, read, |c| {
        let query = keys::table.find((organization.to_string(), scope, key));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// Forgets the keys of requests that came before `before`; how many there were.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn expire(db: &Db, before: DateTime<Utc>) -> Result<usize, DbError> {
    on!(db, write, |c| {
        let old = keys::table.filter(keys::created_at.lt(stored(before)));
        Ok(diesel::delete(old).execute(c).await?)
    })
    .await
}
