//! What the execution of a workflow needs of the world around it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
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

/// The surroundings of one run.
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
}
