//! Idempotency keys: a repeated request gets the response of the first one.
//!
//! The id of the resource that a request creates is stored with its key before the work begins.
//! Whatever happens to the work, its response or the server, a repeated request can find the
//! resource by that id.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::values::{Reader, now, one, stored};
use crate::domain::ids::{NodeId, OrganizationId};
use crate::schema::idempotency_keys as keys;

/// The identity of a request: the key that the client chose, within an organization and a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The organization that sends the request.
    pub organization: OrganizationId,
    /// The method and the route of the request.
    pub scope: String,
    /// The key, as the client sent it.
    pub key: String,
}

/// A request that was made with a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The hash of the request: the same key with another hash is an error of the client.
    pub request_hash: String,
    /// The response, once there is one.
    pub response: Option<Response>,
    /// The id of the resource that the request creates.
    pub resource: Option<String>,
    /// The time at which work on the request last began.
    pub created_at: DateTime<Utc>,
}

/// A request on which work is about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The hash of the request.
    pub request_hash: String,
    /// The id of the resource that it creates.
    pub resource: String,
    /// The node that works on it.
    pub node: NodeId,
}

/// A response to be repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    pub body: Value,
}

/// The result of [`reserve`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reservation {
    /// The key is new. The caller must do the work, then call [`complete`], or [`forget`] if the
    /// work failed.
    New,
    /// The key was used before, by this request.
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

/// Reserves the key for a request. Of any number of concurrent calls, exactly one finds the key
/// new.
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
            // The entry was deleted in the meantime.
            None => Err(DbError::Conflict),
        },
        Err(error @ (DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Corrupt { .. })) => {
            Err(error)
        }
    }
}

/// Takes over a request whose work has ended without a response. The request belongs to this node,
/// which must not be working on the key now, or began before `before`, so that its server has
/// ended. Returns true for exactly one of any number of concurrent calls.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn reclaim(
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

/// Stores the response to a request.
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

/// Deletes a request that failed on this node, so that it can be made again.
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

/// Returns the entry of a key, if it was used.
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

/// Deletes the keys of requests from before `before`. Returns their number.
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
