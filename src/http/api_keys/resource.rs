//! API keys as the API shows them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::tenancy::ApiKey;
use crate::http::front::Front;

/// An API key. Only the request that made it shows the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyResource {
    /// The key's id, `oat_…`.
    pub api_key_id: String,
    /// The id of the key's organization, `o_…`.
    pub organization_id: String,
    /// The key's owner or purpose, for people.
    pub label: String,
    /// The key's role: `operator`, `organization`, `drive` or `watch`.
    pub role: &'static str,
    /// The sessions that the key is limited to; null if it is good for all of the organization.
    pub sessions: Option<Vec<String>>,
    /// The key's status: `valid`, `expired` or `revoked`.
    pub status: &'static str,
    /// True if the key comes from the setting `keys.bootstrap`.
    pub is_bootstrap: bool,
    /// The time at which the key was made.
    pub created_at: DateTime<Utc>,
    /// The time at which the key expires; null if it has no end.
    pub expires_at: Option<DateTime<Utc>>,
    /// The time at which the key was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The time of the key's last use.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The address of the client that used the key last.
    pub last_used_from: Option<String>,
    /// The key itself, only in the answer to the request that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl ApiKeyResource {
    /// Returns a key in its present state. Uses that are not stored yet count.
    pub fn of(key: ApiKey, front: &Front) -> Self {
        let status = if key.revoked_at.is_some() {
            "revoked"
        } else if key.is_valid(front.world.clock.now()) {
            "valid"
        } else {
            "expired"
        };
        let last = front.keys.last_use(key.id).or(key.last_use);
        let sessions = key.sessions;
        Self {
            api_key_id: key.id.to_string(),
            organization_id: key.organization.to_string(),
            label: key.label,
            role: key.role.as_str(),
            sessions: sessions.map(|ids| ids.iter().map(ToString::to_string).collect()),
            status,
            is_bootstrap: key.is_bootstrap,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: last.as_ref().map(|last| last.at),
            last_used_from: last.and_then(|last| last.from),
            key: None,
        }
    }
}
