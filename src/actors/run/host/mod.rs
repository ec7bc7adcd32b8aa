//! The environment of a run's blocks: its browser, its record, its files, and the programs that
//! execute what the engine does not.

mod agent;
mod code;
mod files;
mod trigger;
mod turn;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use self::turn::{ControlTurn, WhenAgentHasControl};
use super::messages::Pause;
use super::node::Node;
use super::{Run, RunError};
use crate::actors::ask::{Unanswered, WeakAddress};
use crate::actors::passes::{Pass, PassScope, Reach};
use crate::actors::storing::store_artifact;
use crate::actors::traffic::Refused;
use crate::actors::world::World;
use crate::domain::checksum::Checksum;
use crate::domain::file_name::file_name;
use crate::domain::ids::{ApiKeyId, ArtifactId, BlockRunId, OrganizationId, RunId, SessionId};
use crate::domain::occupancy::Generation;
use crate::domain::run::ArtifactRecord;
use crate::domain::session::Failure;
use crate::system::desktop::EgressStatus;
use crate::system::python::Python;
use crate::workflow::host::{
    BlockBegins, BlockEnded, Devtools, ExternalBlock, Host, HostError, NewArtifact,
};

/// The time limit of a pause whose block sets none.
const PAUSE: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest wait for the egress program to count a refused request.
const COUNTED: Duration = Duration::from_secs(2);

/// The host that a run's blocks call.
#[derive(Debug)]
pub(super) struct RunHost {
    world: Arc<World>,
    turn: ControlTurn,
    run: WeakAddress<Run>,
    registry: Arc<dyn Node>,
    id: RunId,
    organization: OrganizationId,
    session: SessionId,
    /// The API key of the request that started the run.
    api_key: Option<ApiKeyId>,
    /// The number of runs in which this one is nested.
    depth: u8,
    /// The occupancy under which this run drives.
    occupancy: Option<Generation>,
    /// The number of triggered runs that have not ended or are still being started.
    handed: watch::Sender<usize>,
    devtools: OnceCell<Arc<dyn Devtools>>,
    /// The interpreter that runs the code of this run only.
    python: Python,
    uploads: OnceCell<()>,
}

impl RunHost {
    pub(super) fn new(run: &Run, session: SessionId, address: WeakAddress<Run>) -> Self {
        let world = &run.world;
        let (handed, _) = watch::channel(0);
        Self {
            world: Arc::clone(world),
            turn: ControlTurn::new(world, address.clone(), run.record.organization, session),
            run: address,
            registry: Arc::clone(&run.registry),
            id: run.record.id,
            organization: run.record.organization,
            session,
            api_key: run.record.api_key,
            depth: run.assignment.depth,
            occupancy: run
                .lease
                .as_ref()
                .map_or(run.assignment.lent, |it| Some(it.grant.generation)),
            handed,
            devtools: OnceCell::new(),
            python: world.python.apart(),
            uploads: OnceCell::new(),
        }
    }

    /// Resolves when every triggered run and program that is no longer waited for has ended.
    pub(super) async fn quiet(&self) {
        let mut handed = self.handed.subscribe();
        let _ = handed.wait_for(|handed| *handed == 0).await;
        self.python.quiet().await;
    }

    /// A pass for the program that executes a block; it is valid until it is dropped.
    fn pass(&self, block: BlockRunId) -> Pass {
        self.world.passes.issue(PassScope {
            organization: self.organization,
            session: self.session,
            run: self.id,
            block,
            folder: self.code_folder(block),
            over: CancellationToken::new(),
        })
    }

    fn reach(&self) -> Result<&Reach, HostError> {
        let reach = self.world.reach.get();
        reach.ok_or_else(|| host_error("server_starting", "the server does not listen yet"))
    }

    async fn connect(&self) -> Result<Arc<dyn Devtools>, HostError> {
        let view = self.world.views.session(self.organization, self.session);
        let desktop = view.and_then(|view| view.borrow().record.desktop.clone());
        let desktop =
            desktop.ok_or_else(|| host_error("session_ended", "the session has ended"))?;
        let devtools = self.world.browsers.dial(&desktop).await.map_err(|cause| {
            host_error("devtools_unreachable", &format!("the browser does not answer: {cause}"))
        })?;
        Ok(Arc::new(WhenAgentHasControl { devtools, turn: self.turn.clone() }))
    }

