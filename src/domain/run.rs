//! Workflow runs as values: how a run and its blocks stand.

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
            /// Every status.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As the API and the tables write it.
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
    /// What the API shows of a run's life.
    ///
    /// ```text
    /// created --> queued --> running <--> paused --> completed | failed | terminated
    ///                                                | canceled | timed_out
    /// ```
    RunStatus {
        /// It is stored.
        Created = "created",
        /// It waits for its session.
        Queued = "queued",
        /// Its blocks are being executed.
        Running = "running",
        /// It waits for a person.
        Paused = "paused",
        /// Every block did what it should.
        Completed = "completed",
        /// A block failed, or the session did.
        Failed = "failed",
        /// A block found that going on makes no sense.
        Terminated = "terminated",
        /// Somebody called it off.
        Canceled = "canceled",
        /// Its time was over.
        TimedOut = "timed_out",
    }
}

statuses! {
    /// How one block of a run stands.
    BlockStatus {
        /// It is being executed.
        Running = "running",
        /// It did what it should.
        Completed = "completed",
        /// It did not.
        Failed = "failed",
        /// It found that going on makes no sense.
        Terminated = "terminated",
        /// Somebody called the run off meanwhile.
        Canceled = "canceled",
        /// Its time was over.
        TimedOut = "timed_out",
        /// It was passed over.
        Skipped = "skipped",
    }
}

impl RunStatus {
    /// Whether it never changes again.
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
    /// How a block ends that was under way when its run ended.
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

/// A version of a workflow as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRecord {
    /// This version's name.
    pub id: WorkflowId,
    /// The name over all versions.
    pub permanent_id: WorkflowPermanentId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// From 1, rising.
    pub version: i32,
    /// For people.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// `published` or `draft`.
    pub status: String,
    /// The definition as it was given, whole, unknown fields included.
    pub definition: Value,
    /// The workflow's settings as they were given, whole, unknown fields included.
    pub settings: Value,
    /// When this version was stored.
    pub created_at: DateTime<Utc>,
    /// When this record was last written.
    pub modified_at: DateTime<Utc>,
    /// When the workflow was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Its name.
    pub id: RunId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The node that executes it.
    pub node: NodeId,
    /// Which version of which workflow it executes.
    pub workflow: WorkflowId,
    /// The same workflow over all versions.
    pub workflow_permanent_id: WorkflowPermanentId,
    /// The session it drives; kept after its end.
    pub session: Option<SessionId>,
    /// Whether it made that session for itself, and closes it in the end.
    pub owns_session: bool,
    /// The debug session it belongs to.
    pub debug_session: Option<DebugSessionId>,
    /// For people.
    pub title: Option<String>,
    /// How it stands.
    pub status: RunStatus,
    /// The values of the workflow's parameters.
    pub parameters: Value,
    /// The request as it was given, whole.
    pub request: Value,
    /// `{label}_output` of every block that has finished.
    pub outputs: Value,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it began to wait for its session.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its first block began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When this record was last written.
    pub modified_at: DateTime<Utc>,
    /// The key with which it was asked for.
    pub api_key: Option<ApiKeyId>,
}

/// The execution of one block as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockRecord {
    /// Its name.
    pub id: BlockRunId,
    /// The run it is part of.
    pub run: RunId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The block around it, in a loop.
    pub parent: Option<BlockRunId>,
    /// From 0, in the order in which blocks began.
    pub position: i32,
    /// The block's label in the definition.
    pub label: String,
    /// The block's type in the definition.
    pub block_type: String,
    /// How it stands.
    pub status: BlockStatus,
    /// What it gave.
    pub output: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The type of an artifact that a browser or a block has downloaded.
pub const DOWNLOAD: &str = "download";

/// A stored file that a run or a session made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// Its name.
    pub id: ArtifactId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The session it shows or came from.
    pub session: Option<SessionId>,
    /// The run that made it.
    pub run: Option<RunId>,
    /// The block that made it.
    pub block: Option<BlockRunId>,
    /// `screenshot`, `screenshot_final`, `download`, `pdf`, `recording`, `har`, …
    pub artifact_type: String,
    /// Where the file is, relative to the directory of artifacts.
    pub path: String,
    /// Its media type.
    pub media_type: String,
    /// In bytes.
    pub size: i64,
    /// SHA-256 in hexadecimal digits, where it was taken.
    pub checksum: Option<String>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// The rotation of its session's credentials, by which links to it hold; 0 for a file that is being stored.
    pub rotation: i64,
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
