//! The interface between the execution of a workflow and its surroundings.

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

/// An error of a DevTools call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DevtoolsError {
    /// The browser refused the command.
    #[error("{method}: {message} ({code})")]
    Refused {
        method: String,
        /// The error code of the protocol.
        code: i64,
        /// The message of the browser.
        message: String,
    },
    /// The connection has ended; every later call fails in the same way.
    #[error("the connection to the browser has ended")]
    Disconnected,
}

#[derive(Debug, Clone)]
pub struct DevtoolsEvent {
    /// The flat session of the event; none for the browser itself.
    pub session: Option<String>,
    /// The name of the event, as in `Page.loadEventFired`.
    pub method: String,
    /// The parameters that the protocol defines for the method.
    pub params: Value,
}

/// A connection to a browser's DevTools, with flat sessions.
pub trait Devtools: fmt::Debug + Send + Sync + 'static {
    /// Sends a command and resolves with its result. The command is sent at once, not at the first
    /// poll.
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>>;

    /// Returns all events from now on, in order. The stream ends with the connection, or when the
    /// receiver falls more than a few thousand events behind.
    fn events(&self) -> mpsc::Receiver<DevtoolsEvent>;

    /// Resolves when blocks may act on the page: at once, unless a person has control.
    fn turn(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// True while a person has control. Does not wait, and records nothing.
    fn is_held(&self) -> bool {
        false
    }
}

/// A block that is about to begin.
#[derive(Debug, Clone)]
pub struct BlockBegins {
    /// The enclosing block, if the block is in a loop.
    pub parent: Option<BlockRunId>,
    /// The label in the definition.
    pub label: String,
    /// The type in the definition.
    pub block_type: String,
    /// The index and the value of the current iteration, if the block is in a loop.
    pub iteration: Option<(usize, Value)>,
}

/// The result of a block.
#[derive(Debug, Clone)]
pub struct BlockEnded {
    /// The final status of the block.
    pub status: BlockStatus,
    /// The output of the block, if any.
    pub output: Option<Value>,
    /// The cause, if the block failed.
    pub failure: Option<Failure>,
}

/// A file that a block produced.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// The block that produced it; none for a file of the whole run.
    pub block: Option<BlockRunId>,
    /// The artifact type, as in `screenshot`, `screenshot_final`, `download`, `pdf`, `har`.
    pub artifact_type: String,
    /// The name of the file, without folders.
    pub name: String,
    /// The media type of the file.
    pub media_type: String,
    pub bytes: Bytes,
}

/// The failure of a host operation. The run cannot continue.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct HostError(pub Box<Failure>);

/// A block that another program executes.
#[derive(Debug, Clone)]
pub struct ExternalBlock {
    /// The execution of the block.
    pub block: BlockRunId,
    /// The label in the definition.
    pub label: String,
    /// The type in the definition.
    pub block_type: String,
    /// The block with its templates rendered; the code of a code block is not rendered.
    pub definition: Map<String, Value>,
    /// The names that the block's templates can use: parameters, outputs, the enclosing loop.
    pub values: Map<String, Value>,
    /// The target of the current tab, if a block has driven the browser.
    pub target: Option<String>,
}

/// The surroundings of one run.
///
/// The engine drops the future of a call when the run is canceled or the time limit of the block has
/// passed. A block whose `begin_block` is dropped has not begun. Dropping a call undoes its effect: a
/// child process is ended, a pause is lifted, an agent is stopped.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// Returns the browser of the run's session. It is connected by the first call; later calls
    /// return the same one.
    fn devtools(&self) -> BoxFuture<'_, Result<Arc<dyn Devtools>, HostError>>;

    /// Resolves when the block may begin and is recorded. A run waits here while a person has
    /// control.
    fn begin_block(&self, block: BlockBegins) -> BoxFuture<'_, Result<BlockRunId, HostError>>;

    /// Resolves when the end of the block is recorded.
    fn end_block(&self, id: BlockRunId, end: BlockEnded) -> BoxFuture<'_, Result<(), HostError>>;

    /// Stores a file as an artifact.
    fn store(&self, artifact: NewArtifact) -> BoxFuture<'_, Result<ArtifactId, HostError>>;

    /// Pauses the run for a person, and resolves when a person resumes it.
    fn pause(&self, why: Value) -> BoxFuture<'_, Result<(), HostError>>;

    /// Puts a file where the run's browser can read it, and returns its path. The file stays until
    /// another run gets the session.
    fn put_file(&self, _name: String, _bytes: Bytes) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        Box::pin(async {
            Err(HostError::missing("scratch_missing", "there is no directory for files"))
        })
    }

    /// Returns the reason why the session's egress policy refused a target named in `failure` since
    /// the block began, with advice. A browser does not show the reason for `https` pages. None if
    /// nothing was refused.
    fn refusal<'a>(
        &'a self,
        _block: BlockRunId,
        _failure: &'a str,
    ) -> BoxFuture<'a, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    /// Returns a directory into which the run's browser can download; the first call creates it.
    fn download_folder(&self) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        Box::pin(async {
            Err(HostError::missing("scratch_missing", "there is no directory for files"))
        })
    }

    /// Reads a file of at most `most` bytes from the download directory, and removes it. The error
    /// kind is `FileTooLarge` if the file is larger.
    fn take_download(&self, _name: String, _most: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    /// Executes a block that needs a model. The block fails with `agent_not_configured` if no agent
    /// is configured.
    fn run_agent(&self, job: ExternalBlock) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        let message =
            format!("a block of type `{}` needs an agent, and none is configured", job.block_type);
        let hint = "configure an agent endpoint, or use the blocks click, fill and extract";
        let end = BlockEnded::failed("agent_not_configured", message, Some(hint));
        Box::pin(async { Ok(end) })
    }

    /// Executes the Python of a code block in a child process.
    fn run_code(&self, job: ExternalBlock) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        let message = format!("this server does not run the code of `{}`", job.label);
        let end = BlockEnded::failed("code_not_configured", message, None);
        Box::pin(async { Ok(end) })
    }

    /// Runs another workflow, as a `workflow_trigger` block requests. The host limits the depth.
    fn trigger(&self, job: ExternalBlock) -> BoxFuture<'_, Result<BlockEnded, HostError>> {
        let message = format!("this server cannot run the workflow that `{}` triggers", job.label);
        let end = BlockEnded::failed("trigger_not_configured", message, None);
        Box::pin(async { Ok(end) })
    }
}

impl BlockEnded {
    /// Creates the result of a failed block.
    pub fn failed(code: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        let failure = Failure { hint: hint.map(str::to_owned), ..Failure::new(code, message) };
        Self { status: BlockStatus::Failed, output: None, failure: Some(failure) }
    }
}

impl HostError {
    fn missing(code: &str, message: &str) -> Self {
        Self(Box::new(Failure::new(code, message)))
    }
}
