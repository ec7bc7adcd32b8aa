//! The API keys of the server: lookup, role, and revocation.
//!
//! A key that was found is cached for some seconds, with its role, so that most requests cost no
//! query. A revocation, an expiry or the suspension of the organization disconnects within a second
//! everything that was opened with the key, see [`Revocation`].

mod bearer;
mod guesses;
mod page_token;
mod revocation;
mod skyvern;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::bearer::{Bearer, Caller, KeyError};
use self::guesses::Guesses;
pub use self::page_token::{CLOCK_SKEW, Claims, LIFETIME, PageToken, is_page_token};
pub use self::revocation::Revocation;
use self::revocation::{EVERY, InUse};
use self::skyvern::SkyvernKey;
pub use self::skyvern::SkyvernKeys;
use crate::actors::secrets::{KeySigner, Secrets};
use crate::actors::world::World;
use crate::db::api_keys::{self, SigningKey};
use crate::db::{Db, DbError, leases, organizations};
use crate::domain::hmac::Signer;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::lease::{LeaseHash, TakenLease};
use crate::domain::tenancy::{ApiKey, LastUse};

/// The time for which a cached key counts as valid. A revoked key stays valid that long only while
/// the database is unavailable, see [`Revocation`].
const CACHE_LIFETIME: Duration = Duration::from_secs(10);

/// The maximum number of keys in the cache.
const MOST: usize = 10_000;

/// The number of intervals of [`EVERY`] between two times at which the last uses of keys are
/// stored.
const ROUNDS_BETWEEN_NOTES: u32 = 30;

/// The time in which a session of a former server is back.
const RETURN_WINDOW: Duration = Duration::from_secs(300);

/// Returns the hash under which a key is stored: BLAKE3 in hexadecimal digits. A key is 256 random
/// bits, so a fast hash is as safe as a slow one.
pub fn hash_of(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex().to_string()
}

/// Makes a new key: 256 random bits, written as `gr_` and 43 characters of base64url.
pub fn fresh_key() -> String {
    Secrets::fresh_text("gr_")
}

/// A cached key and its rights.
#[derive(Debug, Clone)]
struct Known {
    bearer: Bearer,
    expires_at: Option<DateTime<Utc>>,
    is_suspended: bool,
    since: Instant,
}

/// The last use of a key, recorded by a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    at: DateTime<Utc>,
    from: Option<IpAddr>,
}

impl Use {
    fn stored(self) -> LastUse {
        LastUse { at: self.at, from: self.from.map(|from| from.to_string()) }
    }
}

/// A lease, and the key that took it.
#[derive(Debug, Clone, Copy)]
struct Taken {
    lease: LeaseHash,
    key: ApiKeyId,
    key_has_ended: bool,
    /// The end of the ticket with which it was taken.
    ends_at: Option<DateTime<Utc>>,
    /// The time from which this server knows of it.
    since: Instant,
}

/// The API keys, with a cache of those that were used lately.
#[derive(Debug, Clone)]
pub struct Keys {
    db: Db,
    world: Arc<World>,
    known: Arc<DashMap<String, Known>>,
    in_use: InUse,
    /// The leases that were taken on this server, by the session that each holds.
    leases: Arc<DashMap<SessionId, Taken>>,
    uses: Arc<DashMap<ApiKeyId, Use>>,
    guesses: Guesses,
    skyvern: Option<Arc<SkyvernKeys>>,
}

impl Keys {
    /// Opens the keys of this database. A key that ends also ends the tickets made with it. Answers
    /// to an address that sends many wrong keys are delayed by `wrong_key_delay`. Keys of a Skyvern
    /// server are accepted as well, if its secret is known.
    pub fn new(
        db: Db,
        world: Arc<World>,
        wrong_key_delay: Duration,
        skyvern: Option<SkyvernKeys>,
    ) -> Self {
        Self {
            db,
            world,
            known: Arc::default(),
            in_use: InUse::default(),
            leases: Arc::default(),
            uses: Arc::default(),
            guesses: Guesses::new(wrong_key_delay),
            skyvern: skyvern.map(Arc::new),
        }
    }

    /// Returns the bearer of a key or of a page's token, sent from an address.
    ///
    /// # Errors
    ///
    /// [`KeyError::Invalid`], [`KeyError::Suspended`]; those of the database.
    pub async fn bearer(&self, key: &str, from: Option<IpAddr>) -> Result<Bearer, KeyError> {
        let Some(known) = self.find(key).await? else {
            self.guesses.wrong(from).await;
            return Err(KeyError::Invalid);
        };
        if known.is_suspended {
            return Err(KeyError::Suspended);
        }
        let (id, now) = (known.bearer.caller.key, self.world.clock.now());
        self.uses.insert(id, Use { at: now, from });
        Ok(known.bearer)
    }

