//! Quotas of organizations: the limits, the counters in memory, and the decision.
//!
//! Sessions and runs are counted in the database, in the transaction that adds one, so that limits hold
//! over restarts and over several nodes. Connections, waiters and requests are counted in memory, for
//! each server: a [`QuotaPermit`] counts until it is dropped. Network traffic is measured every few seconds,
//! see `following.rs`.

mod following;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tracing::warn;

pub use self::following::follow;
pub use self::settings::Settings;
use super::clock::Clock;
use super::traffic::Traffic;
use super::views::Views;
use crate::db::store::{Full, Store};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::quota::{Limits, MIB, MINUTE, Quota, QuotaExceeded, Use, next_midnight};

/// The time after which stored files are added up again.
const ADD_UP_AFTER: Duration = Duration::from_secs(10);

/// The quotas of all organizations. Clones share them.
#[derive(Debug, Clone)]
pub struct Quotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    defaults: Limits,
    own: RwLock<OwnLimits>,
    /// The places that are taken.
    places: Arc<DashMap<(OrganizationId, Quota), u64>>,
    /// The bytes of stored files, of organizations that are limited, and the time at which they were
    /// added up.
    stored: DashMap<OrganizationId, (u64, Instant)>,
    /// The refusals for [`Quota::CreatesPerMinute`], which hold until their minute is over.
    too_fast: DashMap<OrganizationId, QuotaExceeded>,
    /// The network traffic of a day.
    traffic: RwLock<DayTraffic>,
    /// The sessions whose traffic is counted, until their end is.
    metered: Mutex<HashMap<SessionId, Metered>>,
    /// Notified when limits have changed here.
    changed: Notify,
}

/// The limits that operators have set.
#[derive(Debug, Default)]
struct OwnLimits {
    limits: HashMap<OrganizationId, Limits>,
    /// Rises with every change on this server.
    revision: u64,
}

#[derive(Debug, Default)]
struct DayTraffic {
    day: NaiveDate,
    bytes: HashMap<OrganizationId, u64>,
}

/// The counters of a session's network, and their stored values.
#[derive(Debug)]
struct Metered {
    organization: OrganizationId,
    traffic: Traffic,
    noted: Option<u64>,
}

/// A place within a quota. The drop frees it.
#[derive(Debug)]
pub struct QuotaPermit {
    places: Arc<DashMap<(OrganizationId, Quota), u64>>,
    of: (OrganizationId, Quota),
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        self.places.remove_if_mut(&self.of, |_, taken| {
            *taken = taken.saturating_sub(1);
            *taken == 0
        });
    }
}

