//! The places of agents in the queues of sessions.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::handle::Handle;
use crate::actors::session::Grant;
use crate::domain::ids::{ApiKeyId, ViewerId};
use crate::http::problem::Problem;

/// The places of agents in the queues of sessions, kept between two calls.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    waiting: Arc<DashMap<QueueEntry, Waiting>>,
}

/// The name of a place in a queue: the client that waits, and the handle that it gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct QueueEntry {
    /// The key of the client, or that its ticket was made with.
    pub key: ApiKeyId,
    /// The ticket, where the client comes with one.
    pub ticket: Option<ViewerId>,
    /// The handle that the client gets.
    pub handle: Handle,
}

/// An agent that waits for a session.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// The name of the agent.
    pub label: String,
    /// The outcome of the begin, once there is one.
    pub outcome: watch::Receiver<Option<Result<Grant, Problem>>>,
    /// The time of the agent's last call.
    pub asked: Arc<watch::Sender<Instant>>,
}

impl Queue {
    /// Returns the state of a place.
    pub fn place(&self, place: &QueueEntry) -> Option<Waiting> {
        self.waiting.get(place).map(|waiting| waiting.clone())
    }

    /// Forgets a place, unless it is that of a later agent.
    pub fn leave(&self, place: &QueueEntry, waiting: &Waiting) {
        self.waiting.remove_if(place, |_place, known| Arc::ptr_eq(&known.asked, &waiting.asked));
    }

    /// Adds a place in a queue.
    pub fn add(&self, place: QueueEntry, waiting: Waiting) {
        self.waiting.insert(place, waiting);
    }

    /// Returns the handle of the first place that fits.
    pub fn find(&self, mut fits: impl FnMut(&QueueEntry, &Waiting) -> bool) -> Option<Handle> {
        let found = self.waiting.iter().find(|entry| fits(entry.key(), entry.value()));
        found.map(|entry| entry.key().handle.clone())
    }
}