    async fn find(&self, key: &str) -> Result<Option<Known>, DbError> {
        if is_page_token(key) {
            let Some(token) = PageToken::read(key) else { return Ok(None) };
            // A page's token ends with the key that signs it.
            let (organization, key) = (token.claims.organization, token.claims.key);
            return match api_keys::hash_of(&self.db, organization, key).await? {
                Some(hash)
                    if token.holds(&self.world.secrets.for_key(&hash), self.world.clock.now()) =>
                {
                    self.by_hash(hash, None).await
                }
                Some(_) | None => Ok(None),
            };
        }
        let hash = hash_of(key);
        let found = self.by_hash(hash.clone(), Some(key)).await?;
        if found.is_none() && self.take_up_skyvern(key, &hash).await? {
            return self.by_hash(hash, Some(key)).await;
        }
        Ok(found)
    }

    /// Stores a key that a Skyvern server has signed, unless it was stored before and has since
    /// ended. True if it can be looked up now.
    async fn take_up_skyvern(&self, key: &str, hash: &str) -> Result<bool, DbError> {
        let Some(read) = self.skyvern.as_ref().and_then(|keys| keys.read(key)) else {
            return Ok(false);
        };
        let SkyvernKey { organization, expires_at } = read;
        if api_keys::is_known(&self.db, hash).await? {
            return Ok(true); // Known by another request since, or expired.
        }
        if organizations::by_id(&self.db, organization).await?.is_none() {
            return Ok(false);
        }
        let now = self.world.clock.now();
        let id = self.world.mint.mint(now);
        let new = ApiKey::new(id, organization, hash.to_owned(), "Skyvern".to_owned(), now);
        match api_keys::insert(&self.db, &ApiKey { expires_at: Some(expires_at), ..new }).await {
            Ok(()) => info!("a key of Skyvern was used for the first time: it is {id} here"),
            // Another request with the key was faster.
            Err(DbError::Conflict) => {}
            Err(cause) => return Err(cause),
        }
        Ok(true)
    }

