//! The writer of an SQLite database: one thread with the only connection that writes.
//!
//! It takes all waiting changes into one transaction, because the commit costs more than most changes (group
//! commit). A change that finds the writer idle is written at once, and those that arrive meanwhile are the next
//! batch. Only a change for which no request waits lingers: it rides along with the next one, so that it rarely has a
//! commit of its own.
//!
//! 1. A change is answered after the commit that makes it durable.
//! 2. A change that the database refuses leaves the others in place: its own statement or transaction, which
//!    is a savepoint here, is rolled back alone.
//! 3. If the batch fails as a whole, the outcome is unknown to all of its changes.
//! 4. A change is written even if its asker has left, but not if it had to wait for longer than the limit.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::TransactionManagerStatus;
use diesel_async::{AsyncConnection, TransactionManager};
use futures_util::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tracing::instrument::Instrumented;
use tracing::{Instrument as _, error};

use super::SqliteConn;
use super::answers::{Answer, Answers};
use super::error::{DbError, Outage};
use super::file::File;
use crate::metrics::WriterMetrics;

/// The most changes in one transaction for which requests wait, and the most of the others.
const MOST: usize = 64;

/// The time for which a change that nobody waits for may linger, until another one takes it along.
const LINGER: Duration = Duration::from_millis(5);

type Transactions = <SqliteConn as AsyncConnection>::TransactionManager;

/// Opens the connection that writes.
pub(super) type Connect = Box<dyn Fn() -> Result<SqliteConn, DbError> + Send>;

/// A change that waits for the writer, or is being written.
trait Change: Send {
    /// The time of its arrival.
    fn arrived(&self) -> Instant;

    /// The order in which it is written.
    fn order(&self) -> Order;

    /// Runs its statements. False if the database is unavailable.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConn) -> BoxFuture<'a, bool>;

    /// Answers the change with its own outcome, after the commit.
    fn committed(self: Box<Self>);

    /// Answers the change with the reason why its batch failed.
    fn failed(self: Box<Self>, cause: DbError);
}

struct Waiting<T, W> {
    arrived: Instant,
    order: Order,
    work: Option<W>,
    span: tracing::Span,
    outcome: Option<Result<T, DbError>>,
    answer: Answer<T>,
}

impl<T, W> Change for Waiting<T, W>
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut SqliteConn) -> BoxFuture<'c, Result<T, DbError>> + Send,
{
    fn arrived(&self) -> Instant {
        self.arrived
    }

    fn order(&self) -> Order {
        self.order
    }

    fn run<'a>(&'a mut self, connection: &'a mut SqliteConn) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return true };
            let work: Instrumented<_> = work(connection).instrument(self.span.clone());
            let outcome = work.await;
            let is_available = !matches!(outcome, Err(DbError::Unavailable(_)));
            self.outcome = Some(outcome);
            is_available
        })
    }

    fn committed(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            self.answer.give(outcome);
        }
    }

    fn failed(self: Box<Self>, cause: DbError) {
        // A refusal holds without the batch too, and an outage has a cause of its own.
        self.answer.give(match self.outcome {
            Some(Err(own)) => Err(own),
            Some(Ok(_)) | None => Err(cause),
        });
    }
}

#[derive(Default)]
struct Queue {
    changes: VecDeque<Box<dyn Change>>,
    /// The changes that linger, the oldest first.
    lingering: VecDeque<Box<dyn Change>>,
    is_closed: bool,
}

impl Queue {
    /// True if changes must not wait any longer.
    fn is_due(&self) -> bool {
        !self.changes.is_empty()
            || self.lingering.len() >= MOST
            || self
                .lingering
                .front()
                .is_some_and(|oldest| self.is_closed || oldest.arrived().elapsed() >= LINGER)
    }
}

/// The order in which a change is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Together with those that wait.
    Together,
    /// Outside of every transaction.
    Alone,
    /// With the next change, or after [`LINGER`].
    Lingering,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    metrics: WriterMetrics,
}

/// The entrance to the writer. The thread ends after the changes that wait when this is dropped.
pub(super) struct Writer {
    shared: Arc<Shared>,
    answers: Arc<Answers>,
}

impl Writer {
    /// Starts the thread. Statements may use `runtime`; a change waits for at most `patience` before it is
    /// begun.
    pub(super) fn start(
        connect: Connect,
        file: Arc<File>,
        answers: Arc<Answers>,
        patience: Duration,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut thread =
            Thread { shared: Arc::clone(&shared), connect, file, patience, connection: None };
        std::thread::Builder::new().name("greenroom-writer".to_owned()).spawn(move || {
            while let Some(batch) = thread.next() {
                let written = AssertUnwindSafe(|| runtime.block_on(thread.write(batch)));
                if catch_unwind(written).is_err() {
                    error!("the writer of the database panicked; it continues with the next batch");
                    thread.connection = None;
                }
            }
        })?;
        Ok(Self { shared, answers })
    }

