//! Browser profiles: the stored state of a browser, in numbered versions.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{OrganizationId, ProfileId, SessionId, WorkflowPermanentId};
use super::labels::{Name, Tags};

/// The profile of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileUse {
    pub id: ProfileId,
    /// True if the session makes the profile when it is stored. Any other profile must exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_new: bool,
    /// The version from which the session has started; none for an empty browser, and before the
    /// start.
    pub version: Option<i64>,
    /// The permission to store a new version.
    pub access: ProfileAccess,
}

impl ProfileUse {
    /// A profile to which the session writes, unless another one does.
    pub fn written(id: ProfileId) -> Self {
        Self { id, is_new: false, version: None, access: ProfileAccess::Write }
    }

    /// A profile that the session makes.
    pub fn made(id: ProfileId) -> Self {
        Self { is_new: true, ..Self::written(id) }
    }
}

/// The permission of a session to store its profile. At most one session that has not ended may
/// write to a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileAccess {
    /// A new version may be stored.
    Write,
    /// The session has a copy, which is not written back.
    Copy,
}

impl ProfileAccess {
    /// Returns the value used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Copy => "copy",
        }
    }
}

/// The owner of a profile that the server keeps by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Manager {
    /// All runs of a workflow with `persist_browser_session`, of one `browser_profile_key`.
    Workflow {
        /// The workflow over all its versions.
        workflow: WorkflowPermanentId,
        /// The key of the profile among those of the workflow; empty by default.
        key: String,
    },
    /// The debug sessions of a person for a workflow.
    Debug {
        /// The workflow over all its versions.
        workflow: WorkflowPermanentId,
        /// The id of the person.
        user: String,
    },
}

impl Manager {
    /// Returns the workflow that the profile is kept for.
    pub fn workflow(&self) -> WorkflowPermanentId {
        match self {
            Self::Workflow { workflow, .. } | Self::Debug { workflow, .. } => *workflow,
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow { workflow, key } => write!(f, "workflow:{workflow}:{key}"),
            Self::Debug { workflow, user } => write!(f, "debug:{workflow}:{user}"),
        }
    }
}

impl From<Manager> for String {
    fn from(manager: Manager) -> Self {
        manager.to_string()
    }
}

impl TryFrom<String> for Manager {
    type Error = NotAManager;

    fn try_from(text: String) -> Result<Self, NotAManager> {
        text.parse()
    }
}

/// A text that names no manager.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such manager of a profile")]
pub struct NotAManager;

impl FromStr for Manager {
    type Err = NotAManager;

    fn from_str(text: &str) -> Result<Self, NotAManager> {
        let mut parts = text.splitn(3, ':');
        let kind = parts.next().unwrap_or_default();
        let workflow = parts.next().and_then(|id| id.parse().ok()).ok_or(NotAManager)?;
        let rest = parts.next().ok_or(NotAManager)?.to_owned();
        match kind {
            "workflow" => Ok(Self::Workflow { workflow, key: rest }),
            "debug" => Ok(Self::Debug { workflow, user: rest }),
            _ => Err(NotAManager),
        }
    }
}

/// A profile as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileRecord {
    pub id: ProfileId,
    pub organization: OrganizationId,
    /// The name, unique among the organization's profiles that are not managed.
    pub name: Name,
    pub description: Option<String>,
    pub tags: Tags,
    /// The owner, if the server keeps the profile by itself.
    pub manager: Option<Manager>,
    /// The number of the version that sessions start from.
    pub current: i64,
    /// The number of the latest version that was ever stored.
    pub last: i64,
    /// The session that may store a new version, unless it has ended.
    pub writer: Option<SessionId>,
    pub created_at: DateTime<Utc>,
    pub modified_at: DateTime<Utc>,
}

/// A version of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub profile: ProfileId,
    /// The number, from 1.
    pub number: i64,
    pub organization: OrganizationId,
    /// The session that it was stored from; none for an import.
    pub session: Option<SessionId>,
    pub origin: Origin,
    /// The key of the archive in the object store.
    pub path: String,
    /// The size of the archive in bytes.
    pub size: i64,
    /// The SHA-256 hash of the archive, in hexadecimal digits.
    pub checksum: String,
    /// The version of the browser that wrote the profile.
    pub browser_version: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// The largest description of a profile, in bytes.
pub const LARGEST_DESCRIPTION: u64 = 8 * 1024 * 1024;

/// A profile with its versions, as it is stored beside its archives. A server without its rows
/// restores it from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    pub profile: ProfileRecord,
    /// All versions, the newest first.
    pub versions: Vec<VersionRecord>,
}

/// The cause for which a version was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The session ended, in any way.
    SessionEnd,
    /// A client asked for it while the session was live.
    Request,
    /// A client sent a storage state.
    StorageState,
    /// A client sent an archive.
    Import,
}

impl Origin {
    const ALL: [Self; 4] = [Self::SessionEnd, Self::Request, Self::StorageState, Self::Import];

    /// Returns the value used in the API and the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionEnd => "session_end",
            Self::Request => "request",
            Self::StorageState => "storage_state",
            Self::Import => "import",
        }
    }
}

/// A text that names no cause of a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such cause of a version")]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text).ok_or(NotAnOrigin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_read_back_as_it_was_written() {
        let workflow = 5.into();
        let debug = Manager::Debug { workflow, user: "o_1_user:x".to_owned() };
        for manager in [debug, Manager::Workflow { workflow, key: String::new() }] {
            assert_eq!(manager.to_string().parse(), Ok(manager));
        }
        assert_eq!("workflow:wpid_5".parse::<Manager>(), Err(NotAManager));
    }
}
