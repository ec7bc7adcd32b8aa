//! Control turns: while a person has control, a run waits, between blocks and within them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::messages::{BeginBlock, EndBlock};
use super::super::{Run, RunError};
use super::refused;
use crate::actors::ask::WeakAddress;
use crate::actors::views::SessionView;
use crate::actors::world::World;
use crate::domain::ids::{BlockRunId, OrganizationId, SessionId};
use crate::domain::run::BlockStatus;
use crate::workflow::host::{
    BlockBegins, BlockEnded, Devtools, DevtoolsError, DevtoolsEvent, HostError,
};

/// The label and type of the block that records a person's control.
const TAKEOVER: &str = "takeover";

/// Waits while a person has control, and records each wait.
#[derive(Debug, Clone)]
pub(super) struct ControlTurn {
    world: Arc<World>,
    run: WeakAddress<Run>,
    organization: OrganizationId,
    session: SessionId,
    /// The block under way, and its label.
    within: Arc<Mutex<Option<(BlockRunId, String)>>>,
}

impl ControlTurn {
    pub(super) fn new(
        world: &Arc<World>,
        run: WeakAddress<Run>,
        organization: OrganizationId,
        session: SessionId,
    ) -> Self {
        let within = Arc::default();
        Self { world: Arc::clone(world), run, organization, session, within }
    }

    async fn begin(&self, block: BlockBegins) -> Result<BlockRunId, HostError> {
        let asked = self.run.ask(BeginBlock { block }).await;
        asked.map_err(RunError::from).flatten().map_err(|cause| refused(&cause))
    }

    pub(super) async fn end(&self, id: BlockRunId, end: BlockEnded) -> Result<(), HostError> {
        let asked = self.run.ask(EndBlock { id, end }).await;
        asked.map_err(RunError::from).flatten().map_err(|cause| refused(&cause))
    }

    /// Begins a block once no person has control.
    pub(super) async fn begin_after_takeover(
        &self,
        block: BlockBegins,
    ) -> Result<BlockRunId, HostError> {
        let never = CancellationToken::new();
        self.wait(block.parent, ("before", &block.label), &never).await?;
        let label = block.label.clone();
        let id = self.begin(block).await?;
        *self.within.lock() = Some((id, label));
        Ok(id)
    }

    /// Waits in the middle of a block while a person has control. True if it waited.
    pub(super) async fn wait_within(&self) -> bool {
        let (parent, label) = self.block_under_way();
        let never = CancellationToken::new();
        // A run whose record cannot be written is ended by its own actor.
        self.wait(parent, ("within", &label), &never).await.unwrap_or(false)
    }

    /// True while a person has control.
    fn is_waiting(&self) -> bool {
        let view = self.world.views.session(self.organization, self.session);
        view.is_some_and(|view| is_held(&view.borrow()))
    }

    fn block_under_way(&self) -> (Option<BlockRunId>, String) {
        let within = self.within.lock().clone();
        within.map_or((None, String::new()), |(id, label)| (Some(id), label))
    }

    /// Sets `hold` while a person has control, and records each such time. Returns at `over`, even
    /// while a person has control.
    pub(super) async fn hold(&self, hold: &watch::Sender<bool>, over: &CancellationToken) {
        let view = self.world.views.session(self.organization, self.session);
        let Some(mut view) = view else { return };
        loop {
            tokio::select! {
                biased;
                () = over.cancelled() => return,
                held = view.wait_for(is_held) => if held.is_err() { return },
            }
            hold.send_replace(true);
            let (parent, label) = self.block_under_way();
            // A run whose record cannot be written is ended by its own actor.
            let _ = self.wait(parent, ("within", &label), over).await;
            hold.send_replace(false);
        }
    }

    /// Waits while a person has control, or until `over`. True if it waited. The wait is recorded
    /// as a block of its own, of the type `takeover`, with its start, its end and the person; a run
    /// that ends meanwhile closes the block.
    async fn wait(
        &self,
        parent: Option<BlockRunId>,
        (when, label): (&str, &str),
        over: &CancellationToken,
    ) -> Result<bool, HostError> {
        let Some(mut view) = self.world.views.session(self.organization, self.session) else {
            return Ok(false); // The session has ended; the block fails by itself.
        };
        let mut waited = false;
        loop {
            let user = {
                let view = view.borrow_and_update();
                view.control.user().filter(|_user| is_held(&view)).cloned()
            };
            let Some(user) = user else { return Ok(waited) };
            waited = true;
            let begins = BlockBegins {
                parent,
                label: TAKEOVER.to_owned(),
                block_type: TAKEOVER.to_owned(),
                iteration: None,
            };
            let id = self.begin(begins).await?;
            let gone = tokio::select! {
                back = view.wait_for(|view| !is_held(view)) => back.is_err(),
                () = over.cancelled() => true,
            };
            let output = json!({ "by": user.label, "since": user.since, when: label });
            let status = BlockStatus::Completed;
            self.end(id, BlockEnded { status, output: Some(output), failure: None }).await?;
            if gone {
                return Ok(waited);
            }
        }
    }
}

/// True if a person has control, and may still hand it back.
fn is_held(view: &SessionView) -> bool {
    view.control.user().is_some() && !view.closing
}

/// The browser of a run. Its blocks do nothing to the browser while a person has control.
#[derive(Debug)]
pub(super) struct WhenAgentHasControl {
    pub devtools: Arc<dyn Devtools>,
    pub turn: ControlTurn,
}

impl Devtools for WhenAgentHasControl {
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>> {
        self.devtools.call(session, method, params)
    }

    fn events(&self) -> mpsc::Receiver<DevtoolsEvent> {
        self.devtools.events()
    }

    fn turn(&self) -> BoxFuture<'static, ()> {
        let turn = self.turn.clone();
        Box::pin(async move {
            turn.wait_within().await;
        })
    }

    fn is_held(&self) -> bool {
        self.turn.is_waiting()
    }
}
