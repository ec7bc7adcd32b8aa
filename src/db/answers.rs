//! Answers of blocking threads, each within a time limit.
//!
//! A thread that waits for a broken disk cannot be interrupted. Its asker gets
//! [`DbError::Unavailable`] when the limit has passed, from a task that looks through the open answers.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::error::{DbError, Outage};

/// The part of the limit after which the open answers are looked through again.
const CHECKS: u32 = 4;

/// The open answers of one database, in the order of their limits.
pub(super) struct Answers {
    open: Mutex<VecDeque<(Instant, Arc<dyn Open>)>>,
    limit: Duration,
}

/// An answer of any type.
trait Open: Send + Sync {
    fn is_given(&self) -> bool;
    fn give_up(&self, limit: Duration);
}

/// The sending end of an answer. The first answer counts.
pub(super) struct Answer<T>(Arc<Slot<T>>);

struct Slot<T>(Mutex<Option<oneshot::Sender<Result<T, DbError>>>>);

impl<T: Send> Open for Slot<T> {
    fn is_given(&self) -> bool {
        self.0.lock().is_none()
    }

    fn give_up(&self, limit: Duration) {
        if let Some(answer) = self.0.lock().take() {
            let _ = answer.send(Err(DbError::late(limit))); // The asker may have left.
        }
    }
}

impl<T> Answer<T> {
    /// Answers, unless the limit has passed.
    pub(super) fn give(self, outcome: Result<T, DbError>) {
        if let Some(answer) = self.0.0.lock().take() {
            let _ = answer.send(outcome); // The asker may have left.
        }
    }
}

impl Answers {
    /// Creates the list of answers that are due within `limit`, and the task on `runtime` that enforces it.
    pub(super) fn within(limit: Duration, runtime: &Handle) -> Arc<Self> {
        let answers = Arc::new(Self { open: Mutex::default(), limit });
        runtime.spawn(enforce(Arc::downgrade(&answers), limit / CHECKS));
        answers
    }

    /// Creates an answer, and the future in which the asker gets it.
    pub(super) fn open<T: Send + 'static>(
        &self,
    ) -> (Answer<T>, impl Future<Output = Result<T, DbError>> + Send + use<T>) {
        let (sender, receiver) = oneshot::channel();
        let slot = Arc::new(Slot(Mutex::new(Some(sender))));
        let waiting: Arc<dyn Open> = Arc::<Slot<T>>::clone(&slot);
        let mut open = self.open.lock();
        while open.front().is_some_and(|(_until, answer)| answer.is_given()) {
            open.pop_front();
        }
        open.push_back((Instant::now() + self.limit, waiting));
        drop(open);
        let answered = async move {
            let ended = |_gone| Err(DbError::Unavailable(Outage::new("the query was given up")));
            receiver.await.unwrap_or_else(ended)
        };
        (Answer(slot), answered)
    }

    /// Gives up the answers whose limit has passed.
    fn expire(&self, now: Instant) {
        let mut open = self.open.lock();
        while open.front().is_some_and(|(until, _answer)| *until <= now) {
            if let Some((_until, late)) = open.pop_front() {
                late.give_up(self.limit);
            }
        }
    }
}

async fn enforce(answers: Weak<Answers>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(answers) = answers.upgrade() else { return };
        answers.expire(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_late_or_dropped_is_an_outage() {
        let limit = Duration::from_millis(40);
        let answers = Answers::within(limit, &Handle::current());
        let (held, late) = answers.open::<u32>();
        let outcome = late.await;
        assert!(matches!(outcome, Err(DbError::Unavailable(_))), "{outcome:?}");
        held.give(Ok(1)); // After the limit.

        let (given, answered) = answers.open::<u32>();
        given.give(Ok(2));
        assert_eq!(answered.await.unwrap(), 2);

        let (dropped, ended) = answers.open::<u32>();
        answers.open.lock().clear();
        drop(dropped);
        assert!(matches!(ended.await, Err(DbError::Unavailable(_))));
    }

    #[tokio::test]
    async fn answers_that_are_given_are_forgotten() {
        let answers = Answers::within(Duration::from_secs(60), &Handle::current());
        for number in 0..1_000 {
            let (answer, answered) = answers.open::<u32>();
            answer.give(Ok(number));
            assert_eq!(answered.await.unwrap(), number);
        }
        assert!(answers.open.lock().len() <= 1);
    }
}
