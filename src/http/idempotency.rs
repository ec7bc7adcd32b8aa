//! Safe retries of requests, by the header `Idempotency-Key`.
//!
//! A retry with the same key and the same request gets the first answer, even if the first
//! connection broke. With another request, or while the first one runs, it is rejected.
//!
//! The id of the resource that a request makes is chosen before the work begins, and stored with
//! the key. An outcome may be unknown, because the database did not answer or the server ended. A
//! retry then finds out whether the resource was made, and otherwise does the work under the same
//! id. The key is freed only by a rejection, which is certain to have changed nothing.

use std::future::Future;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

use super::caller::Caller;
use super::error::ApiError;
use super::front::Front;
use super::lasting::lasting;
use super::problem::Problem;
pub use super::under_way::UnderWay;
use super::validation::{Fields, RequestPart};
use crate::db::idempotency::{
    self, Claim, Entry, Key, Reservation, Response, complete, forget, reserve,
};
use crate::db::{Db, DbError};
use crate::domain::ids::{Id, NodeId};

/// The name of the header with the key.
const HEADER: &str = "idempotency-key";

/// The name of the header that marks a replayed answer.
const REPLAYED: &str = "idempotent-replayed";

/// The age after which an unfinished request of another node counts as lost: that node's server has
/// ended.
const LOST: TimeDelta = TimeDelta::minutes(5);

/// Returns the key that a request carries, if any.
///
/// # Errors
///
/// 422 when the key is not 1 to 255 visible ASCII characters, or there are several.
pub fn key_of(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let fits = (1..=255).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_graphic)
        && values.next().is_none();
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Fields::of(RequestPart::Header);
    let wrong = "expected one key of 1 to 255 visible ASCII characters";
    fields.require(HEADER, text.as_str(), fits, wrong);
    fields.finish()?;
    Ok(Some(text))
}

/// The resource that a request with a key makes.
#[derive(Debug, Clone, Copy)]
pub struct Named<T> {
    /// The id that the resource has or gets.
    pub id: T,
    /// True if the resource may exist already.
    pub again: bool,
}

/// A request that is carried out once for each key; without a key, each time.
#[derive(Debug)]
pub struct Once {
    front: Data<Front>,
    key: Option<Key>,
    hash: String,
}

impl Once {
    /// Reads the request to `scope`, such as `POST /v1/workflows`, with this body.
    ///
    /// # Errors
    ///
    /// Those of [`key_of`].
    pub fn of(
        caller: Caller,
        request: &HttpRequest,
        scope: &str,
        body: &[u8],
        front: &Data<Front>,
    ) -> Result<Self, Problem> {
        let (organization, scope) = (caller.organization, scope.to_owned());
        let key = key_of(request)?.map(|key| Key { organization, scope, key });
        let mut hasher = blake3::Hasher::new();
        hasher.update(request.query_string().as_bytes());
        hasher.update(b"\0");
        hasher.update(body);
        let hash = hasher.finalize().to_hex().to_string();
        Ok(Self { front: front.clone(), key, hash })
    }

    /// Returns the answer to the request: that of `work`, or the stored one. With a key, the work
    /// continues to its end when the client disconnects. It makes its resource under the given id;
    /// if a resource with that id exists already, that is its answer.
    ///
    /// # Errors
    ///
    /// Those of `work`; 409 when the key belongs to another request, or to one that is being
    /// handled.
    pub async fn answer<I, T, F, W>(self, work: F) -> Result<HttpResponse, ApiError>
    where
        I: Id + 'static,
        T: Serialize,
        F: FnOnce(Option<Named<I>>) -> W + 'static,
        W: Future<Output = Result<T, ApiError>> + 'static,
    {
        let Self { front, key, hash } = self;
        let Some(key) = key else { return Ok(HttpResponse::Ok().json(work(None).await?)) };
        let entered = front.under_way.enter(&key).ok_or_else(under_way)?;
        let (db, node) = (front.db.clone(), front.world.node);
        // The key is reserved inside as well, so that a client that disconnects early leaves
        // nothing behind.
        let finished = lasting(async move {
            let _entered = entered;
            match take::<I>(&front, &key, hash).await? {
                Taken::Answered(response) => Ok(Finished::Before(response)),
                Taken::Named(named) => {
                    let again = named.again;
                    let body = finish(&db, &key, node, work(Some(named))).await?;
                    Ok(Finished::Now { body, again })
                }
            }
        });
        Ok(match finished.await? {
            Finished::Now { body, again: false } => HttpResponse::Ok().json(body),
            Finished::Now { body, again: true } => {
                HttpResponse::Ok().insert_header((REPLAYED, "true")).json(body)
            }
            Finished::Before(Response { status, body }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                HttpResponse::build(status).insert_header((REPLAYED, "true")).json(body)
            }
        })
    }
}

enum Finished {
    Now { body: Value, again: bool },
    Before(Response),
}

enum Taken<I> {
    /// The answer that is stored under the key.
    Answered(Response),
    /// The work has to be done, under this id.
    Named(Named<I>),
}

/// Reserves the key, or returns the answer that is stored under it.
async fn take<I: Id>(front: &Front, key: &Key, request_hash: String) -> Result<Taken<I>, ApiError> {
    let now = front.world.clock.now();
    let id: I = front.world.mint.mint(now);
    let claim = Claim { request_hash, resource: id.to_string(), node: front.world.node };
    let entry = match reserve(&front.db, key, &claim).await {
        Ok(Reservation::New) => return Ok(Taken::Named(Named { id, again: false })),
        Ok(Reservation::Known(entry)) => entry,
        Err(DbError::Conflict) => return Err(under_way().into()),
        Err(cause) => return Err(cause.into()),
    };
    let Entry { request_hash, response, resource, .. } = entry;
    if request_hash != claim.request_hash {
        let detail = "the Idempotency-Key was used for another request";
        return Err(Problem::new(StatusCode::CONFLICT, "idempotency_key_reused", detail).into());
    }
    if let Some(response) = response {
        return Ok(Taken::Answered(response));
    }
    // This server is not handling it, so its former handler ended without an answer.
    let id = resource.and_then(|known| known.parse().ok()).unwrap_or(id);
    let claim = Claim { resource: id.to_string(), ..claim };
    if idempotency::reclaim(&front.db, key, &claim, now - LOST).await? {
        return Ok(Taken::Named(Named { id, again: true }));
    }
    Err(under_way().into())
}

fn under_way() -> Problem {
    let detail = "a request with this Idempotency-Key is in progress";
    Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", detail).retryable()
}

/// Does the work and stores its answer. Frees the key if the work certainly changed nothing.
async fn finish<T: Serialize>(
    db: &Db,
    key: &Key,
    node: NodeId,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<Value, ApiError> {
    let worked = work.await.and_then(|answer| {
        serde_json::to_value(answer).map_err(|cause| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(status, "internal", cause.to_string()).into()
        })
    });
    let kept = match &worked {
        Ok(body) => complete(db, key, Response { status: 200, body: body.clone() }).await,
        Err(cause) if cause.is_refusal() => forget(db, key, node).await,
        Err(_) => Ok(()), // The outcome is unknown; a retry finds it.
    };
    if let Err(cause) = kept {
        warn!("the outcome of a request cannot be stored under its idempotency key: {cause}");
    }
    worked
}