    /// Writes a change in this order, and resolves with its outcome when it is durable. The change is queued at the
    /// call, not at the first poll.
    pub(super) fn submit<T, W>(
        &self,
        order: Order,
        work: W,
    ) -> impl Future<Output = Result<T, DbError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConn) -> BoxFuture<'c, Result<T, DbError>>,
        W: Send + 'static,
    {
        let (answer, answered) = self.answers.open();
        let change = Waiting {
            arrived: Instant::now(),
            order,
            work: Some(work),
            span: tracing::Span::current(),
            outcome: None,
            answer,
        };
        let mut queue = self.shared.queue.lock();
        // A dropped answer is an outage.
        if !queue.is_closed {
            match order {
                Order::Together | Order::Alone => queue.changes.push_back(Box::new(change)),
                Order::Lingering => queue.lingering.push_back(Box::new(change)),
            }
            drop(queue);
            self.shared.arrived.notify_one();
        }
        answered
    }

    /// The number of changes that wait.
    pub(super) fn waiting(&self) -> usize {
        let queue = self.shared.queue.lock();
        queue.changes.len() + queue.lingering.len()
    }

    /// The figures of the thread.
    pub(super) fn metrics(&self) -> &WriterMetrics {
        &self.shared.metrics
    }

    /// Refuses all later changes. Those that wait are still written.
    pub(super) fn close(&self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.arrived.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Thread {
    shared: Arc<Shared>,
    connect: Connect,
    file: Arc<File>,
    patience: Duration,
    connection: Option<SqliteConn>,
}

impl Thread {
    /// Waits for changes: all that have arrived, up to one that must be alone, and then those that linger. None once
    /// the writer is closed and all are written.
    fn next(&self) -> Option<VecDeque<Box<dyn Change>>> {
        let mut queue = self.shared.queue.lock();
        while !queue.is_due() {
            if queue.is_closed {
                return None;
            }
            match queue.lingering.front().map(|oldest| oldest.arrived() + LINGER) {
                Some(end) => drop(self.shared.arrived.wait_until(&mut queue, end)),
                None => self.shared.arrived.wait(&mut queue),
            }
        }
        let Queue { changes, lingering, .. } = &mut *queue;
        if changes.front().is_some_and(|first| first.order() == Order::Alone) {
            return changes.pop_front().map(|alone| VecDeque::from([alone]));
        }
        let together = changes.iter().take(MOST);
        let together = together.take_while(|change| change.order() != Order::Alone).count();
        let riding = lingering.len().min(MOST);
        Some(changes.drain(..together).chain(lingering.drain(..riding)).collect())
    }

    /// Writes a batch and answers its changes.
    async fn write(&mut self, batch: VecDeque<Box<dyn Change>>) {
        let (late, mut batch): (VecDeque<_>, VecDeque<_>) =
            batch.into_iter().partition(|change| change.arrived().elapsed() >= self.patience);
        for change in late {
            change.failed(DbError::late(self.patience));
        }
        let mut written = Vec::with_capacity(batch.len());
        let began = Instant::now();
        let committed = self.commit(&mut batch, &mut written).await;
        if committed.is_ok() && !written.is_empty() {
            let WriterMetrics { commit, batch } = &self.shared.metrics;
            commit.record(began.elapsed());
            batch.record_count(u64::try_from(written.len()).unwrap_or(u64::MAX));
        }
        if committed.is_err() {
            // Remains of the failed transaction end with its connection.
            self.connection = None;
        }
        for change in written {
            match &committed {
                Ok(()) => change.committed(),
                Err(cause) => change.failed(cause.clone()),
            }
        }
        // These were not begun.
        let mut queue = self.shared.queue.lock();
        for change in batch.into_iter().rev() {
            queue.changes.push_front(change);
        }
    }

    /// Moves changes from `batch` to `written` as they are run, and commits them. After an error all that are
    /// written fail.
    async fn commit(
        &mut self,
        batch: &mut VecDeque<Box<dyn Change>>,
        written: &mut Vec<Box<dyn Change>>,
    ) -> Result<(), DbError> {
        let is_one = batch.len() == 1;
        let Some(first) = batch.pop_front() else { return Ok(()) };
        written.push(first);
        self.file.check()?;
        if self.connection.is_none() {
            self.connection = Some((self.connect)()?);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if !is_one {
            Transactions::begin_transaction(connection).await?;
        }
        while let Some(change) = written.last_mut() {
            let is_available = change.run(connection).await;
            if is_one {
                // Its own transaction is the outermost one.
                return if Self::is_whole(connection, 0) { Ok(()) } else { Err(interrupted()) };
            }
            // A lingering change fails alone where it can: it is tried again, each time with other changes.
            let fails_all = !is_available && change.order() != Order::Lingering;
            // After some errors, such as that of a full disk, SQLite has rolled back everything.
            if fails_all || !Self::is_whole(connection, 1) {
                return Err(interrupted());
            }
            match batch.pop_front() {
                Some(next) => written.push(next),
                None => break,
            }
        }
        Ok(Transactions::commit_transaction(connection).await?)
    }

    /// True if the connection can be used further, with `depth` open transactions.
    fn is_whole(connection: &mut SqliteConn, depth: u32) -> bool {
        match Transactions::transaction_manager_status_mut(connection) {
            TransactionManagerStatus::Valid(status) => {
                status.transaction_depth().map_or(0, u32::from) == depth
            }
            TransactionManagerStatus::InError => false,
        }
    }
}

/// The error of changes whose batch was given up because of another.
fn interrupted() -> DbError {
    DbError::Unavailable(Outage::new("the transaction of this and other changes failed"))
}
