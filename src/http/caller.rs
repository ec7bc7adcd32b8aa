//! Who calls, proven by a key.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use chrono::{DateTime, Utc};
use dashmap::DashMap;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::body::parse_query;
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use super::revocation::{EVERY, InUse, Revocation};
use super::ui_session::{Token, is_one};
use crate::actors::clock::Clock;
use crate::actors::secrets::{KeySigner, Secrets};
use crate::actors::session::Visit;
use crate::db::api_keys::{self, SigningKey};
use crate::db::{Db, DbError};
use crate::domain::control::{ClientId, Credential};
use crate::domain::hmac::Signer;
use crate::domain::ids::{ApiKeyId, OrganizationId};
use crate::domain::rfb::Role;

/// How long a key that was found is taken for valid; a revoked one lives that much longer only while
/// the database is away, see [`revocation`](super::revocation).
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
    secrets: Secrets,
    clock: Clock,
    known: Arc<DashMap<String, (Caller, Instant)>>,
    in_use: InUse,
}

impl Keys {
    /// Those of this database.
    pub fn new(db: Db, secrets: Secrets, clock: Clock) -> Self {
        Self { db, secrets, clock, known: Arc::default(), in_use: InUse::default() }
    }

    /// Whose key this is, or whose page's token; none if nobody's.
    pub async fn caller(&self, key: &str) -> Result<Option<Caller>, DbError> {
        if is_one(key) {
            let Some(token) = Token::read(key) else { return Ok(None) };
            // A token ends with its key, on whose behalf it is signed.
            let (organization, key) = (token.claims.organization, token.claims.key);
            return match api_keys::hash_of(&self.db, organization, key).await? {
                Some(hash) if token.holds(&self.secrets.for_key(&hash), self.clock.now()) => {
                    self.by_hash(hash, None).await
                }
                Some(_) | None => Ok(None),
            };
        }
        self.by_hash(hash_of(key), Some(key)).await
    }

    /// The signer of a key of this organization; none if the key is not valid.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`].
    pub async fn signer(
        &self,
        organization: OrganizationId,
        key: ApiKeyId,
    ) -> Result<Option<KeySigner>, DbError> {
        let hash = api_keys::hash_of(&self.db, organization, key).await?;
        Ok(hash.map(|hash| self.secrets.for_key(&hash)))
    }

    /// The key that signs a webhook for this organization, `wanted` if that is valid and else the newest
    /// that is valid and was used; and what signs as that key does.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`].
    pub async fn of_webhook(
        &self,
        organization: OrganizationId,
        wanted: Option<ApiKeyId>,
    ) -> Result<Option<(Caller, Signer)>, DbError> {
        let found = api_keys::signing(&self.db, organization, wanted).await?;
        Ok(found.map(|SigningKey { id: key, hash, signer }| {
            (Caller { organization, key, signer: self.secrets.for_key(&hash) }, signer)
        }))
    }

    /// The revocation of a key, for what lasts longer than a request.
    pub fn watch(&self, key: ApiKeyId) -> Revocation {
        self.in_use.watch(key)
    }

    /// Resolves when the key that a credential is, if it is one, has been revoked.
    pub async fn revoked_of(&self, credential: &Credential) {
        match credential {
            Credential::Key(key) => self.watch(*key).revoked().await,
            Credential::Ticket(_) => std::future::pending().await,
        }
    }

