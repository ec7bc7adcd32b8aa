//! Organizations, their API keys, and nodes.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, NodeId, OrganizationId, SessionId};

/// A tenant as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its name for programs.
    pub id: OrganizationId,
    /// Its name for people.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The time at which its keys were put out of force.
    pub suspended_at: Option<DateTime<Utc>>,
    /// The time from which it is being deleted, with all that belongs to it.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Organization {
    /// One that is neither suspended nor being deleted.
    pub fn new(id: OrganizationId, name: String, created_at: DateTime<Utc>) -> Self {
        Self { id, name, created_at, suspended_at: None, deleted_at: None }
    }
}

/// The extent of a key's power, from the least to the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// The state and the pictures of sessions, as a viewer who may not take over.
    Watch,
    /// Occupancy and DevTools of sessions, and what `watch` opens.
    Drive,
    /// Everything of its organization.
    Organization,
    /// Everything of its organization, and what operators see and do.
    Operator,
}

impl KeyRole {
    /// Every role, in ascending order.
    pub const ALL: [Self; 4] = [Self::Watch, Self::Drive, Self::Organization, Self::Operator];

    /// As the API and the tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Drive => "drive",
            Self::Organization => "organization",
            Self::Operator => "operator",
        }
    }
}

impl FromStr for KeyRole {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(NotARole)
    }
}

/// A text that names no role of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected operator, organization, drive or watch")]
pub struct NotARole;

/// An API key as it is stored: its hash, never itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name.
    pub id: ApiKeyId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// BLAKE3 of the key, in hexadecimal digits.
    pub hash: String,
    /// For people.
    pub label: String,
    /// The extent of its power.
    pub role: KeyRole,
    /// The sessions that it is limited to; all of its organization without.
    pub sessions: Option<Vec<SessionId>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The time from which it opens nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Its last use, to within a minute.
    pub last_use: Option<LastUse>,
    /// Set if it came by the setting `keys.bootstrap`.
    pub is_bootstrap: bool,
}

impl ApiKey {
    /// A key of an organization that is neither limited nor ends.
    pub fn new(
        id: ApiKeyId,
        organization: OrganizationId,
        hash: String,
        label: String,
        created_at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            organization,
            hash,
            label,
            role: KeyRole::Organization,
            sessions: None,
            created_at,
            expires_at: None,
            revoked_at: None,
            last_use: None,
            is_bootstrap: false,
        }
    }

    /// True if the key opens something at `now`, as far as it alone decides.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

/// The last use of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// The time of the request.
    pub at: DateTime<Utc>,
    /// The address of the client, if it is known.
    pub from: Option<String>,
}

/// A server process as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, which outlives a restart.
    pub id: NodeId,
    /// The machine's name, for people.
    pub hostname: String,
    /// Where its API can be reached.
    pub address: String,
    /// `/proc/sys/kernel/random/boot_id` of the machine it last started on.
    pub boot_id: String,
    /// When it last started.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
}
