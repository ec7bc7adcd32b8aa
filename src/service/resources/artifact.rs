//! A file that a run made, as the API shows it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::links::Links;
use crate::domain::run::ArtifactRecord;

/// A file that a run made.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactResource {
    /// The file's id, `a_…`.
    pub artifact_id: String,
    /// The type: `screenshot`, `screenshot_final`, `download`, `pdf`, `recording`, `black_box`, …
    pub artifact_type: String,
    /// The address of the content, for clients with the organization's key.
    pub uri: String,
    /// The address of the content that needs no key; it expires.
    pub signed_url: String,
    /// The id of the file's organization, `o_…`.
    pub organization_id: String,
    /// The id of the run that made it.
    pub workflow_run_id: Option<String>,
    /// The id of the run that made it, as `workflow_run_id`.
    pub run_id: Option<String>,
    /// The id of the block that made it.
    pub workflow_run_block_id: Option<String>,
    /// The id of the session that it came from.
    pub browser_session_id: Option<String>,
    /// The name of the file, without directories.
    pub file_name: String,
    /// The media type, such as `image/png`.
    pub media_type: String,
    /// The size in bytes.
    pub file_size: i64,
    /// The SHA-256 hash of the content.
    pub checksum: Option<String>,
    /// Always false: files are not archived.
    pub archived: bool,
    /// The time at which it was stored.
    pub created_at: DateTime<Utc>,
    /// The time at which it was stored, as `created_at`: files do not change.
    pub modified_at: DateTime<Utc>,
}

impl ArtifactResource {
    /// Returns a file's record as the API shows it.
    pub fn of(record: &ArtifactRecord, links: &Links<'_>) -> Self {
        let run = record.run.map(|run| run.to_string());
        Self {
            artifact_id: record.id.to_string(),
            artifact_type: record.artifact_type.clone(),
            uri: format!("{}/v1/artifacts/{}/content", links.core.base_url(), record.id),
            signed_url: links.of(record).signed_url,
            organization_id: record.organization.to_string(),
            workflow_run_id: run.clone(),
            run_id: run,
            workflow_run_block_id: record.block.map(|block| block.to_string()),
            browser_session_id: record.session.map(|session| session.to_string()),
            file_name: file_name(record).to_owned(),
            media_type: record.media_type.clone(),
            file_size: record.size,
            checksum: record.checksum.clone(),
            archived: false,
            created_at: record.created_at,
            modified_at: record.created_at,
        }
    }
}

/// A file in the lists of the compatible API.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileResource {
    /// The address of the content that needs no key; it expires.
    pub url: String,
    /// The SHA-256 hash of the content.
    pub checksum: Option<String>,
    /// The name of the file, without directories.
    pub filename: String,
    /// The size in bytes.
    pub file_size: i64,
    /// The time at which it was stored.
    pub modified_at: DateTime<Utc>,
    /// The file's id, `a_…`.
    pub artifact_id: String,
}

impl FileResource {
    /// Returns a file's record as the compatible API lists it.
    pub fn of(record: &ArtifactRecord, links: &Links<'_>) -> Self {
        let shown = ArtifactResource::of(record, links);
        Self {
            url: shown.signed_url,
            checksum: shown.checksum,
            filename: shown.file_name,
            file_size: shown.file_size,
            modified_at: shown.modified_at,
            artifact_id: shown.artifact_id,
        }
    }
}

/// Returns the file's name as the run gave it: on disk the artifact's id precedes the name.
pub fn file_name(record: &ArtifactRecord) -> &str {
    let last = record.path.rsplit('/').next().unwrap_or_default();
    last.strip_prefix(&format!("{}_", record.id)).unwrap_or(last)
}
