//! Organizations, their API keys, and nodes.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, NodeId, OrganizationId, SessionId};

/// A tenant, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    /// The display name, for people.
    pub name: String,
    /// The time of its creation.
    pub created_at: DateTime<Utc>,
    /// The time at which its keys were suspended.
    pub suspended_at: Option<DateTime<Utc>>,
    /// The time at which its deletion, with everything that belongs to it, was requested.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Organization {
    /// Creates an organization that is neither suspended nor being deleted.
    pub fn new(id: OrganizationId, name: String, created_at: DateTime<Utc>) -> Self {
        Self { id, name, created_at, suspended_at: None, deleted_at: None }
    }
}

/// The extent of a key's power, from the least to the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Reads the state and the pictures of sessions, as a viewer who may not take control.
    Watch,
    /// Occupies sessions and uses their DevTools, in addition to `watch`.
    Drive,
    /// Does everything within its organization.
    Organization,
    /// Does everything within its organization, and everything that operators may do.
    Operator,
}

impl KeyRole {
    /// Every role, in ascending order.
    pub const ALL: [Self; 4] = [Self::Watch, Self::Drive, Self::Organization, Self::Operator];

    /// Returns the value used in the API and the tables.
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

/// A text that names no role of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected operator, organization, drive or watch")]
pub struct NotARole;

/// An API key, as stored: its hash, never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The BLAKE3 hash of the key, in hexadecimal digits.
    pub hash: String,
    pub label: String,
    /// The role that limits what the key permits.
    pub role: KeyRole,
    /// The sessions that the key is limited to; none for all sessions of its organization.
    pub sessions: Option<Vec<SessionId>>,
    /// The time of its creation.
    pub created_at: DateTime<Utc>,
    /// The time from which the key is no longer valid.
    pub expires_at: Option<DateTime<Utc>>,
    /// The time at which it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The last use of the key, to within a minute.
    pub last_use: Option<LastUse>,
    /// True if the key came from the setting `keys.bootstrap`.
    pub is_bootstrap: bool,
}

impl ApiKey {
    /// Creates a key of an organization without limits or an expiry.
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

    /// True if the key is valid at `now`, judged by the key alone.
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

/// A server process, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The id, which outlives a restart.
    pub id: NodeId,
    /// The machine's name, for people.
    pub hostname: String,
    /// The address at which its API can be reached.
    pub address: String,
    /// `/proc/sys/kernel/random/boot_id` of the machine on which it last started.
    pub boot_id: String,
    /// The time of its last start.
    pub started_at: DateTime<Utc>,
    /// The time of its last sign of life.
    pub seen_at: DateTime<Utc>,
    /// The version of the program that it last started; empty if that program recorded none.
    pub version: String,
}

impl Node {
    /// The age of a sign of life after which a node counts as away.
    pub const AWAY_AFTER: TimeDelta = TimeDelta::minutes(2);

    /// Returns true if the node gave a sign of life recently.
    pub fn was_seen_recently(&self, now: DateTime<Utc>) -> bool {
        now - self.seen_at < Self::AWAY_AFTER
    }
}
