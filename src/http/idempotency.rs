//! Requests that a client may repeat, by the header `Idempotency-Key`.
//!
//! The same key with the same request gives the answer of the first one, whatever became of its
//! connection; with another request, or while the first is under way, it is refused. An answer
//! that is an error is not kept: the request may be made again under the same key.

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
use super::validation::{Fields, Part};
use crate::db::idempotency::{Entry, Key, Reservation, Response, complete, forget, reserve};
use crate::db::{Db, DbError};

/// The header that has the key.
const HEADER: &str = "idempotency-key";

/// Tells that an answer was given before.
const REPLAYED: &str = "idempotent-replayed";

/// A request that is still under way after so long ended with the server that had taken it.
const LOST: TimeDelta = TimeDelta::minutes(5);

/// A request that is done once for each key; each time, if it has none.
#[derive(Debug)]
pub struct Once {
    front: Data<Front>,
    key: Option<Key>,
    hash: String,
}

impl Once {
    /// A request to `scope`, such as `POST /v1/workflows`, with this body.
    ///
    /// # Errors
    ///
    /// 422 when the key is not 1 to 255 visible characters.
    pub fn of(
        caller: Caller,
        request: &HttpRequest,
        scope: &str,
        body: &[u8],
        front: &Data<Front>,
    ) -> Result<Self, Problem> {
        let key = match request.headers().get(HEADER) {
            None => None,
            Some(value) => {
                let bytes = value.as_bytes();
                let fits =
                    (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
                let text = String::from_utf8_lossy(bytes).into_owned();
                let mut fields = Fields::of(Part::Header);
                let wrong = "expected 1 to 255 visible ASCII characters";
                fields.require(HEADER, text.as_str(), fits, wrong);
                fields.finish()?;
                let scope = scope.to_owned();
                Some(Key { organization: caller.organization, scope, key: text })
            }
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(request.query_string().as_bytes());
        hasher.update(b"\0");
        hasher.update(body);
        let hash = hasher.finalize().to_hex().to_string();
        Ok(Self { front: front.clone(), key, hash })
    }

    /// The answer to the request: that of `work`, or the one that was given before. With a key,
    /// the work goes on to its end when the client goes away.
    ///
    /// # Errors
    ///
    /// Those of `work`; 409 when the key belongs to another request, or to one under way.
    pub async fn answer<T, W>(self, work: W) -> Result<HttpResponse, ApiError>
    where
        T: Serialize,
        W: Future<Output = Result<T, ApiError>> + 'static,
    {
        let Self { front, key, hash } = self;
        let Some(key) = key else { return Ok(HttpResponse::Ok().json(work.await?)) };
        if let Some(response) = take(&front, &key, &hash).await? {
            let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
            let mut answer = HttpResponse::build(status);
            return Ok(answer.insert_header((REPLAYED, "true")).json(response.body));
        }
        let db = front.db.clone();
        let finished = lasting(async move { finish(&db, &key, work).await }).await?;
        Ok(HttpResponse::Ok().json(finished))
    }
}

/// Takes the key, or gives the answer that is kept under it.
async fn take(front: &Front, key: &Key, hash: &str) -> Result<Option<Response>, ApiError> {
    let entry = match reserve(&front.db, key, hash).await {
        Ok(Reservation::New) => return Ok(None),
        Ok(Reservation::Known(entry)) => entry,
        Err(DbError::Conflict) => return Err(under_way().into()),
        Err(cause @ (DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Corrupt { .. })) => {
            return Err(cause.into());
        }
    };
    let Entry { request_hash, response, created_at } = entry;
    if request_hash != hash {
        let detail = "the Idempotency-Key was used for another request";
        return Err(Problem::new(StatusCode::CONFLICT, "idempotency_key_reused", detail).into());
    }
    if response.is_none() && front.world.clock.now() - created_at > LOST {
        forget(&front.db, key).await?;
        if reserve(&front.db, key, hash).await? == Reservation::New {
            return Ok(None);
        }
    }
    response.map(Some).ok_or_else(|| under_way().into())
}

fn under_way() -> Problem {
    let detail = "a request with this Idempotency-Key is under way";
    Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", detail).retryable()
}

/// Does the work, and keeps its answer; gives the key back if it came to nothing.
async fn finish<T: Serialize>(
    db: &Db,
    key: &Key,
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
        Err(_) => forget(db, key).await,
    };
    if let Err(cause) = kept {
        warn!("what became of a request is not kept under its idempotency key: {cause}");
    }
    worked
}
