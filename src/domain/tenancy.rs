//! Organizations, their API keys, and nodes.

use chrono::{DateTime, Utc};

use super::ids::{ApiKeyId, NodeId, OrganizationId};

/// A tenant as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its name for programs.
    pub id: OrganizationId,
    /// Its name for people.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

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
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
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