    /// The explanation of a refused request that matches `failure`. The counters of the egress
    /// program arrive within about a second.
    async fn refused(&self, block: BlockRunId, failure: &str) -> Option<String> {
        let run = self.world.views.run(self.organization, self.id)?;
        let began = run.borrow().blocks.iter().find(|it| it.id == block)?.started_at;
        let began_ms = u64::try_from(began.timestamp_millis()).ok()?;
        let mut status = self.world.views.traffic(self.session)?.status;
        let find = |status: &Option<EgressStatus>| {
            let rows = status.as_ref().map(|status| &status.refused)?;
            let row =
                rows.iter().find(|it| it.last_ms >= began_ms && failure.contains(&it.host))?;
            Some(Refused::new(&row.host, row.port, &row.code, row.count).message)
        };
        let counted = status.wait_for(|status| find(status).is_some());
        let status = tokio::time::timeout(COUNTED, counted).await.ok()?.ok()?;
        find(&status)
    }

    async fn keep(&self, artifact: NewArtifact) -> Result<ArtifactId, HostError> {
        let NewArtifact { block, artifact_type, name, media_type, bytes } = artifact;
        let admitted =
            self.world.quotas.check_storage(self.world.store.as_ref(), self.organization).await;
        admitted.map_err(|refusal| host_error("quota_exceeded", &refusal.to_string()))?;
        let now = self.world.clock.now();
        let id: ArtifactId = self.world.mint.mint(now);
        let path = format!("{}/{}/{id}_{}", self.organization, self.id, file_name(&name));
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let checksum = Checksum::of(&bytes);
        let record = ArtifactRecord {
            id,
            organization: self.organization,
            session: Some(self.session),
            run: Some(self.id),
            block,
            artifact_type,
            path,
            media_type,
            size,
            checksum: Some(checksum),
            created_at: now,
            rotation: 0,
        };
        let key = record.key();
        self.world.objects.deposit_bytes(&key, bytes).await.map_err(|cause| {
            host_error("artifact_not_stored", &format!("{name} cannot be stored: {cause}"))
        })?;
        match store_artifact(&self.world, &record).await {
            Ok(()) => Ok(id),
            Err(cause) => Err(host_error("artifact_not_stored", &cause.to_string())),
        }
    }
}

fn host_error(code: &str, message: &str) -> HostError {
    HostError(Box::new(Failure::new(code, message)))
}

fn refused(cause: &RunError) -> HostError {
    let code = match cause {
        RunError::Ending { .. } => "run_ending",
        RunError::NotPaused { .. } => "run_not_paused",
        RunError::NotStored(_) => "run_not_stored",
        RunError::Unanswered(Unanswered::Late) => "run_late",
        RunError::Unanswered(Unanswered::Gone) => "run_gone",
    };
    host_error(code, &cause.to_string())
}

impl Host for RunHost {
    fn devtools(&self) -> BoxFuture<'_, Result<Arc<dyn Devtools>, HostError>> {
        Box::pin(async move { self.devtools.get_or_try_init(|| self.connect()).await.cloned() })
    }

    fn begin_block(&self, block: BlockBegins) -> BoxFuture<'_, Result<BlockRunId, HostError>> {
        Box::pin(self.turn.begin_after_takeover(block))
    }

    fn end_block(&self, id: BlockRunId, end: BlockEnded) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(self.turn.end(id, end))
    }

    fn store(&self, artifact: NewArtifact) -> BoxFuture<'_, Result<ArtifactId, HostError>> {
        Box::pin(self.keep(artifact))
    }

    fn put_file(&self, name: String, bytes: Bytes) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        Box::pin(self.put(name, bytes))
    }

    fn download_folder(&self) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        Box::pin(self.folder_for_downloads())
    }

    fn take_download(&self, name: String, most: u64) -> BoxFuture<'_, std::io::Result<Bytes>> {
        Box::pin(self.take(name, most))
    }

    fn refusal<'a>(&'a self, block: BlockRunId, failure: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(self.refused(block, failure))
    }

    fn run_code(&self, job: ExternalBlock) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        Box::pin(self.code(job))
    }

    fn run_agent(&self, job: ExternalBlock) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        Box::pin(self.ask_agent(job))
    }

    fn trigger(&self, job: ExternalBlock) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        Box::pin(self.triggered(job))
    }

    fn pause(&self, _why: Value) -> BoxFuture<'_, Result<(), HostError>> {
        let asked = self.run.ask(Pause { patience: PAUSE });
        Box::pin(async move {
            asked.await.map_err(RunError::from).flatten().map_err(|cause| refused(&cause))
        })
    }
}
