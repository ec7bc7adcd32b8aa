//! Lanes: runs of which each begins when the one before it has ended.
//!
//! Lanes are in memory, as their runs are: runs that a former server had under way have failed.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::ids::OrganizationId;

/// The lanes that have runs in them.
#[derive(Debug, Default)]
pub struct Lanes(DashMap<(OrganizationId, String), Weak<Mutex<()>>>);

/// One lane. Runs enter it in the order of their requests.
#[derive(Debug, Clone)]
pub struct Lane(Arc<Mutex<()>>);

/// The turn of one run; its drop lets the next run begin.
#[derive(Debug)]
pub(super) struct LaneTurn {
    _guard: OwnedMutexGuard<()>,
}

impl Lanes {
    /// The lane of this name in an organization.
    pub fn lane(&self, organization: OrganizationId, name: String) -> Lane {
        self.0.retain(|_, lane| lane.strong_count() > 0);
        let mut known = self.0.entry((organization, name)).or_default();
        if let Some(lane) = known.upgrade() {
            return Lane(lane);
        }
        let lane = Arc::new(Mutex::new(()));
        *known = Arc::downgrade(&lane);
        Lane(lane)
    }
}

impl Lane {
    /// Resolves when every run that entered before has ended.
    pub(super) async fn turn(self) -> LaneTurn {
        LaneTurn { _guard: self.0.lock_owned().await }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn turns_are_taken_in_order_and_empty_lanes_are_forgotten() {
        let lanes = Lanes::default();
        let of = |organization: u64, name: &str| lanes.lane(organization.into(), name.to_owned());
        let first = of(1, "a").turn().await;
        let (mut second, mut third) = (Box::pin(of(1, "a").turn()), Box::pin(of(1, "a").turn()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(of(1, "b").turn().now_or_never().is_some());
        assert!(of(2, "a").turn().now_or_never().is_some());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second.await);
        drop(third.await);
        drop(of(3, "c"));
        assert_eq!(lanes.0.len(), 1);
    }
}
