//! Delayed refusals: the responses to an organization with many refused requests wait, so that a loop of them
//! costs little.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::time::sleep;
use tracing::warn;

use crate::domain::ids::OrganizationId;

/// The number of refusals within [`WINDOW`] without a delay.
const FREE: u32 = 10;

/// The time for which refusals are counted, from the first one.
const WINDOW: Duration = Duration::from_secs(60);

/// The most delayed responses of an organization. Further ones are sent at once, and their connections are
/// closed.
const MOST_HELD: u32 = 64;

/// The refusals of each organization.
#[derive(Debug, Clone)]
pub struct Refusals {
    delay: Duration,
    known: Arc<DashMap<OrganizationId, Known>>,
}

#[derive(Debug)]
struct Known {
    refused: u32,
    since: Instant,
    held: u32,
}

/// A delayed response, until it is dropped.
#[derive(Debug)]
struct Held {
    known: Arc<DashMap<OrganizationId, Known>>,
    organization: OrganizationId,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut known) = self.known.get_mut(&self.organization) {
            known.held = known.held.saturating_sub(1);
        }
    }
}

impl Refusals {
    /// Creates the counters. Without a delay, responses do not wait.
    pub fn new(delay: Duration) -> Self {
        Self { delay, known: Arc::default() }
    }

    /// Counts a refusal, and waits if there were too many. Returns false if too many responses wait already: the
    /// connection must be closed.
    pub(super) async fn hold(&self, organization: OrganizationId) -> bool {
        if self.delay.is_zero() || self.count(organization) <= FREE {
            return true;
        }
        let Some(held) = self.held(organization) else { return false };
        sleep(self.delay).await;
        drop(held);
        true
    }

    fn count(&self, organization: OrganizationId) -> u32 {
        let new = || Known { refused: 0, since: Instant::now(), held: 0 };
        let mut known = self.known.entry(organization).or_insert_with(new);
        if known.since.elapsed() >= WINDOW {
            known.refused = 0;
            known.since = Instant::now();
        }
        known.refused = known.refused.saturating_add(1);
        if known.refused == FREE + 1 {
            warn!(
                "organization {organization} was refused {FREE} times within a minute for its quotas: \
                 answers to it are delayed from now on"
            );
        }
        known.refused
    }

    fn held(&self, organization: OrganizationId) -> Option<Held> {
        let mut known = self.known.get_mut(&organization)?;
        if known.held >= MOST_HELD {
            return None;
        }
        known.held += 1;
        Some(Held { known: Arc::clone(&self.known), organization })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_wait_after_some_refusals_and_not_more_than_a_bounded_number() {
        let refusals = Refusals::new(Duration::from_secs(1));
        let (red, blue) = (OrganizationId::from(1), OrganizationId::from(2));
        let began = tokio::time::Instant::now();
        for _ in 0..FREE {
            assert!(refusals.hold(red).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(refusals.hold(red).await);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        let held = join_all((0..MOST_HELD + 5).map(|_| refusals.hold(red))).await;
        let at_once = held.iter().filter(|held| !**held).count();
        assert_eq!((at_once, began.elapsed()), (5, Duration::from_secs(2)));
        // A client that leaves frees its place.
        let left = tokio::time::timeout(Duration::from_millis(1), refusals.hold(red)).await;
        assert!(left.is_err());
        assert_eq!(refusals.known.get(&red).unwrap().held, 0);
        assert!(refusals.hold(blue).await);
        assert_eq!(began.elapsed(), Duration::from_millis(2_001));
    }
}
