//! What the execution of a workflow needs of the world around it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::domain::ids::{ArtifactId, BlockRunId};
use crate::domain::run::BlockStatus;
use crate::domain::session::Failure;

/// Why a call of DevTools gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DevtoolsError {
    /// The browser refused it.
    #[error("{method}: {message} ({code})")]
    Refused {
        /// The CDP method.
        method: String,
        /// The protocol's error code.
        code: i64,
        /// The browser's words.
        message: String,
    },
    /// The connection has ended; every later call fails in the same way.
    #[error("the connection to the browser has ended")]
    Disconnected,
}

/// An event of DevTools.
#[derive(Debug, Clone)]
pub struct DevtoolsEvent {
    /// The flat session it belongs to; none for the browser itself.
    pub session: Option<String>,
    /// `Page.loadEventFired`.
    pub method: String,
    /// As the protocol defines for the method.
    pub params: Value,
}

/// A connection to a browser's DevTools, with flat sessions.
pub trait Devtools: fmt::Debug + Send + Sync + 'static {
    /// Sends a command and resolves with its result. Sent at once, not when first polled.
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>>;

    /// All events from now on, in order. Ends with the connection, or when the receiver falls
    /// more than a few thousand events behind.
    fn events(&self) -> mpsc::Receiver<DevtoolsEvent>;

    /// Resolves when blocks may do something to the page: at once, unless a person has control.
    fn turn(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A block that begins.
#[derive(Debug, Clone)]
pub struct BlockBegins {
    /// The block around it, in a loop.
    pub parent: Option<BlockRunId>,
    /// Its label in the definition.
    pub label: String,
    /// Its type in the definition.
    pub block_type: String,
    /// In a loop: the index and the value of this iteration.
    pub iteration: Option<(usize, Value)>,
}

/// How a block ended.
#[derive(Debug, Clone)]
pub struct BlockEnded {
    /// One of the final ones.
    pub status: BlockStatus,
    /// What it gave.
    pub output: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A file that a block made.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// The block that made it; none for one of the whole run.
    pub block: Option<BlockRunId>,
    /// `screenshot`, `screenshot_final`, `download`, `pdf`, `har`, …
    pub artifact_type: String,
    /// The file's name, without folders.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its content.
    pub bytes: Bytes,
}

/// Why the host could not do what was asked. The run cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct HostError(pub Box<Failure>);

/// A block that another program executes.
#[derive(Debug, Clone)]
pub struct Job {
    /// The block's execution.
    pub block: BlockRunId,
    /// Its label in the definition.
    pub label: String,
    /// Its type in the definition.
    pub block_type: String,
    /// The block with its templates rendered; of a code block, the code as it was written.
    pub definition: Map<String, Value>,
    /// The names that its templates can use: parameters, outputs, the loop around it.
    pub values: Map<String, Value>,
    /// The target of the tab that blocks have worked in, if any has.
    pub target: Option<String>,
}

/// The surroundings of one run.
///
/// The engine drops a call that it no longer waits for, when the run is called off or a block's
/// time is over. A block that had not begun then has not begun, and what was asked for is undone:
/// a child process ended, a pause lifted, an agent told to stop.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// The browser of the run's session; connected when first asked for, the same from then on.
    fn devtools(&self) -> BoxFuture<'_, Result<Arc<dyn Devtools>, HostError>>;

    /// Resolves when the block may begin and is on record. This is the place where a run waits
    /// while a person has taken control.
    fn begin_block(&self, block: BlockBegins) -> BoxFuture<'_, Result<BlockRunId, HostError>>;

    /// Resolves when the end of the block is on record.
    fn end_block(&self, id: BlockRunId, end: BlockEnded) -> BoxFuture<'_, Result<(), HostError>>;

    /// Stores a file.
    fn store(&self, artifact: NewArtifact) -> BoxFuture<'_, Result<ArtifactId, HostError>>;

    /// Pauses the run for a person, and resolves when somebody let it go on.
    fn pause(&self, why: Value) -> BoxFuture<'_, Result<(), HostError>>;

    /// Puts a file where the run's browser can read it, and returns its path. It stays until another run
    /// has the session.
    fn put_file(&self, _name: String, _bytes: Bytes) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        Box::pin(async {
            Err(HostError::missing("scratch_missing", "there is no directory for files"))
        })
    }

    /// The reason for which the egress policy of the session has refused a target that `failure` names since
    /// the block began, with the way out; a browser shows none for pages of `https`. None if it has not.
    fn refusal<'a>(
        &'a self,
        _block: BlockRunId,
        _failure: &'a str,
    ) -> BoxFuture<'a, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    /// A directory into which the run's browser can download, made when it is first asked for.
    fn download_folder(&self) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        Box::pin(async {
            Err(HostError::missing("scratch_missing", "there is no directory for files"))
        })
    }

    /// Reads a file that the browser has put into that directory, of at most `most` bytes, and removes
    /// it. The error is of the kind `FileTooLarge` for one that has more.
    fn take_download(&self, _name: String, _most: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    /// Executes a block that needs a model. Fails with `agent_not_configured` unless an agent is
    /// configured.
    fn run_agent(&self, job: Job) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        let message =
            format!("a block of type `{}` needs an agent, and none is configured", job.block_type);
        let hint = "configure an agent endpoint, or use the blocks click, fill and extract";
        let end = BlockEnded::failed("agent_not_configured", message, Some(hint));
        Box::pin(async { Ok(end) })
    }

    /// Executes the Python of a code block in a child process.
    fn run_code(&self, job: Job) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        let message = format!("this server does not run the code of `{}`", job.label);
        let end = BlockEnded::failed("code_not_configured", message, None);
        Box::pin(async { Ok(end) })
    }

    /// Runs another workflow, as a `workflow_trigger` block says. The host limits the depth.
    fn trigger(&self, job: Job) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        let message = format!("this server does not run what `{}` triggers", job.label);
        let end = BlockEnded::failed("trigger_not_configured", message, None);
        Box::pin(async { Ok(end) })
    }
}

impl BlockEnded {
    /// A failure.
    pub fn failed(code: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        let failure = failure(code, message, hint);
        Self { status: BlockStatus::Failed, output: None, failure: Some(failure) }
    }
}

impl HostError {
    fn missing(code: &str, message: &str) -> Self {
        Self(Box::new(failure(code, message, None)))
    }
}

/// A failure without a program behind it.
pub fn failure(code: &str, message: impl Into<String>, hint: Option<&str>) -> Failure {
    Failure {
        code: code.to_owned(),
        stage: None,
        message: message.into(),
        exit: None,
        log_tail: Vec::new(),
        hint: hint.map(str::to_owned),
    }
}
