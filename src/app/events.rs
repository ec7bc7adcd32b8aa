//! Events: from the actors to the database.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::Task;
use crate::actors::clock::Clock;
use crate::actors::events::{Settings, Untold};
use crate::db::{Db, events};

/// How many events are stored at once.
const MOST: usize = 200;

/// How long to wait before events are stored again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often old events are forgotten at most, while there are new ones.
const FORGET: Duration = Duration::from_secs(10 * 60);

/// Stores what is told, in its order, until nobody is left to tell anything.
pub(super) fn start(db: Db, clock: Clock, settings: Settings, mut untold: Untold) -> Task {
    tokio::spawn(async move {
        let mut forgotten: Option<Instant> = None;
        loop {
            let batch = untold.next(MOST).await;
            if batch.is_empty() {
                return;
            }
            let latest = loop {
                match events::append(&db, batch.clone()).await {
                    Ok(latest) => break latest,
                    Err(cause) => warn!("{} events are not stored yet: {cause}", batch.len()),
                }
                tokio::time::sleep(AGAIN).await;
            };
            untold.stored(&latest);
            let every = FORGET.min(Duration::from_secs(settings.keep_seconds));
            if forgotten.is_none_or(|at| at.elapsed() >= every) {
                forgotten = Some(Instant::now());
                forget(&db, clock, settings).await;
            }
        }
    })
}

async fn forget(db: &Db, clock: Clock, settings: Settings) {
    let before = clock.now() - Duration::from_secs(settings.keep_seconds);
    match events::forget(db, before, settings.keep_most).await {
        Ok(0) => {}
        Ok(count) => debug!("{count} old events are forgotten"),
        Err(cause) => warn!("old events are not forgotten yet: {cause}"),
    }
}
