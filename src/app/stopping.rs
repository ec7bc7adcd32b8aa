//! The shutdown of the server.
//!
//! 1. The first signal: new work is refused and `/readyz` fails. Clients that wait for an
//!    occupied session are rejected. Occupants and runs continue until they end or the grace period
//!    does.
//! 2. Viewers and DevTools clients are disconnected.
//! 3. The HTTP server stops: it takes no more connections, ends idle ones, and others after their answer.
//! 4. Runs are canceled and all sessions are closed at once, or left to the next server if that
//!    is configured. The same happens to the desktops of the pool.
//! 5. The remaining audit events and events are written, the remaining spans are sent, the database closes,
//!    and the arbiters are joined.
//!
//! A second signal skips every wait for clients and runs. Browsers still close by themselves, which
//! takes a fraction of a second and preserves their logins.

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::data::DataDirectory;
use super::{Task, tickets};
use crate::actors::ask::Address;
use crate::actors::registry::{CloseAll, DetachAll, Drain, Registry};
use crate::actors::world::World;
use crate::config;
use crate::db::Db;
use crate::http::connections::Connections;
use crate::system::desktop::Files;
use crate::traces::Exporter;

/// The longest time for writing the remaining audit events and events.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time for the answers that are being sent.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The longest time for sending the remaining spans of traces to their collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the number of signals received so far.
pub(super) fn signals() -> anyhow::Result<watch::Receiver<u32>> {
    let (count, signals) = watch::channel(0);
    ctrlc::set_handler(move || count.send_modify(|count| *count += 1))
        .context("the signals cannot be handled")?;
    Ok(signals)
}

/// The parts of the server to stop.
pub(super) struct Stop<'a> {
    pub(super) settings: config::Stop,
    pub(super) keep_sessions: bool,
    pub(super) data: &'a DataDirectory,
    pub(super) registry: Address<Registry>,
    pub(super) world: Arc<World>,
    pub(super) closing: CancellationToken,
    pub(super) server: ServerHandle,
    pub(super) connections: Connections,
    pub(super) filling: Task,
    pub(super) auditing: Task,
    pub(super) storing_events: Task,
    pub(super) exporter: Exporter,
    pub(super) db: Db,
    pub(super) arbiters: Vec<Arbiter>,
}

/// Kills the programs of the sessions that have not closed in time.
async fn end_what_is_left(world: &World) {
    let left = world.views.all_sessions().into_iter().map(|view| view.record.id);
    let ended = left.map(|session| async move {
        warn!(session.id = %session, "session {session} did not close in time; its processes are killed");
        for what in world.launcher.sweep(session, Files::AsSet).await {
            error!(session.id = %session, "left behind by session {session}: {what}");
        }
    });
    join_all(ended).await;
}

/// Waits for the first signal, and stops the server.
pub(super) async fn until_told(
    mut signals: watch::Receiver<u32>,
    stop: Stop<'_>,
) -> anyhow::Result<()> {
    let signaled = signals.wait_for(|count| *count > 0).await;
    signaled.context("signals are no longer handled")?;
    let Stop { settings, keep_sessions, registry, world, closing, .. } = stop;
    let Stop { data, server, connections, filling, auditing, storing_events, .. } = stop;
    let Stop { exporter, db, arbiters, .. } = stop;

    let grace = Duration::from_secs(settings.grace_seconds);
    info!(
        "stopping; occupants and runs have {} s to finish; a second signal ends them at once",
        grace.as_secs()
    );
    let drain = Drain { within: Some(grace), stopping: true };
    let _ = registry.ask(drain).await; // Without a registry there is nothing to drain.
    let quiet = async {
        if keep_sessions {
            world.views.runs_ended().await; // Other occupants continue with the next server.
        } else {
            world.views.quiet().await;
        }
    };
    tokio::select! {
        () = quiet => info!("nothing is left to wait for"),
        () = tokio::time::sleep(grace) => warn!("the grace period is over"),
        _ = signals.wait_for(|count| *count > 1) => warn!("second signal: the grace period ends"),
    }

    closing.cancel();
    server.pause().await;
    tokio::select! {
        () = connections.end() => {}
        () = tokio::time::sleep(LAST_ANSWERS) => warn!("answers that were still being sent are cut off"),
        _ = signals.wait_for(|count| *count > 1) => {}
    }
    // Its own graceful stop looks once a second whether a connection is left, an idle one included.
    server.stop(false).await;
    let _ = filling.await; // It panicked: the log says so.
    // Each session applies its own deadlines.
    let over = if keep_sessions {
        tickets::keep(data, &world);
        world.pool.detach().await;
        registry.ask(DetachAll).await
    } else {
        let ((), over) = tokio::join!(world.pool.close(), registry.ask(CloseAll));
        over
    };
    if over.is_err() && !keep_sessions {
        end_what_is_left(&world).await;
    }
    drop(registry);
    drop(world);
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join(); // It panicked: the log says so.
    }
    let flushing = async { tokio::join!(auditing, storing_events) };
    if timeout(FLUSH_TIMEOUT, flushing).await.is_err() {
        warn!("the last events are not stored");
    }
    exporter.finish(EXPORT_TIMEOUT).await;
    db.close();
    info!("stopped");
    Ok(())
}
