//! Events: writes events from the actors to the database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, error, warn};

use super::Task;
use crate::actors::clock::Clock;
use crate::actors::events::{PendingEvents, Settings};
use crate::db::events::Appended;
use crate::db::{Db, DbError, events, idempotency, outbox};
use crate::domain::event::{EventKind, NewEvent};
use crate::domain::ids::NodeId;

/// The most events that are written in one batch.
const MOST: usize = 200;

/// The time for which events are gathered, so that many get their numbers in one write. Nobody waits for a number.
const GATHERING: Duration = Duration::from_millis(5);

/// The delay before a failed write is retried.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The most conflicts with a stored event that are attributed to an earlier attempt of this server.
const CONFLICTS: u32 = 3;

/// The shortest interval between two deletions of old events, while new events arrive.
const FORGET: Duration = Duration::from_secs(10 * 60);

/// The interval between two searches for events without a number, and their age: their server numbers them
/// within moments, or has died.
const SWEEP: Duration = Duration::from_secs(60);

/// The time for which the response to a request is kept under its idempotency key.
const KEYS: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the task that stores queued events, in order, until every sender is dropped.
pub(super) fn start(db: Db, clock: Clock, settings: Settings, mut pending: PendingEvents) -> Task {
    tokio::spawn(async move {
        let mut forgotten: Option<Instant> = None;
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut batch = tokio::select! {
                batch = pending.next(MOST) => batch,
                _ = sweeps.tick() => {
                    match sweep(&db, clock.now() - SWEEP).await {
                        Ok(None) => {}
                        Ok(Some(Appended { latest, messages })) => {
                            pending.stored(&latest, messages);
                        }
                        Err(cause) => {
                            warn!("events that were left have no numbers yet: {cause}");
                        }
                    }
                    continue;
                }
            };
            if batch.is_empty() {
                return;
            }
            if batch.len() < MOST {
                tokio::time::sleep(GATHERING).await;
                pending.gathered(&mut batch, MOST);
            }
            // The message about the end of a run is stored with that end.
            let ends = batch.iter().any(|event| event.kind == EventKind::RunEnded);
            let Appended { latest, messages } = match append(&db, batch.clone()).await {
                Ok(appended) => appended,
                Err(_) => store_each(&db, batch, &pending).await,
            };
            pending.stored(&latest, messages || ends);
            let every = FORGET.min(Duration::from_secs(settings.keep_seconds));
            if forgotten.is_none_or(|at| at.elapsed() >= every) {
                forgotten = Some(Instant::now());
                forget(&db, clock, settings).await;
            }
        }
    })
}

/// Numbers the events that a former server on this node stored and did not number, before those of this
/// server.
pub(super) async fn settle(db: &Db, node: NodeId) -> Result<(), DbError> {
    while number(db, outbox::of_node(db, node).await?).await?.is_some() {}
    Ok(())
}

/// Numbers the events that any server stored before `before` and did not number; none if there are none.
async fn sweep(db: &Db, before: DateTime<Utc>) -> Result<Option<Appended>, DbError> {
    let mut all = None;
    while let Some(more) = number(db, outbox::from_before(db, before).await?).await? {
        merge(all.get_or_insert_default(), more);
    }
    Ok(all)
}

/// Numbers events that a server has left; none if there are none. Another server may number them at the same
/// moment: the next try finds them numbered.
async fn number(db: &Db, left: Vec<NewEvent>) -> Result<Option<Appended>, DbError> {
    if left.is_empty() {
        return Ok(None);
    }
    debug!("{} events of another server are numbered", left.len());
    append(db, left).await.map(Some)
}

fn merge(all: &mut Appended, Appended { latest, messages }: Appended) {
    all.latest.extend(latest);
    all.messages |= messages;
}

/// Stores events, all or none, retrying during an outage. An error is a permanent refusal.
async fn append(db: &Db, batch: Vec<NewEvent>) -> Result<Appended, DbError> {
    let (mut conflicts, mut is_again) = (0, false);
    loop {
        let cause = match events::append(db, batch.clone()).await {
            // A try of unknown outcome may have stored the messages.
            Ok(appended) => {
                return Ok(Appended { messages: appended.messages || is_again, ..appended });
            }
            Err(cause @ DbError::Unavailable(_)) => cause,
            // An earlier attempt of this server may just have been stored; the next attempt detects
            // that.
            Err(cause @ DbError::Conflict) if conflicts < CONFLICTS => {
                conflicts += 1;
                cause
            }
            Err(cause @ (DbError::Conflict | DbError::Rejected(_) | DbError::Corrupt { .. })) => {
                return Err(cause);
            }
        };
        warn!("{} events are not stored yet: {cause}", batch.len());
        is_again = true;
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Stores events one at a time, so that a refused event does not block the others. The event `gap`
/// is stored instead of a refused one.
async fn store_each(db: &Db, batch: Vec<NewEvent>, pending: &PendingEvents) -> Appended {
    let mut all = Appended::default();
    for event in batch {
        let stored = match append(db, vec![event.clone()]).await {
            Ok(stored) => stored,
            Err(cause) => {
                error!(
                    "the database rejected event {} ({}), which is dropped: {cause}",
                    event.id, event.kind
                );
                let gap = pending.refused(&event);
                append(db, vec![gap]).await.unwrap_or_else(|cause| {
                    error!("the database rejected the gap event in its place too: {cause}");
                    Appended::default()
                })
            }
        };
        merge(&mut all, stored);
    }
    all
}

async fn forget(db: &Db, clock: Clock, settings: Settings) {
    let before = clock.now() - Duration::from_secs(settings.keep_seconds);
    match events::forget(db, before, settings.keep_most).await {
        Ok(0) => {}
        Ok(count) => debug!("{count} old events are deleted"),
        Err(cause) => warn!("old events are not deleted yet: {cause}"),
    }
    match idempotency::expire(db, clock.now() - KEYS).await {
        Ok(0) => {}
        Ok(count) => debug!("{count} old idempotency keys are deleted"),
        Err(cause) => warn!("old idempotency keys are not deleted yet: {cause}"),
    }
}
