//! The seats that are kept for native VNC clients.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{ApiKeyId, SessionId};

/// The seats that are kept for native clients, by session.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<DashMap<SessionId, Held>>);

/// A seat that is kept for native clients.
#[derive(Debug)]
struct Held {
    /// The time until which the seat is kept; the task that keeps the seat has the receiver.
    until: watch::Sender<Instant>,
    /// Canceled when the seat is released, also before `until`.
    given_up: CancellationToken,
    /// The keys with which the password was read.
    keys: Vec<ApiKeyId>,
}

/// A seat that was kept already, and is kept for longer.
pub(super) struct Extended {
    /// Canceled when the seat is released.
    pub given_up: CancellationToken,
    /// True if the key has not read the password before.
    pub is_new_key: bool,
}

impl Waiting {
    /// Extends the time of a session's seat; none if no seat is kept.
    pub(super) fn extend(
        &self,
        session: SessionId,
        until: Instant,
        key: ApiKeyId,
    ) -> Option<Extended> {
        // The lock of the entry excludes its removal, so that an extended seat is kept.
        let mut held = self.0.get_mut(&session).filter(|held| !held.given_up.is_cancelled())?;
        held.until.send_modify(|held| *held = until.max(*held));
        let is_new_key = !held.keys.contains(&key);
        if is_new_key {
            held.keys.push(key);
        }
        Some(Extended { given_up: held.given_up.clone(), is_new_key })
    }

    /// Adds a seat that is kept until `until`.
    pub(super) fn keep(
        &self,
        session: SessionId,
        until: Instant,
        key: ApiKeyId,
    ) -> (watch::Receiver<Instant>, CancellationToken) {
        let (until, follow) = watch::channel(until);
        let given_up = CancellationToken::new();
        self.0.insert(session, Held { until, given_up: given_up.clone(), keys: vec![key] });
        (follow, given_up)
    }

    /// Releases a seat if its time is over. Returns false if it was extended in the meantime.
    pub(super) fn give_up(&self, session: SessionId, follow: &watch::Receiver<Instant>) -> bool {
        if *follow.borrow() > Instant::now() {
            return false;
        }
        let removed = self.0.remove_if(&session, |_, held| {
            held.until.subscribe().same_channel(follow) && *held.until.borrow() <= Instant::now()
        });
        // Another seat may have replaced a released one.
        removed.is_some() || *follow.borrow() <= Instant::now()
    }

    /// Removes a session's released seat.
    pub(super) fn forget_given_up(&self, session: SessionId) {
        self.0.remove_if(&session, |_, held| held.given_up.is_cancelled());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seat_that_is_extended_as_its_time_ends_is_kept() {
        let (waiting, session) = (Waiting::default(), SessionId::from(1));
        let (soon, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let key = ApiKeyId::from(1);
        assert!(waiting.extend(session, soon, key).is_none(), "none is kept");
        let (follow, given_up) = waiting.keep(session, soon, key);
        // Its time is over, but another client comes before its release.
        assert!(!waiting.extend(session, later, key).unwrap().is_new_key);
        assert!(waiting.extend(session, later, ApiKeyId::from(2)).unwrap().is_new_key);
        assert!(!waiting.give_up(session, &follow), "it would be lost for that client");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(waiting.give_up(session, &follow));
        assert!(waiting.extend(session, later, key).is_none(), "no task would keep it");

        // A seat that is released for another reason cannot be extended either.
        let (_follow, other) = waiting.keep(session, later, key);
        other.cancel();
        assert!(waiting.extend(session, later, key).is_none());
        drop(given_up);
    }
}
