//! Workflow runs as values: the status of a run and of its blocks.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{
    ApiKeyId, ArtifactId, BlockRunId, DebugSessionId, NodeId, OrganizationId, RunId, SessionId,
    WorkflowId, WorkflowPermanentId,
};
use super::session::{Failure, NotAStatus};

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every status, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the value used in the API and the tables.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = NotAStatus;

            fn from_str(text: &str) -> Result<Self, NotAStatus> {
                Self::ALL.iter().copied().find(|status| status.as_str() == text).ok_or(NotAStatus)
            }
        }
    };
}

statuses! {
    /// The status of a run, as shown in the API.
    ///
    /// ```text
    /// created --> queued --> running <--> paused --> completed | failed | terminated
    ///                                                | canceled | timed_out
    /// ```
    RunStatus {
        /// The run is stored.
        Created = "created",
        /// The run waits for its session.
        Queued = "queued",
        /// The run's blocks are being executed.
        Running = "running",
        /// The run waits for a person.
        Paused = "paused",
        /// Every block of the run succeeded.
        Completed = "completed",
        /// A block or the session failed.
        Failed = "failed",
        /// A block decided that the run cannot usefully continue.
        Terminated = "terminated",
        /// A client or operator canceled the run.
        Canceled = "canceled",
        /// The run exceeded its time limit.
        TimedOut = "timed_out",
    }
}

statuses! {
    /// The status of one block of a run.
    BlockStatus {
        /// The block is being executed.
        Running = "running",
        /// The block has succeeded.
        Completed = "completed",
        /// The block has failed.
        Failed = "failed",
        /// The block decided that the run cannot usefully continue.
        Terminated = "terminated",
        /// The run was canceled while the block was executed.
        Canceled = "canceled",
        /// The block exceeded its time limit.
        TimedOut = "timed_out",
        /// The block was not executed.
        Skipped = "skipped",
    }
}

impl RunStatus {
    /// True if the status never changes again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Created | Self::Queued | Self::Running | Self::Paused => false,
            Self::Completed | Self::Failed | Self::Terminated | Self::Canceled | Self::TimedOut => {
                true
            }
        }
    }
}

impl BlockStatus {
    /// Returns the final status of a block that was being executed when its run ended.
    pub fn cut_off_by(run: RunStatus) -> Self {
        match run {
            RunStatus::TimedOut => Self::TimedOut,
            RunStatus::Canceled => Self::Canceled,
            RunStatus::Created
            | RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Completed
            | RunStatus::Failed
            | RunStatus::Terminated => Self::Failed,
        }
    }
}

/// A version of a workflow, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRecord {
    /// The id of this version.
    pub id: WorkflowId,
    /// The id that all versions share.
    pub permanent_id: WorkflowPermanentId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The version number, ascending from 1.
    pub version: i32,
    pub title: String,
    pub description: Option<String>,
    /// The status: `published` or `draft`.
    pub status: String,
    /// The definition as the client sent it, with unknown fields.
    pub definition: Value,
    /// The workflow's settings as the client sent them, with unknown fields.
    pub settings: Value,
    /// The time at which this version was stored.
    pub created_at: DateTime<Utc>,
    /// The time at which this record was last written.
    pub modified_at: DateTime<Utc>,
    /// The time at which the workflow was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// A run, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    pub id: RunId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The node that executes it.
    pub node: NodeId,
    /// The version of the workflow that it executes.
    pub workflow: WorkflowId,
    /// The id that all versions of the workflow share.
    pub workflow_permanent_id: WorkflowPermanentId,
    /// The session that it drives; kept after the run's end.
    pub session: Option<SessionId>,
    /// True if the run created the session for itself, and closes it at its end.
    pub owns_session: bool,
    /// The debug session it belongs to.
    pub debug_session: Option<DebugSessionId>,
    pub title: Option<String>,
    pub status: RunStatus,
    /// The values of the workflow's parameters.
    pub parameters: Value,
    /// The request as the client sent it, complete.
    pub request: Value,
    /// `{label}_output` of every block that has finished.
    pub outputs: Value,
    /// The reason for its failure.
    pub failure: Option<Failure>,
    /// The time at which it was stored.
    pub created_at: DateTime<Utc>,
    /// The time at which it began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// The time at which its first block began.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The time at which this record was last written.
    pub modified_at: DateTime<Utc>,
    /// The API key that requested the run.
    pub api_key: Option<ApiKeyId>,
}

/// The execution of one block, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockRecord {
    pub id: BlockRunId,
    /// The run that it is part of.
    pub run: RunId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The enclosing block, for a block in a loop.
    pub parent: Option<BlockRunId>,
    /// The position, from 0, in the order in which blocks began.
    pub position: i32,
    /// The block's label in the definition.
    pub label: String,
    /// The block's type in the definition.
    pub block_type: String,
    pub status: BlockStatus,
    /// The output of the block.
    pub output: Option<Value>,
    /// The reason for its failure.
    pub failure: Option<Failure>,
    /// The time at which it began.
    pub started_at: DateTime<Utc>,
    /// The time at which it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The artifact type of a file that a browser or a block has downloaded.
pub const DOWNLOAD: &str = "download";

/// A stored file that a run or a session has produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    pub id: ArtifactId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The session that it shows or comes from.
    pub session: Option<SessionId>,
    /// The run that produced it.
    pub run: Option<RunId>,
    /// The block that produced it.
    pub block: Option<BlockRunId>,
    /// `screenshot`, `screenshot_final`, `download`, `pdf`, `recording`, `har`, …
    pub artifact_type: String,
    /// The path of the file, below `artifacts` in the store.
    pub path: String,
    pub media_type: String,
    /// The size in bytes.
    pub size: i64,
    /// SHA-256 in hexadecimal digits, if it was computed.
    pub checksum: Option<String>,
    /// The time at which it was stored.
    pub created_at: DateTime<Utc>,
    /// The rotation of its session's credentials, by which links to it hold; 0 for a file that is being stored.
    pub rotation: i64,
}

impl ArtifactRecord {
    /// The key of the file in the store of objects.
    pub fn key(&self) -> String {
        format!("artifacts/{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_back_as_it_was_written() {
        for status in RunStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(*status));
        }
        for status in BlockStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(*status));
        }
        assert_eq!("done".parse::<RunStatus>(), Err(NotAStatus));
    }
}
