//! Browser profiles, their versions and their use, as the API shows them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::db;
use crate::domain::ids::{ProfileId, SessionId};
use crate::domain::profile::{Manager, ProfileRecord, VersionRecord};
use crate::domain::session::SessionRecord;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::service::profiles::live_writers;

/// A browser profile. The first fields are those of the compatible API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BrowserProfile)]
pub struct ProfileResource {
    /// The profile's id, `bp_…`.
    pub browser_profile_id: String,
    /// The id of the profile's organization, `o_…`.
    pub organization_id: String,
    /// The name, unique among the organization's profiles that are not managed.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// The browser that wrote the current version: `chromium`; null for an empty profile.
    pub source_browser_type: Option<&'static str>,
    /// Always null: a proxy belongs to a session.
    pub proxy_location: Value,
    /// Always null: there are no proxies in places.
    pub proxy_session_id: Option<String>,
    /// True if the server keeps the profile by itself, for a workflow or a debug session.
    pub is_managed: bool,
    /// The workflow for which the server keeps the profile, `wpid_…`.
    pub workflow_permanent_id: Option<String>,
    /// Always null: a managed profile is found by its workflow.
    pub browser_profile_key_digest: Option<String>,
    /// The time at which the profile was made.
    pub created_at: DateTime<Utc>,
    /// The time of the last change or version.
    pub modified_at: DateTime<Utc>,
    /// Always null: deleted profiles are not shown.
    pub deleted_at: Option<DateTime<Utc>>,
    /// A warning about requested values that were not granted.
    pub warning: Option<String>,

    /// The tags of the profile.
    pub tags: Vec<String>,
    /// The number of the version that sessions start from; null for an empty profile.
    pub version: Option<i64>,
    /// The size of that version's archive, in bytes.
    pub size: Option<i64>,
    /// The version of Chromium that wrote it.
    pub browser_version: Option<String>,
    /// The session that may store a new version, while it lives.
    pub writer: Option<String>,
}

impl ProfileResource {
    fn of(profile: &ProfileRecord, current: Option<&VersionRecord>, writers: &[SessionId]) -> Self {
        Self {
            browser_profile_id: profile.id.to_string(),
            organization_id: profile.organization.to_string(),
            name: profile.name.to_string(),
            description: profile.description.clone(),
            source_browser_type: current.map(|_version| "chromium"),
            proxy_location: Value::Null,
            proxy_session_id: None,
            is_managed: profile.manager.is_some(),
            workflow_permanent_id: profile
                .manager
                .as_ref()
                .map(|manager| manager.workflow().to_string()),
            browser_profile_key_digest: None,
            created_at: profile.created_at,
            modified_at: profile.modified_at,
            deleted_at: None,
            warning: None,
            tags: profile.tags.as_slice().to_vec(),
            version: current.map(|version| version.number),
            size: current.map(|version| version.size),
            browser_version: current.and_then(|version| version.browser_version.clone()),
            writer: profile
                .writer
                .filter(|writer| writers.contains(writer))
                .map(|writer| writer.to_string()),
        }
    }

    /// Returns profiles as the API shows them, in their order.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn all(front: &Front, profiles: &[ProfileRecord]) -> Result<Vec<Self>, ApiError> {
        let ids: Vec<ProfileId> = profiles.iter().map(|profile| profile.id).collect();
        let current = db::profiles::current_of(&front.db, &ids).await?;
        let writers = live_writers(front, profiles).await?;
        let shown = profiles.iter().map(|profile| {
            let version = current.iter().find(|version| version.profile == profile.id);
            Self::of(profile, version, &writers)
        });
        Ok(shown.collect())
    }

    /// Returns one profile as the API shows it.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn one(front: &Front, profile: &ProfileRecord) -> Result<Self, ApiError> {
        let version = db::profiles::current_of(&front.db, &[profile.id]).await?.pop();
        let writers = live_writers(front, std::slice::from_ref(profile)).await?;
        Ok(Self::of(profile, version.as_ref(), &writers))
    }
}

/// A version of a profile.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BrowserProfileVersion)]
pub struct VersionResource {
    /// The id of the profile, `bp_…`.
    pub browser_profile_id: String,
    /// The number of the version, from 1.
    pub version: i64,
    /// True if sessions start from this version.
    pub is_current: bool,
    /// The cause: `session_end`, `request`, `storage_state` or `import`.
    pub origin: &'static str,
    /// The session that it was stored from.
    pub browser_session_id: Option<String>,
    /// The size of its archive, in bytes.
    pub size: i64,
    /// The SHA-256 hash of its archive.
    pub checksum: String,
    /// The version of Chromium that wrote it.
    pub browser_version: Option<String>,
    /// The time at which it was stored.
    pub created_at: DateTime<Utc>,
}

impl VersionResource {
    /// Returns a version as the API shows it. Sessions start from the version `current`.
    pub fn of(version: &VersionRecord, current: i64) -> Self {
        Self {
            browser_profile_id: version.profile.to_string(),
            version: version.number,
            is_current: version.number == current,
            origin: version.origin.as_str(),
            browser_session_id: version.session.map(|session| session.to_string()),
            size: version.size,
            checksum: version.checksum.clone(),
            browser_version: version.browser_version.clone(),
            created_at: version.created_at,
        }
    }
}

/// A session that uses a profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileSession {
    /// The id of the session, `pbs_…`.
    pub browser_session_id: String,
    /// The status of the session.
    pub status: &'static str,
    /// The permission: `write` or `copy`.
    pub access: &'static str,
    /// The version that it started from; null for an empty browser.
    pub version: Option<i64>,
}

/// The use of a profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileUsage {
    /// The id of the profile, `bp_…`.
    pub browser_profile_id: String,
    /// The sessions that use it and have not ended, the newest first.
    pub sessions: Vec<ProfileSession>,
    /// The workflow for which the server keeps it, if there is one.
    pub workflow_permanent_id: Option<String>,
    /// The number of its versions.
    pub versions: usize,
    /// The size of all its archives, in bytes.
    pub size: i64,
}

impl ProfileUsage {
    /// Returns the use of a profile by these sessions.
    pub fn of(
        profile: &ProfileRecord,
        sessions: &[SessionRecord],
        versions: &[VersionRecord],
    ) -> Self {
        let sessions = sessions.iter().filter_map(|session| {
            let used = session.spec.profile.as_ref()?;
            Some(ProfileSession {
                browser_session_id: session.id.to_string(),
                status: session.status.as_str(),
                access: used.access.as_str(),
                version: used.version,
            })
        });
        Self {
            browser_profile_id: profile.id.to_string(),
            sessions: sessions.collect(),
            workflow_permanent_id: profile
                .manager
                .as_ref()
                .map(Manager::workflow)
                .map(|workflow| workflow.to_string()),
            versions: versions.len(),
            size: versions.iter().map(|version| version.size).sum(),
        }
    }
}