    /// What `work` gives, unless the key that a credential is was revoked before.
    ///
    /// # Errors
    ///
    /// The answer to an invalid key.
    pub async fn unless_revoked<T>(
        &self,
        credential: &Credential,
        work: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.revoked_of(credential) => Err(refused()),
        }
    }

    /// Looks up the keys in use, and ends what was opened with those that were revoked, until
    /// `closing`.
    pub async fn follow_revocations(self, closing: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = closing.cancelled() => return,
            }
            let mut keys = self.in_use.keys();
            let fresh = self.known.iter().filter(|entry| entry.1.elapsed() < REMEMBERED);
            keys.extend(fresh.map(|entry| entry.0.key));
            keys.sort_unstable();
            keys.dedup();
            match api_keys::revoked_among(&self.db, &keys).await {
                Ok(revoked) => {
                    failing = false;
                    for key in revoked {
                        self.known.retain(|_, (caller, _)| caller.key != key);
                        self.in_use.revoke(key);
                    }
                }
                Err(cause) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!("which keys were revoked is not known: {cause}");
                    }
                }
            }
        }
    }

    /// Whose key has this hash. A key that came itself, and not a token made with it, is remembered
    /// once what signs with it is kept.
    async fn by_hash(&self, hash: String, came: Option<&str>) -> Result<Option<Caller>, DbError> {
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
        let signer = self.secrets.for_key(&key.hash);
        let caller = Caller { organization: key.organization, key: key.id, signer };
        let Some(came) = came else { return Ok(Some(caller)) };
        // With it webhooks of its runs are signed; the key itself is not kept.
        let signer = Signer::of(came.as_bytes());
        if known.is_none()
            && let Err(cause) = api_keys::keep_signer(&self.db, key.id, &signer).await
        {
            warn!("what signs webhooks is kept later: {cause}");
            return Ok(Some(caller)); // And not remembered, so that it is tried again.
        }
        if self.known.len() >= MOST {
            self.known.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        }
        self.known.insert(hash, (caller, Instant::now()));
        Ok(Some(caller))
    }
}

/// Who calls: the organization whose key the request carries, in the header `x-api-key`, or for
/// WebSockets and pictures, which cannot set headers, as `apikey` in the query. A page's token may
/// also come as `Authorization: Bearer …`, and as `token` in the query.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Whose key it is.
    pub organization: OrganizationId,
    /// Which key.
    pub key: ApiKeyId,
    /// Signs on behalf of the key.
    pub signer: KeySigner,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Credentials {
    apikey: Option<String>,
    token: Option<String>,
    ticket: Option<String>,
    client_id: Option<String>,
}

/// A header of the request, or what its query says instead.
fn given(
    request: &HttpRequest,
    header: &str,
    queried: fn(Credentials) -> Option<String>,
) -> Option<String> {
    let header = request.headers().get(header).and_then(|value| value.to_str().ok());
    match header {
        Some(value) => Some(value.to_owned()),
        None => queried(parse_query(request.query_string()).ok()?),
    }
}

/// The key that a request carries.
pub(super) fn key_of(request: &HttpRequest) -> Option<String> {
    let bearer = |text: &str| text.strip_prefix("Bearer ").unwrap_or(text).to_owned();
    given(request, "x-api-key", |query| query.apikey)
        .or_else(|| given(request, "authorization", |query| query.token).map(|it| bearer(&it)))
}

/// 403, as the compatible API has it; never 401.
pub fn refused() -> Problem {
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

/// Who comes to see one session: whoever has a key of its organization, or a ticket for it.
///
/// A ticket comes in the header `x-greenroom-ticket` or as `ticket` in the query; the page that
/// brings it names itself in the header `x-greenroom-client` or as `client_id` in the query. A
/// key comes before a ticket. The path of the request must name the session as `id`.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Whose session it may see.
    pub organization: OrganizationId,
    /// Who, and in which role.
    pub visit: Visit,
    /// When a ticket ends.
    pub until: Option<DateTime<Utc>>,
    /// The caller, unless it comes with a ticket.
    pub caller: Option<Caller>,
}

impl FromRequest for Visitor {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let client = given(request, "x-greenroom-client", |query| query.client_id);
        let client = client.and_then(|text| text.parse::<ClientId>().ok());
        if key_of(request).is_none() {
            return Box::pin(std::future::ready(by_ticket(request, client).ok_or_else(refused)));
        }
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            let caller = caller.await?;
            let (organization, credential) = (caller.organization, Credential::Key(caller.key));
            let visit = Visit { credential, role: Role::Control, label: None, client };
            Ok(Self { organization, visit, until: None, caller: Some(caller) })
        })
    }
}

fn by_ticket(request: &HttpRequest, client: Option<ClientId>) -> Option<Visitor> {
    let front = request.app_data::<web::Data<Front>>()?;
    let secret = given(request, "x-greenroom-ticket", |query| query.ticket)?;
    let session = request.match_info().get("id")?.parse().ok()?;
    let world = &front.world;
    let ticket = world.views.tickets.opened(session, &secret, world.clock.now())?;
    if !ticket.admits(client.as_ref()) {
        return None;
    }
    let credential = Credential::Ticket(ticket.id);
    Some(Visitor {
        organization: ticket.organization,
        visit: Visit { credential, role: ticket.role, label: ticket.label, client },
        until: Some(ticket.expires_at),
        caller: None,
    })
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
