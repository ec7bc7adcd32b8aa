//! Serializes calls for the same owner.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::ids::{OrganizationId, WorkflowPermanentId};

/// The owner of a debug session, for one workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The organization of the person.
    pub organization: OrganizationId,
    /// The name of the person.
    pub user: String,
    /// The workflow that is debugged.
    pub workflow: WorkflowPermanentId,
}

/// The number of owners above which idle ones are forgotten.
const MANY: usize = 1024;

/// Serializes calls for one owner, so that of fifty concurrent first calls one creates a browser
/// session and the others find it. Between servers, the database decides.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<DashMap<Owner, Weak<Mutex<()>>>>);

impl Turns {
    /// Waits for the owner's turn, which lasts until the guard is dropped.
    pub async fn of(&self, owner: &Owner) -> OwnedMutexGuard<()> {
        if self.0.len() > MANY {
            self.0.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = {
            let mut entry = self.0.entry(owner.clone()).or_default();
            entry.upgrade().unwrap_or_else(|| {
                let turn = Arc::new(Mutex::new(()));
                *entry = Arc::downgrade(&turn);
                turn
            })
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_owner_waits_for_itself_and_not_for_another() {
        let owner = |user: &str| Owner {
            organization: 1.into(),
            user: user.to_owned(),
            workflow: 2.into(),
        };
        let turns = Turns::default();
        let first = turns.of(&owner("ann")).await;
        let moment = Duration::from_millis(10);
        assert!(timeout(moment, turns.of(&owner("ann"))).await.is_err());
        assert!(timeout(moment, turns.of(&owner("bob"))).await.is_ok());
        drop(first);
        assert!(timeout(moment, turns.of(&owner("ann"))).await.is_ok());
    }
}
