//! The order of what a viewer says, past which only control goes.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long what a viewer has said may still take when it hands control back.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many bytes of a viewer's messages may wait to be acted on: one of the longest, and more than
/// a few short ones.
const MOST_BYTES: usize = super::LONGEST + (64 << 10);

/// What the viewer said and is done one after the other. Messages are counted: each has a number.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The number of the last message that waits or was acted on.
    begun: Cell<u64>,
    /// The number of the last message that was acted on.
    ended: watch::Sender<u64>,
    /// Messages up to this one are not acted on any more.
    called_off: watch::Sender<u64>,
    /// The size of the messages that wait or are acted on.
    bytes: Cell<usize>,
}

impl Lane {
    /// Lets what was said before come to its end, for a moment; what is not done then is called off.
    /// What is said afterwards is not.
    pub async fn clear(&self) {
        let last = self.begun.get();
        let mut ended = self.ended.subscribe();
        let done = ended.wait_for(|ended| *ended >= last);
        if timeout(LAST_WORDS, done).await.is_err() {
            self.called_off.send_replace(last);
        }
    }

    /// Resolves when the message that is acted on now is called off.
    pub async fn called_off(&self) {
        let number = *self.ended.borrow() + 1;
        let mut called_off = self.called_off.subscribe();
        if called_off.wait_for(|upto| *upto >= number).await.is_err() {
            std::future::pending().await // Never: the sender is here.
        }
    }

    /// True if a message of this size may wait beside the others.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes.get().saturating_add(bytes) <= MOST_BYTES
    }

    /// Counts a message that waits.
    pub fn begins(&self, bytes: usize) {
        self.begun.set(self.begun.get() + 1);
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// Counts a message as acted on, or called off.
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
        assert_eq!(began.elapsed(), LAST_WORDS, "it is waited for");
        timeout(LAST_WORDS, lane.called_off()).await.expect("the first is called off");
        // It had ended by itself just then: its call-off is nobody else's.
        lane.ended(10);
        timeout(LAST_WORDS, lane.called_off()).await.expect("so is the second");
        lane.ended(10);
        lane.begins(10);
        timeout(LAST_WORDS, lane.called_off()).await.expect_err("the third is not");
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
