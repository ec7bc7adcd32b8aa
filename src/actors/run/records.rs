//! The records of a run's blocks, and its pauses for people.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use futures_util::future::Either;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::messages::{AgentSays, AwaitAgent, BeginBlock, EndBlock, Pause};
use super::{Run, RunError};
use crate::actors::ask::{Answering, Handle, Unanswered, answered};
use crate::db::store::{RunChange, StoreError};
use crate::domain::event::EventKind;
use crate::domain::ids::BlockRunId;
use crate::domain::run::{BlockRecord, BlockStatus, RunStatus};
use crate::workflow::agent::AgentStatus;
use crate::workflow::host::{BlockBegins, BlockEnded};

/// The data of a block's events, for followers of the run. The block's output is read from the run
/// instead.
pub(super) fn block_data(block: &BlockRecord) -> Value {
    json!({
        "block": block.id,
        "parent": block.parent,
        "label": block.label,
        "block_type": block.block_type,
        "status": block.status,
        "failure": block.failure,
    })
}

impl Handle<BeginBlock> for Run {
    fn handle(
        &mut self,
        BeginBlock { block }: BeginBlock,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<BlockRunId, RunError>> {
        if let Some(ending) = &self.ending {
            return answered(Err(RunError::Ending { status: ending.status }));
        }
        let now = self.world.clock.now();
        let BlockBegins { parent, label, block_type, .. } = block;
        let record = BlockRecord {
            id: self.world.mint.mint(now),
            run: self.record.id,
            organization: self.record.organization,
            parent,
            position: i32::try_from(self.blocks.len()).unwrap_or(i32::MAX),
            label,
            block_type,
            status: BlockStatus::Running,
            output: None,
            failure: None,
            started_at: now,
            finished_at: None,
        };
        let (answer, begun) = oneshot::channel();
        let stored = self.world.store.insert_block(record.clone());
        self.writing += 1;
        ctx.spawn(stored.into_actor(self).map(move |stored, run, ctx| {
            let begun = stored.map_err(RunError::NotStored).map(|()| {
                let id = record.id;
                run.record_event(EventKind::BlockStarted, block_data(&record));
                run.blocks.push(record);
                run.publish();
                id
            });
            let _ = answer.send(begun); // A canceled execution does not receive it.
            run.wrote(ctx);
        }));
        Box::pin(async move { begun.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<EndBlock> for Run {
    fn handle(
        &mut self,
        EndBlock { id, end }: EndBlock,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), RunError>> {
        let BlockEnded { status, output, failure } = end;
        let known = self.blocks.iter().find(|block| block.id == id).cloned();
        let Some(known) = known.filter(|block| block.status == BlockStatus::Running) else {
            return answered(Ok(())); // The block has ended already: a repeated message.
        };
        let finished_at = Some(self.world.clock.now());
        let record = BlockRecord { status, output, failure, finished_at, ..known };
        let (answer, ended) = oneshot::channel();
        let stored = self.world.store.end_block(record.clone());
        self.writing += 1;
        ctx.spawn(stored.into_actor(self).map(move |stored, run, ctx| {
            let ended = stored.map_err(RunError::NotStored).map(|()| {
                run.world.metrics.blocks.add(record.status.as_str(), 1);
                run.record_event(EventKind::BlockEnded, block_data(&record));
                if let Some(block) = run.blocks.iter_mut().find(|block| block.id == id) {
                    *block = record;
                }
                run.publish();
            });
            let _ = answer.send(ended); // A canceled execution does not receive it.
            run.wrote(ctx);
        }));
        Box::pin(async move { ended.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<AwaitAgent> for Run {
    fn handle(
        &mut self,
        AwaitAgent { block, said }: AwaitAgent,
        _: &mut Context<Self>,
    ) -> Answering<Result<(), RunError>> {
        self.agent = Some((block, said)); // One block at a time is under way.
        answered(Ok(()))
    }
}

impl Handle<AgentSays> for Run {
    fn handle(
        &mut self,
        AgentSays { block, said }: AgentSays,
        _: &mut Context<Self>,
    ) -> Answering<Result<(), RunError>> {
        let status = self.record.status;
        let agent = self.agent.as_ref().filter(|(awaited, _)| *awaited == block);
        let Some((_, hears)) = agent else { return answered(Err(RunError::Ending { status })) };
        // Progress is only for viewers, and is not stored.
        if said.status == AgentStatus::Running && !said.progress.is_null() {
            let record = self.blocks.iter_mut().find(|record| record.id == block);
            if let Some(record) = record.filter(|record| record.status == BlockStatus::Running) {
                record.output = Some(serde_json::json!({ "progress": said.progress }));
            }
        }
        let goes_on = said.status == AgentStatus::Running;
        let said = super::AgentReport { progress: Value::Null, ..said };
        // The waiting messages already show that the agent is active: the last place in the channel
        // is reserved for the end.
        let heard = if goes_on && !hears.is_closed() && hears.capacity() <= 1 {
            Ok(())
        } else {
            hears.try_send(said).map_err(|_gone| RunError::Ending { status })
        };
        self.publish();
        answered(heard)
    }
}

impl Run {
    /// Stores a status that is not final, and then publishes it.
    fn show(&mut self, status: RunStatus, ctx: &mut Context<Self>) -> oneshot::Receiver<Shown> {
        let (answer, shown) = oneshot::channel();
        let before = self.record.status;
        let kind = if status == RunStatus::Paused {
            Some(EventKind::RunPaused)
        } else {
            (before == RunStatus::Paused).then_some(EventKind::RunResumed)
        };
        let events: Vec<_> =
            kind.into_iter().map(|kind| self.make_event(kind, Value::Null)).collect();
        let told = events.clone();
        let change = RunChange { status: Some(status), events: told, ..RunChange::default() };
        let stored = self.world.store.change_run(self.record.id, change);
        ctx.spawn(stored.into_actor(self).map(move |stored, run, _| {
            if stored.is_ok() {
                run.world.events.send(events);
            }
            if stored.is_ok() && run.ending.is_none() {
                run.record.status = status;
                run.publish();
            }
            let _ = answer.send(stored); // A canceled execution does not receive it.
        }));
        shown
    }
}

type Shown = Result<(), StoreError>;

impl Handle<Pause> for Run {
    fn handle(
        &mut self,
        Pause { patience }: Pause,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), RunError>> {
        if let Some(ending) = &self.ending {
            return answered(Err(RunError::Ending { status: ending.status }));
        }
        let (go_on, continued) = oneshot::channel();
        self.paused = Some(go_on);
        let paused = self.show(RunStatus::Paused, ctx);
        let (answer, resumed) = oneshot::channel();
        let waits = async move {
            paused.await.map_err(|_gone| Unanswered::Gone)?.map_err(RunError::NotStored)?;
            let over = Box::pin(tokio::time::sleep(patience));
            match futures_util::future::select(continued, over).await {
                Either::Left((Ok(()), _)) => Ok(()),
                Either::Left((Err(_), _)) | Either::Right(_) => Err(Unanswered::Late.into()),
            }
        };
        ctx.spawn(waits.into_actor(self).map(|went_on: Result<(), RunError>, run, ctx| {
            run.paused = None;
            if run.ending.is_none() {
                drop(run.show(RunStatus::Running, ctx)); // Updates of a run are stored in order.
            }
            let _ = answer.send(went_on);
        }));
        let _: Duration = patience;
        Box::pin(async move { resumed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
