//! Room that organizations share: each may have a part of it, so that none takes it from all others.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::ids::OrganizationId;

/// Room of a number of units, and the parts of organizations in it.
#[derive(Debug)]
pub struct Shares {
    all: Arc<Semaphore>,
    /// The units that one organization may have.
    share: usize,
    taken: DashMap<OrganizationId, Arc<Semaphore>>,
}

/// Units that are free again when this is dropped.
#[derive(Debug)]
pub struct Taken {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Shares {
    /// Creates room for `all` units, of which one organization may have `share`.
    pub fn new(all: usize, share: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), share, taken: DashMap::new() }
    }

    /// Takes units for an organization; none if there are too few.
    pub fn take(&self, organization: OrganizationId, units: usize) -> Option<Taken> {
        let units = u32::try_from(units).ok()?;
        let new = || Arc::new(Semaphore::new(self.share));
        let own = Arc::clone(&self.taken.entry(organization).or_insert_with(new));
        let own = own.try_acquire_many_owned(units).ok()?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(units).ok()?;
        Some(Taken { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_has_its_share_and_leaves_the_rest_to_others() {
        let shares = Shares::new(5, 3);
        let take = |organization, units| shares.take(OrganizationId::from(organization), units);
        let first = take(1, 3).expect("its share");
        assert!(take(1, 1).is_none());
        let _second = take(2, 2).expect("the share of another");
        assert!(take(3, 1).is_none(), "all are taken");
        drop(first);
        assert!(take(3, 3).is_some() && take(1, 3).is_some());
    }
}
