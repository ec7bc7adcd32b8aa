//! How the server is taken down.
//!
//! 1. The first signal: nothing new is taken, `/readyz` says no; clients that wait for an occupied
//!    session are sent away; occupants and runs go on until they end or the grace period does.
//! 2. Viewers and DevTools clients are told to go.
//! 3. The HTTP server stops.
//! 4. Runs are called off, sessions are closed, all at once; or left to the next server, if that
//!    is wanted.
//! 5. The audit trail and the events are written to their end, the database closes, the arbiters are joined.
//!
//! A second signal skips the grace period.

use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Task;
use crate::actors::ask::Address;
use crate::actors::registry::{CloseAll, Drain, LetGoAll, Registry};
use crate::actors::world::World;
use crate::config;
use crate::db::Db;

/// How long the audit trail and the events may take to be written to their end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How many signals have come so far.
pub(super) fn signals() -> anyhow::Result<watch::Receiver<u32>> {
    let (count, signals) = watch::channel(0);
    ctrlc::set_handler(move || count.send_modify(|count| *count += 1))
        .context("the signals cannot be handled")?;
    Ok(signals)
}

/// What is taken down.
pub(super) struct Stop {
    pub(super) settings: config::Stop,
    pub(super) keep_sessions: bool,
    pub(super) registry: Address<Registry>,
    pub(super) world: std::sync::Arc<World>,
    pub(super) draining: CancellationToken,
    pub(super) closing: CancellationToken,
    pub(super) server: ServerHandle,
    pub(super) auditing: Task,
    pub(super) telling: Task,
    pub(super) db: Db,
    pub(super) arbiters: Vec<Arbiter>,
}

/// Waits for the first signal, and takes everything down.
pub(super) async fn until_told(
    mut signals: watch::Receiver<u32>,
    stop: Stop,
) -> anyhow::Result<()> {
    let told = signals.wait_for(|count| *count > 0).await;
    told.context("the signals are not handled any more")?;
    let Stop {
        settings,
        keep_sessions,
        registry,
        world,
        draining,
        closing,
        server,
        auditing,
        telling,
        db,
        arbiters,
    } = stop;

    let grace = Duration::from_secs(settings.grace_seconds);
    info!("stopping; what is under way has {} s, and a second signal ends it", grace.as_secs());
    let _ = registry.ask(Drain).await; // If it is gone, there is nothing to drain.
    draining.cancel();
    let quiet = async {
        if keep_sessions {
            world.views.runs_ended().await; // Other occupants go on with the next server.
        } else {
            world.views.quiet().await;
        }
    };
    tokio::select! {
        () = quiet => info!("nothing is under way"),
        () = tokio::time::sleep(grace) => warn!("the grace period is over"),
        _ = signals.wait_for(|count| *count > 1) => warn!("told again: not waiting"),
    }

    closing.cancel();
    server.stop(true).await;
    // Each session has its own deadlines.
    let _ = if keep_sessions { registry.ask(LetGoAll).await } else { registry.ask(CloseAll).await };
    drop(registry);
    drop(world);
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join(); // It panicked: the log says so.
    }
    let last_words = async { tokio::join!(auditing, telling) };
    if timeout(LAST_WORDS, last_words).await.is_err() {
        warn!("the last audit events, or those of sessions, are not stored");
    }
    db.close();
    info!("stopped");
    Ok(())
}
