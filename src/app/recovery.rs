//! Recovery of the sessions and runs of a previous server of this node.
//!
//! Its sessions continue: the registry receives each of them, and adopts its programs. Its runs
//! cannot continue, because their executor has ended: they fail, and the sessions that they held
//! are released. Desktops of its pool wait in the pool of this server. Programs that belong to neither are ended.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::join_all;
use serde_json::json;
use tracing::{error, info, warn};

use crate::actors::ask::Address;
use crate::actors::downloads::finish_downloads;
use crate::actors::films::finish_films;
use crate::actors::pool;
use crate::actors::registry::{Adopt, Registry};
use crate::actors::world::World;
use crate::db::store::{Ended, Occupied, RunChange};
use crate::db::{Db, runs, sessions};
use crate::domain::event::EventKind;
use crate::domain::ids::SessionId;
use crate::domain::occupancy::{Event, RunnableType};
use crate::domain::run::{RunRecord, RunStatus};
use crate::domain::session::{Failure, SessionRecord, SessionStatus};
use crate::system::desktop::{Desktops, Files};

/// Fails the runs of that server, ends the sessions that they created for themselves, and releases
/// the others. Returns the sessions that continue.
pub(super) async fn settle(db: &Db, world: &Arc<World>) -> anyhow::Result<Vec<SessionRecord>> {
    let runs = runs::unfinished(db, world.node).await.context("the runs cannot be read")?;
    let mut left =
        sessions::live_on(db, world.node).await.context("the sessions cannot be read")?;

    let is_of_a_run = |session: SessionId| {
        runs.iter().any(|run| run.owns_session && run.session == Some(session))
    };
    let (over, mut left): (Vec<_>, Vec<_>) =
        left.drain(..).partition(|session| is_of_a_run(session.id));
    let ended = over.iter().map(|session| end(world, session));
    for ended in join_all(ended).await {
        ended?;
    }
    for session in &mut left {
        evict(world, session, &runs).await?;
    }
    for run in &runs {
        let data = json!({ "status": RunStatus::Failed, "failure": restarted("run") });
        let event = world.events.make(run, EventKind::RunEnded, data);
        let change = RunChange {
            status: Some(RunStatus::Failed),
            failure: Some(restarted("run")),
            finished_at: Some(world.clock.now()),
            events: vec![event.clone()],
            ..RunChange::default()
        };
        let stored = world.store.change_run(run.id, change).await;
        stored.with_context(|| format!("the end of run {} cannot be stored", run.id))?;
        world.events.send([event]);
        info!("run {} of the former server is marked as failed", run.id);
    }
    Ok(left)
}

async fn end(world: &Arc<World>, session: &SessionRecord) -> anyhow::Result<()> {
    let id = session.id;
    finish_films(world, session.organization, id).await;
    let holder = session.occupancy.holder();
    let run = holder.and_then(|held| held.occupant.runnable_id.as_str().parse().ok());
    finish_downloads(world, session.organization, id, run).await;
    for what in world.launcher.sweep(id, Files::AsSet).await {
        error!("left behind by session {id}: {what}");
    }
    let (at, failure) = (world.clock.now(), Some(restarted("session")));
    let data = json!({ "status": SessionStatus::Failed, "failure": failure });
    let event = world.events.make(session, EventKind::SessionEnded, data);
    let ended =
        Ended { failure, events: vec![event.clone()], ..Ended::new(SessionStatus::Failed, at) };
    let stored = world.store.end_session(id, ended).await;
    stored.with_context(|| format!("the end of session {id} cannot be stored"))?;
    world.events.send([event]);
    info!("session {id}, which a run of the former server used, is marked as ended");
    Ok(())
}

/// Releases a session that one of these runs holds.
async fn evict(
    world: &Arc<World>,
    session: &mut SessionRecord,
    runs: &[RunRecord],
) -> anyhow::Result<()> {
    let held = session.occupancy.holder().filter(|held| {
        held.occupant.runnable_type == RunnableType::WorkflowRun
            && runs.iter().any(|run| run.id.to_string() == held.occupant.runnable_id.as_str())
    });
    let Some(held) = held else { return Ok(()) };
    let release = Event::Release { generation: held.generation, lease: held.lease };
    let vacant = session.occupancy.after(release)?;
    let idle = world.settings.idle().map(|idle| world.clock.now() + idle);
    let data = json!({
        "runnable_type": held.occupant.runnable_type,
        "runnable_id": held.occupant.runnable_id,
        "generation": held.generation,
    });
    let event = world.events.make(&*session, EventKind::OccupancyReleased, data);
    let events = vec![event.clone()];
    let change = Occupied { idle, events, ..Occupied::new(held.generation, vacant.clone()) };
    let stored = world.store.occupy(session.id, change).await;
    stored.with_context(|| format!("the release of session {} cannot be stored", session.id))?;
    world.events.send([event]);
    info!("session {} was released: {} has ended", session.id, held.occupant);
    session.occupancy = vacant;
    session.deadlines.idle_expires_at = idle.or(session.deadlines.idle_expires_at);
    Ok(())
}

/// Hands the sessions to the registry, and ends the programs that belong to none of them, in the
/// background.
pub(super) async fn adopt(
    left: Vec<SessionRecord>,
    registry: &Address<Registry>,
    world: &Arc<World>,
    (db, desktops): (&Db, &Desktops),
) {
    let live: Vec<SessionId> = left.iter().map(|session| session.id).collect();
    let orphans = desktops.orphans(&live);
    if !left.is_empty() {
        info!("{} sessions of the former server are adopted", left.len());
        if let Err(cause) = registry.ask(Adopt { records: left }).await {
            error!("the sessions of the former server cannot be adopted: {cause}");
        }
    }
    let (pooled, orphans) = pooled(orphans, db, world).await;
    pool::adopt(world, pooled).await;
    for id in orphans {
        let swept = desktops.end_remains(id, Files::AsSet);
        tokio::spawn(async move {
            warn!("removing the remains of session {id}, which has ended");
            for what in swept.await {
                error!("left behind by session {id}: {what}");
            }
        });
    }
}

/// Separates the desktops that waited in the pool. One whose id a session has is not among them:
/// it may have been used.
async fn pooled(
    orphans: Vec<SessionId>,
    db: &Db,
    world: &World,
) -> (Vec<SessionId>, Vec<SessionId>) {
    let marked = orphans.iter().filter(|id| world.directories.of(**id).pooled().is_some());
    let marked: Vec<SessionId> = marked.copied().collect();
    let used = match sessions::of_ids(db, &marked).await {
        Ok(used) => used,
        Err(cause) => {
            error!("the pool of the former server is not adopted: {cause}");
            return (Vec::new(), orphans);
        }
    };
    let waits = |id: &SessionId| marked.contains(id) && !used.iter().any(|row| row.id == *id);
    orphans.into_iter().partition(waits)
}

fn restarted(what: &str) -> Failure {
    let message = format!("the server was restarted while the {what} was under way");
    Failure::new("supervisor_restarted", message)
}