impl Quotas {
    /// No organization has limits of its own yet.
    pub fn new(settings: &Settings, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            defaults: settings.limits(),
            own: RwLock::default(),
            places: Arc::default(),
            stored: DashMap::new(),
            too_fast: DashMap::new(),
            traffic: RwLock::default(),
            metered: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// The limits of an organization.
    pub fn limits(&self, organization: OrganizationId) -> Limits {
        match self.0.own.read().limits.get(&organization) {
            Some(own) => own.or(&self.0.defaults),
            None => self.0.defaults.clone(),
        }
    }

    /// One limit of an organization.
    pub fn limit(&self, organization: OrganizationId, quota: Quota) -> Option<u64> {
        let own = self.0.own.read().limits.get(&organization).and_then(|own| own.get(quota));
        own.or_else(|| self.0.defaults.get(quota))
    }

    /// Applies the limits that an operator has set for an organization. They hold at once for new work.
    pub fn set_limits(&self, organization: OrganizationId, own: Limits) {
        let mut all = self.0.own.write();
        all.limits.insert(organization, own);
        all.revision = all.revision.wrapping_add(1);
        drop(all);
        self.0.changed.notify_one();
    }

    /// Takes a place within a quota that is counted in memory.
    ///
    /// # Errors
    ///
    /// Fails when the limit is reached; nothing is counted then.
    pub fn take(
        &self,
        organization: OrganizationId,
        quota: Quota,
    ) -> Result<QuotaPermit, QuotaExceeded> {
        let (limit, of) = (self.limit(organization, quota), (organization, quota));
        // The entry is locked until the place is counted, so that no two take the last one.
        let mut taken = self.0.places.entry(of).or_insert(0);
        if let Some(limit) = limit.filter(|limit| *taken >= *limit) {
            let used = *taken;
            drop(taken);
            self.0.places.remove_if(&of, |_, taken| *taken == 0);
            return Err(self.exceeded(organization, quota, limit, used));
        }
        *taken += 1;
        Ok(QuotaPermit { places: Arc::clone(&self.0.places), of })
    }

    /// Refuses another session, based on the state in memory. The database decides; this check saves queries.
    ///
    /// # Errors
    ///
    /// Fails when a limit is reached.
    pub fn check_session(
        &self,
        views: &Views,
        organization: OrganizationId,
    ) -> Result<(), QuotaExceeded> {
        self.check_egress(organization)?;
        self.check(organization, Quota::Sessions, || views.count_sessions(organization))?;
        let now = self.0.clock.now();
        let limit = self.limit(organization, Quota::CreatesPerMinute);
        let holds = |refusal: &QuotaExceeded| {
            limit == Some(refusal.limit) && refusal.resets_at.is_some_and(|at| at > now)
        };
        let refusal =
            self.0.too_fast.get(&organization).filter(|it| holds(it)).map(|it| it.clone());
        refusal.map_or(Ok(()), |refusal| Err(QuotaExceeded { at: now, ..refusal }))
    }

    /// Refuses another run, based on the state in memory, as for sessions.
    ///
    /// # Errors
    ///
    /// Fails when the limit is reached.
    pub fn check_run(
        &self,
        views: &Views,
        organization: OrganizationId,
    ) -> Result<(), QuotaExceeded> {
        self.check(organization, Quota::Runs, || views.count_runs(organization))
    }

    /// Refuses if `used`, counted elsewhere, has reached the limit.
    fn check(
        &self,
        organization: OrganizationId,
        quota: Quota,
        used: impl FnOnce() -> usize,
    ) -> Result<(), QuotaExceeded> {
        let Some(limit) = self.limit(organization, quota) else { return Ok(()) };
        let used = u64::try_from(used()).unwrap_or(u64::MAX);
        if used >= limit {
            return Err(self.exceeded(organization, quota, limit, used));
        }
        Ok(())
    }

    /// Refuses if the network traffic of an organization has reached the limit of the day.
    ///
    /// # Errors
    ///
    /// Fails when the limit is reached.
    pub fn check_egress(&self, organization: OrganizationId) -> Result<(), QuotaExceeded> {
        self.check_bytes(organization, Quota::EgressMibPerDay, self.traffic_of(organization))
    }

    /// Refuses if the stored files of an organization have reached the limit. They are added up every ten
    /// seconds; meanwhile those are added that this server stores.
    ///
    /// # Errors
    ///
    /// Fails when the limit is reached. Without an answer of the database nothing is refused.
    pub async fn check_storage(
        &self,
        store: &dyn Store,
        organization: OrganizationId,
    ) -> Result<(), QuotaExceeded> {
        if self.limit(organization, Quota::StorageMib).is_none() {
            return Ok(());
        }
        let known = self.0.stored.get(&organization).map(|known| *known);
        let known = known.filter(|(_, since)| since.elapsed() < ADD_UP_AFTER);
        let bytes = match known {
            Some((bytes, _)) => bytes,
            None => match store.stored_bytes(organization).await {
                Ok(bytes) => {
                    self.0.stored.insert(organization, (bytes, Instant::now()));
                    bytes
                }
                Err(cause) => {
                    warn!("the stored files of {organization} are not known: {cause}");
                    return Ok(());
                }
            },
        };
        self.check_bytes(organization, Quota::StorageMib, bytes)
    }

    fn check_bytes(
        &self,
        organization: OrganizationId,
        quota: Quota,
        bytes: u64,
    ) -> Result<(), QuotaExceeded> {
        let Some(limit) = self.limit(organization, quota) else { return Ok(()) };
        if bytes < limit.saturating_mul(MIB) {
            return Ok(());
        }
        Err(self.exceeded(organization, quota, limit, bytes.div_ceil(MIB)))
    }

    /// The refusal for a row that was not added.
    pub fn full(&self, organization: OrganizationId, full: Full) -> QuotaExceeded {
        let Full { quota, limit, used, oldest } = full;
        let refusal = self.exceeded(organization, quota, limit, used);
        let resets_at = resets_at(quota, refusal.at, oldest);
        let refusal = QuotaExceeded { resets_at, ..refusal };
        if quota == Quota::CreatesPerMinute {
            self.0.too_fast.insert(organization, refusal.clone());
        }
        refusal
    }

    /// The use of a quota. `stored` is the use that is counted in the database, and the time of the oldest
    /// counted row.
    pub fn use_of(
        &self,
        organization: OrganizationId,
        quota: Quota,
        stored: (u64, Option<DateTime<Utc>>),
    ) -> Use {
        let now = self.0.clock.now();
        let (stored, oldest) = stored;
        let used = match quota {
            Quota::Sessions | Quota::CreatesPerMinute | Quota::Runs | Quota::StorageMib => stored,
            Quota::Waiters
            | Quota::Viewers
            | Quota::DevtoolsConnections
            | Quota::EventStreams
            | Quota::Requests => {
                self.0.places.get(&(organization, quota)).map_or(0, |taken| *taken)
            }
            Quota::EgressMibPerDay => self.traffic_of(organization).div_ceil(MIB),
        };
        let limit = self.limit(organization, quota);
        Use { quota, limit, used, resets_at: resets_at(quota, now, oldest) }
    }

    /// Adds a stored file.
    pub fn add_stored(&self, organization: OrganizationId, bytes: i64) {
        if let Some(mut stored) = self.0.stored.get_mut(&organization) {
            stored.0 = stored.0.saturating_add(u64::try_from(bytes).unwrap_or_default());
        }
    }

    /// Counts the traffic of a session until its end.
    pub(super) fn meter(&self, organization: OrganizationId, session: SessionId, traffic: Traffic) {
        let mut metered = self.0.metered.lock();
        let noted = metered.remove(&session).and_then(|former| former.noted);
        metered.insert(session, Metered { organization, traffic, noted });
    }

    /// The traffic of an organization today.
    fn traffic_of(&self, organization: OrganizationId) -> u64 {
        let traffic = self.0.traffic.read();
        let is_today = traffic.day == self.0.clock.now().date_naive();
        if is_today { traffic.bytes.get(&organization).copied().unwrap_or(0) } else { 0 }
    }

    fn exceeded(
        &self,
        organization: OrganizationId,
        quota: Quota,
        limit: u64,
        used: u64,
    ) -> QuotaExceeded {
        let at = self.0.clock.now();
        let resets_at = resets_at(quota, at, None);
        QuotaExceeded { organization, quota, limit, used, at, resets_at }
    }
}

/// The time at which the use of a quota falls by itself.
fn resets_at(
    quota: Quota,
    now: DateTime<Utc>,
    oldest: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    match quota {
        Quota::CreatesPerMinute => {
            Some(oldest.map_or(now, |oldest| oldest.max(now - MINUTE)) + MINUTE)
        }
        Quota::EgressMibPerDay => next_midnight(now),
        Quota::Sessions
        | Quota::Runs
        | Quota::Waiters
        | Quota::Viewers
        | Quota::DevtoolsConnections
        | Quota::EventStreams
        | Quota::StorageMib
        | Quota::Requests => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(viewers: u64) -> Quotas {
        let settings = Settings { viewers: Some(viewers), ..Settings::default() };
        Quotas::new(&settings, Clock::start())
    }

    #[tokio::test]
    async fn places_are_as_many_as_the_limit_and_free_again_when_dropped() {
        let (quotas, red, blue) = (quotas(2), OrganizationId::from(1), OrganizationId::from(2));
        let take = |organization| quotas.take(organization, Quota::Viewers);
        let (first, _second) = (take(red).unwrap(), take(red).unwrap());
        let refusal = take(red).unwrap_err();
        assert_eq!((refusal.used, refusal.limit, refusal.organization), (2, 2, red));
        let _other = take(blue).unwrap();
        drop(first);
        drop(take(red).unwrap());
        let used = |organization| quotas.use_of(organization, Quota::Viewers, (0, None)).used;
        assert_eq!((used(red), used(blue)), (1, 1));

        let mut own = Limits::default();
        own.set(Quota::Viewers, Some(0));
        quotas.set_limits(blue, own);
        assert_eq!(take(blue).unwrap_err().limit, 0);
        quotas.set_limits(blue, Limits::default());
        assert!(take(blue).is_ok());
        // Entries without a place are removed.
        assert_eq!(quotas.0.places.len(), 2);
    }

    #[test]
    fn a_minute_is_over_when_its_oldest_session_is_a_minute_old() {
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        let resets = |oldest| resets_at(Quota::CreatesPerMinute, now, oldest).unwrap().timestamp();
        assert_eq!(resets(DateTime::from_timestamp(980, 0)), 1_040);
        assert_eq!(resets(DateTime::from_timestamp(900, 0)), 1_000);
        assert_eq!(resets(None), 1_060);
        assert_eq!(resets_at(Quota::Sessions, now, None), None);
    }
}
