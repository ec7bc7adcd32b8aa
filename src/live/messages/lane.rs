//! The order of a viewer's messages; only those about control overtake others.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// The time that earlier messages may still take when the viewer releases control.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of bytes of a viewer's messages that wait: one of the longest, and some short
/// ones.
const MOST_BYTES: usize = super::LONGEST + (64 << 10);

/// The queue of a viewer's messages, which are handled one after the other. Messages are numbered
/// from 1.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The number of the last message that was queued.
    begun: Cell<u64>,
    /// The number of the last message that was handled.
    ended: watch::Sender<u64>,
    /// The number of the last message that is canceled, with all before it.
    called_off: watch::Sender<u64>,
    /// The size of the messages that are queued or being handled, in bytes.
    bytes: Cell<usize>,
}

impl Lane {
    /// Waits for a moment until earlier messages are handled, and cancels those that are not. Later
    /// messages are not canceled.
    pub async fn clear(&self) {
        let last = self.begun.get();
        let mut ended = self.ended.subscribe();
        let done = ended.wait_for(|ended| *ended >= last);
        if timeout(FLUSH_TIMEOUT, done).await.is_err() {
            self.called_off.send_replace(last);
        }
    }

    /// Resolves when the message that is being handled is canceled.
    pub async fn called_off(&self) {
        let number = *self.ended.borrow() + 1;
        let mut called_off = self.called_off.subscribe();
        if called_off.wait_for(|upto| *upto >= number).await.is_err() {
            std::future::pending().await // Unreachable: `self` has the sender.
        }
    }

    /// True if a message of this size fits into the queue.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes.get().saturating_add(bytes) <= MOST_BYTES
    }

    /// Counts a message as queued.
    pub fn begins(&self, bytes: usize) {
        self.begun.set(self.begun.get() + 1);
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// Counts a message as handled or canceled.
    pub fn ended(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        self.ended.send_modify(|ended| *ended += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_said_after_a_call_off_is_not_called_off() {
        let lane = Lane::default();
        lane.begins(10);
        lane.begins(10);
        let began = tokio::time::Instant::now();
        lane.clear().await;
        assert_eq!(began.elapsed(), FLUSH_TIMEOUT, "it is waited for");
        timeout(FLUSH_TIMEOUT, lane.called_off()).await.expect("the first is canceled");
        // The first message ended by itself just then: its cancellation does not affect others.
        lane.ended(10);
        timeout(FLUSH_TIMEOUT, lane.called_off()).await.expect("so is the second");
        lane.ended(10);
        lane.begins(10);
        timeout(FLUSH_TIMEOUT, lane.called_off()).await.expect_err("the third is not");
    }

    #[test]
    fn messages_wait_within_a_bound_of_bytes() {
        let lane = Lane::default();
        assert!(lane.has_room(super::super::LONGEST));
        lane.begins(super::super::LONGEST);
        assert!(lane.has_room(1024) && !lane.has_room(super::super::LONGEST));
        lane.ended(super::super::LONGEST);
        assert!(lane.has_room(super::super::LONGEST));
    }
}
