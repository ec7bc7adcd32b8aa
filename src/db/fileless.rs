//! Sessions that have no artifacts, so that a read of such a session does not ask the database.
//!
//! This holds for sessions that live on this node: no other server stores files of them.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::domain::ids::SessionId;

/// The most sessions that are remembered. Beyond it, all are looked up again.
const MOST: usize = 20_000;

/// The sessions for which a read has found no artifact, and none was stored since.
#[derive(Debug, Default)]
pub(super) struct Fileless(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashSet<SessionId>,
    /// The number of stores that have begun or ended.
    stores: u64,
}

/// A read that may find no artifact.
#[derive(Debug)]
pub(super) struct Reading {
    session: SessionId,
    stores: u64,
}

impl Fileless {
    /// Begins a read; none if the session has no artifacts.
    pub(super) fn read(&self, session: SessionId) -> Option<Reading> {
        let state = self.0.lock();
        let is_known = state.sessions.contains(&session);
        (!is_known).then_some(Reading { session, stores: state.stores })
    }

    /// Remembers that a read has found none, unless some were stored meanwhile.
    pub(super) fn found_none(&self, Reading { session, stores }: Reading) {
        let mut state = self.0.lock();
        if state.stores != stores {
            return;
        }
        if state.sessions.len() >= MOST {
            state.sessions.clear();
        }
        state.sessions.insert(session);
    }

    /// Records that an artifact of a session is about to be stored, or was.
    pub(super) fn stores(&self, session: SessionId) {
        let mut state = self.0.lock();
        state.stores += 1;
        state.sessions.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_without_artifacts_is_known_until_one_is_stored() {
        let fileless = Fileless::default();
        let (one, other) = (SessionId::from(1), SessionId::from(2));
        let reading = fileless.read(one).unwrap();
        fileless.found_none(reading);
        assert!(fileless.read(one).is_none());
        assert!(fileless.read(other).is_some());
        fileless.stores(one);
        assert!(fileless.read(one).is_some());
    }

    #[test]
    fn a_read_beside_a_store_proves_nothing() {
        let fileless = Fileless::default();
        let session = SessionId::from(1);
        let reading = fileless.read(session).unwrap();
        fileless.stores(session);
        fileless.found_none(reading);
        assert!(fileless.read(session).is_some());
    }

    #[test]
    fn no_more_sessions_are_remembered_than_may_be() {
        let fileless = Fileless::default();
        for id in 0..=u64::try_from(MOST).unwrap() {
            let reading = fileless.read(SessionId::from(id)).unwrap();
            fileless.found_none(reading);
        }
        assert_eq!(fileless.0.lock().sessions.len(), 1);
    }
}
