//! The live tail of the journal: messages as they end, for operators who watch.
//!
//! A watcher that is slow holds up no actor and costs no memory beyond one bounded queue that all
//! share: it misses messages, and gets their number. While nobody watches, a message costs
//! the read of one number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Entry, Filter, Record};

/// The number of messages that a watcher may be behind.
const MOST_BEHIND: usize = 2048;

#[derive(Debug)]
pub(super) struct Tail {
    queue: broadcast::Sender<Arc<Record>>,
    watchers: Arc<AtomicUsize>,
}

impl Default for Tail {
    fn default() -> Self {
        let (queue, _no_watcher) = broadcast::channel(MOST_BEHIND);
        Self { queue, watchers: Arc::default() }
    }
}

/// A watcher of the messages that match its filter.
#[derive(Debug)]
pub struct Follower {
    filter: Filter,
    queue: broadcast::Receiver<Arc<Record>>,
    watchers: Arc<AtomicUsize>,
}

/// The next thing that a watcher is shown.
#[derive(Debug)]
pub enum Tailed {
    /// A message has ended.
    Message(Box<Entry>),
    /// The watcher was too slow for this many messages, matching or not.
    Missed(u64),
}

impl Tail {
    /// Shows a message that has ended to those who watch.
    pub(super) fn put(&self, record: &Arc<Record>) {
        if self.watchers.load(Ordering::Relaxed) > 0 {
            let _ = self.queue.send(Arc::clone(record)); // The last watcher has just left.
        }
    }

    pub(super) fn follow(&self, filter: Filter) -> Follower {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let watchers = Arc::clone(&self.watchers);
        Follower { filter, queue: self.queue.subscribe(), watchers }
    }
}

impl Follower {
    /// The next message that matches, or the number of those that were missed; none when the server
    /// ends. A call that is dropped loses no message.
    pub async fn next(&mut self) -> Option<Tailed> {
        loop {
            match self.queue.recv().await {
                Ok(record) if self.filter.matches(&record) => {
                    return Some(Tailed::Message(Box::new(record.entry())));
                }
                Ok(_other) => {}
                Err(RecvError::Lagged(missed)) => return Some(Tailed::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::actors::clock::Clock;
    use crate::actors::journal::{Capacity, FileChange, Journal, Outcome};
    use crate::domain::ids::Mint;
    use crate::traces::Traces;

    fn change(kind: &'static str) -> FileChange {
        let (sender, receiver) = ("http", "extensions");
        FileChange {
            kind,
            sender,
            receiver,
            organization: 1.into(),
            summary: serde_json::Value::Null,
        }
    }

    #[tokio::test]
    async fn a_slow_watcher_misses_messages_is_told_how_many_and_keeps_none_in_memory() {
        let capacity = Capacity { server: 10, actor: 10 };
        let (journal, _trail) =
            Journal::new(Clock::start(), Mint::new(1), capacity, Traces::default());
        journal.record(change("before"), Outcome::Done, None);
        let mut slow = journal.follow(Filter::default());
        let kind = Some("wanted".to_owned());
        let mut picky = journal.follow(Filter { kind, ..Filter::default() });
        for _ in 0..MOST_BEHIND + 5 {
            journal.record(change("other"), Outcome::Done, None);
        }
        assert!(matches!(slow.next().await, Some(Tailed::Missed(5))));
        assert!(matches!(slow.next().await, Some(Tailed::Message(entry)) if entry.kind == "other"));
        assert!(matches!(picky.next().await, Some(Tailed::Missed(5))));
        assert!(picky.next().now_or_never().is_none(), "no other message matches");
        journal.record(change("wanted"), Outcome::Refused, None);
        assert!(
            matches!(picky.next().await, Some(Tailed::Message(entry)) if entry.kind == "wanted")
        );

        drop((slow, picky));
        assert_eq!(journal.tail.watchers.load(Ordering::Relaxed), 0);
    }
}