    /// Returns the signer of a key of this organization; `None` if the key is not valid.
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
        Ok(hash.map(|hash| self.world.secrets.for_key(&hash)))
    }

    /// Returns the key that signs a webhook of this organization, and its signer. The key is
    /// `wanted` if that is valid, else the newest valid key that was used.
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
            (Caller { organization, key, signer: self.world.secrets.for_key(&hash) }, signer)
        }))
    }

    /// Returns the revocation of a key, for work that outlasts a request.
    pub fn watch(&self, key: ApiKeyId) -> Revocation {
        self.in_use.watch(key)
    }

    /// Remembers the credential with which a session was taken. The next server reads it from the row
    /// that is stored with the occupancy.
    pub fn remember(&self, taken: TakenLease) {
        let TakenLease { session, lease, key, ends_at, .. } = taken;
        let since = Instant::now();
        self.leases.insert(session, Taken { lease, key, key_has_ended: false, ends_at, since });
    }

    /// Reads the leases that were granted by a former server, and ends those whose key has ended since. To be
    /// called before the first request.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`].
    pub async fn restore_leases(&self) -> Result<(), DbError> {
        let taken = leases::live(&self.db).await?;
        taken.iter().for_each(|taken| self.remember(*taken));
        let mut keys: Vec<ApiKeyId> = taken.iter().map(|taken| taken.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let ended = api_keys::revoked_among(&self.db, &keys).await?;
        self.ended(&ended);
        Ok(())
    }

    /// Returns the revocation of the key with which a lease was taken; `None` if that key is
    /// unknown, as after a restart of the server.
    ///
    /// # Errors
    ///
    /// [`KeyError::Invalid`] if the key has ended.
    pub fn watch_lease(
        &self,
        session: SessionId,
        lease: &LeaseHash,
    ) -> Result<Option<Revocation>, KeyError> {
        let taken = self.leases.get(&session).filter(|taken| taken.lease == *lease);
        match taken.map(|taken| *taken) {
            Some(Taken { key_has_ended: true, .. }) => Err(KeyError::Invalid),
            Some(Taken { ends_at: Some(end), .. }) if end <= self.world.clock.now() => {
                Err(KeyError::Invalid)
            }
            Some(Taken { key, .. }) => Ok(Some(self.watch(key))),
            None => Ok(None),
        }
    }

    /// Returns the result of `work`, unless the key is revoked before.
    ///
    /// # Errors
    ///
    /// [`KeyError::Invalid`] if it is.
    pub async fn unless_revoked<T>(
        &self,
        key: ApiKeyId,
        work: impl Future<Output = T>,
    ) -> Result<T, KeyError> {
        let revocation = self.watch(key);
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = revocation.revoked() => Err(KeyError::Invalid),
        }
    }

    /// Disconnects at once everything that was opened with these keys, whose end the database
    /// already has.
    pub fn ended(&self, keys: &[ApiKeyId]) {
        for key in keys {
            self.known.retain(|_, known| known.bearer.caller.key != *key);
            self.world.views.tickets.forget_those_by(*key);
            for mut taken in self.leases.iter_mut().filter(|taken| taken.key == *key) {
                taken.key_has_ended = true;
            }
            self.in_use.revoke(*key);
        }
    }

    /// Polls the keys in use, and disconnects everything that was opened with those that have
    /// ended, until `closing`. From time to time it stores the last uses of keys.
    pub async fn follow_revocations(self, closing: CancellationToken) {
        let (mut failing, mut round) = (false, 0_u32);
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = closing.cancelled() => break,
            }
            self.leases.retain(|session, taken| {
                // The sessions of a former server come back after the start.
                taken.since.elapsed() < RETURN_WINDOW
                    || self.world.views.session_of_anyone(*session).is_some()
            });
            let mut keys = self.in_use.keys();
            let fresh = self.known.iter().filter(|known| known.since.elapsed() < CACHE_LIFETIME);
            keys.extend(fresh.map(|known| known.bearer.caller.key));
            keys.extend(self.world.views.tickets.keys());
            keys.extend(self.leases.iter().filter(|it| !it.key_has_ended).map(|it| it.key));
            keys.sort_unstable();
            keys.dedup();
            match api_keys::revoked_among(&self.db, &keys).await {
                Ok(revoked) => {
                    failing = false;
                    self.ended(&revoked);
                }
                Err(cause) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!("the revoked keys cannot be read, retrying: {cause}");
                    }
                }
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(ROUNDS_BETWEEN_NOTES) {
                self.note_uses().await;
            }
        }
        self.note_uses().await;
    }

    /// Returns the last use of a key, if it is not stored yet.
    pub fn last_use(&self, key: ApiKeyId) -> Option<LastUse> {
        self.uses.get(&key).map(|last| last.stored())
    }

    async fn note_uses(&self) {
        let uses: HashMap<_, _> = self.uses.iter().map(|it| (*it.key(), *it.value())).collect();
        if uses.is_empty() {
            return;
        }
        let rows = uses.iter().map(|(key, last)| (*key, last.stored())).collect();
        match api_keys::note_uses(&self.db, rows).await {
            Ok(()) => self.uses.retain(|key, last| uses.get(key) != Some(last)),
            Err(cause) => warn!("the last use of keys cannot be stored, retrying: {cause}"),
        }
    }

    /// Looks up a key by its hash. `came` is the key itself, if the request sent it and not a
    /// token. Such a key is cached only after its signer has been stored.
    async fn by_hash(&self, hash: String, came: Option<&str>) -> Result<Option<Known>, DbError> {
        let known = self.known.get(&hash).map(|known| known.clone());
        if let Some(known) = &known
            && known.since.elapsed() < CACHE_LIFETIME
            && known.expires_at.is_none_or(|end| end > self.world.clock.now())
        {
            return Ok(Some(known.clone()));
        }
        let Some((key, organization)) = api_keys::by_hash(&self.db, &hash).await? else {
            self.known.remove(&hash);
            return Ok(None);
        };
        let signer = self.world.secrets.for_key(&key.hash);
        let caller = Caller { organization: key.organization, key: key.id, signer };
        let sessions = key.sessions.map(Arc::from);
        let found = Known {
            bearer: Bearer { caller, role: key.role, sessions },
            expires_at: key.expires_at,
            is_suspended: organization.suspended_at.is_some(),
            since: Instant::now(),
        };
        let Some(came) = came else { return Ok(Some(found)) };
        // The signer signs the webhooks of the key's runs; the key itself is not stored.
        let signer = Signer::of(came.as_bytes());
        if known.is_none()
            && let Err(cause) = api_keys::keep_signer(&self.db, key.id, &signer).await
        {
            warn!("the signer of webhooks cannot be stored, retrying: {cause}");
            return Ok(Some(found)); // Not cached, so that the next request tries again.
        }
        if self.known.len() >= MOST {
            self.known.retain(|_, known| known.since.elapsed() < CACHE_LIFETIME);
        }
        self.known.insert(hash, found.clone());
        Ok(Some(found))
    }
}
