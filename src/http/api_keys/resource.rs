//! Keys as the API shows them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::tenancy::ApiKey;
use crate::http::front::Front;

/// A key. The key itself is shown once, by the request that made it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyResource {
    /// Its id, `oat_…`.
    pub api_key_id: String,
    /// Its organization, `o_…`.
    pub organization_id: String,
    /// Its owner or purpose, for people.
    pub label: String,
    /// `operator`, `organization`, `drive` or `watch`.
    pub role: &'static str,
    /// The sessions that it is limited to; all of the organization if null.
    pub sessions: Option<Vec<String>>,
    /// `valid`, `expired` or `revoked`.
    pub status: &'static str,
    /// Set if it came by the setting `keys.bootstrap`.
    pub is_bootstrap: bool,
    /// The time at which it was made.
    pub created_at: DateTime<Utc>,
    /// The time from which it opens nothing; it has no end if null.
    pub expires_at: Option<DateTime<Utc>>,
    /// The time at which it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The time of its last use.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The address of the client that used it last.
    pub last_used_from: Option<String>,
    /// The key itself, in the answer to the request that made it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl ApiKeyResource {
    /// A key as it stands. Uses that are not stored yet count.
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
