//! Who calls, proven by a key.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use dashmap::DashMap;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::body::parse_query;
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use crate::db::{Db, DbError, api_keys};
use crate::domain::ids::{ApiKeyId, OrganizationId};

/// How long a key that was found is taken for valid; a revoked one lives that much longer.
const REMEMBERED: Duration = Duration::from_secs(10);

/// How many keys are remembered at most.
const MOST: usize = 10_000;

/// What is stored of a key: BLAKE3 in hexadecimal digits. A key is 256 random bits, so that a
/// fast hash is as good as a slow one.
pub fn hash_of(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex().to_string()
}

/// The API keys, of which those that were used lately are remembered.
#[derive(Debug, Clone)]
pub struct Keys {
    db: Db,
    known: Arc<DashMap<String, (Caller, Instant)>>,
}

impl Keys {
    /// Those of this database.
    pub fn new(db: Db) -> Self {
        Self { db, known: Arc::default() }
    }

    /// Whose key this is; none if nobody's.
    pub async fn caller(&self, key: &str) -> Result<Option<Caller>, DbError> {
        let hash = hash_of(key);
        let known = self.known.get(&hash).map(|known| *known);
        if let Some((caller, since)) = known
            && since.elapsed() < REMEMBERED
        {
            return Ok(Some(caller));
        }
        let Some((key, _)) = api_keys::by_hash(&self.db, &hash).await? else {
            self.known.remove(&hash);
            return Ok(None);
        };
        let caller = Caller { organization: key.organization, key: key.id };
        if self.known.len() >= MOST {
            self.known.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        }
        self.known.insert(hash, (caller, Instant::now()));
        Ok(Some(caller))
    }
}

/// Who calls: the organization whose key the request carries, in the header `x-api-key`, or for
/// WebSockets and pictures, which cannot set headers, as `apikey` in the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whose key it is.
    pub organization: OrganizationId,
    /// Which key.
    pub key: ApiKeyId,
}

#[derive(Debug, Default, Deserialize)]
struct Credentials {
    apikey: Option<String>,
}

/// The key that a request carries.
fn key_of(request: &HttpRequest) -> Option<String> {
    let header = request.headers().get("x-api-key").and_then(|value| value.to_str().ok());
    match header {
        Some(key) => Some(key.to_owned()),
        None => parse_query::<Credentials>(request.query_string()).ok()?.apikey,
    }
}

/// 403, as the compatible API has it; never 401.
fn refused() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "credentials_invalid", "Invalid credentials")
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let front = request.app_data::<web::Data<Front>>().cloned();
        let key = key_of(request);
        Box::pin(async move {
            let (Some(front), Some(key)) = (front, key) else { return Err(refused()) };
            front.keys.caller(&key).await.map_err(ApiError::from)?.ok_or_else(refused)
        })
    }
}

/// An operator: the request carries the operator key in the header `x-api-key`.
#[derive(Debug, Clone, Copy)]
pub struct Operator;

impl FromRequest for Operator {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let front = request.app_data::<web::Data<Front>>();
        let expected = front.and_then(|front| front.operator_key.as_ref());
        let same = match (expected, key_of(request)) {
            (Some(expected), Some(key)) => {
                hash_of(expected.expose()).as_bytes().ct_eq(hash_of(&key).as_bytes()).into()
            }
            (Some(_) | None, _) => false,
        };
        std::future::ready(if same { Ok(Self) } else { Err(refused()) })
    }
}
