//! What a former server of this node has left.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::join_all;
use tracing::{error, info};

use crate::actors::world::World;
use crate::db::store::{Ended, RunChange};
use crate::db::{Db, runs, sessions};
use crate::domain::run::RunStatus;
use crate::domain::session::{Failure, SessionStatus};

/// Ends what lives in the database and has no actor any more: the processes of each session, found
/// by their marker, and then its row; and the runs that were executed by that server.
pub(super) async fn recover(db: &Db, world: &Arc<World>) -> anyhow::Result<()> {
    let left = sessions::live_on(db, world.node).await.context("the sessions cannot be read")?;
    let ended = left.iter().map(async |record| {
        let id = record.id;
        for what in world.launcher.sweep(id).await {
            error!("left behind by session {id}: {what}");
        }
        let (at, failure) = (world.clock.now(), Some(restarted("session")));
        world.store.end_session(id, Ended { status: SessionStatus::Failed, failure, at }).await
    });
    for (record, ended) in left.iter().zip(join_all(ended).await) {
        ended.with_context(|| format!("the end of session {} cannot be stored", record.id))?;
        info!("session {} of a former server has been ended", record.id);
    }

    for run in runs::unfinished(db, world.node).await.context("the runs cannot be read")? {
        let change = RunChange {
            status: Some(RunStatus::Failed),
            failure: Some(restarted("run")),
            finished_at: Some(world.clock.now()),
            ..RunChange::default()
        };
        let stored = world.store.change_run(run.id, change).await;
        stored.with_context(|| format!("the end of run {} cannot be stored", run.id))?;
        info!("run {} of a former server has failed", run.id);
    }
    Ok(())
}

fn restarted(what: &str) -> Failure {
    Failure {
        code: "supervisor_restarted".to_owned(),
        stage: None,
        message: format!("the server was restarted while the {what} was under way"),
        exit: None,
        log_tail: Vec::new(),
        hint: None,
    }
}
