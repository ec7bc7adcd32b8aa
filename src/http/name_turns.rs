//! The turns of clients that want a session of the same name.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::domain::ids::OrganizationId;
use crate::domain::labels::Name;

/// The turns of the clients that connect to a name of an organization. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct NameTurns(Arc<Mutex<Turns>>);

type Turns = HashMap<(OrganizationId, Name), Weak<tokio::sync::Mutex<()>>>;

impl NameTurns {
    /// Resolves when it is the client's turn, which lasts until the guard is dropped.
    pub async fn next(
        &self,
        organization: OrganizationId,
        name: &Name,
    ) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            let entry = turns.entry((organization, name.clone())).or_default();
            let turn = entry.upgrade().unwrap_or_default();
            *entry = Arc::downgrade(&turn);
            turn
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
    async fn one_client_of_a_name_has_its_turn_at_a_time_and_nothing_stays_behind() {
        let turns = NameTurns::default();
        let (one, two) = (OrganizationId::from(1), OrganizationId::from(2));
        let name: Name = "n".parse().unwrap();
        let first = turns.next(one, &name).await;
        drop(turns.next(two, &name).await);
        let second = turns.next(one, &name);
        tokio::pin!(second);
        assert!(timeout(Duration::from_millis(20), &mut second).await.is_err());
        drop(first);
        drop(second.await);
        drop(turns.next(two, &name).await);
        assert_eq!(turns.0.lock().len(), 1, "the entry of the latest client only");
    }
}
