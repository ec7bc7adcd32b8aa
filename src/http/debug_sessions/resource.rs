//! A debug session as clients see it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::keeping::{Opened, Reason, Replaced};
use crate::domain::debug_session::DebugSession;
use crate::http::front::Front;

/// The long-lived session that a person uses for a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct DebugSessionResource {
    /// `ds_…`.
    pub debug_session_id: String,
    /// The browser session behind it.
    pub browser_session_id: String,
    /// Whether that can be watched by VNC.
    pub vnc_streaming_supported: bool,
    /// `wpid_…`.
    pub workflow_permanent_id: String,
    /// None: there are no profiles.
    pub pbs_browser_profile_id: Option<String>,
    /// `created` or `completed`.
    pub status: &'static str,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used.
    pub modified_at: DateTime<Utc>,
    /// Never.
    pub deleted_at: Option<DateTime<Utc>>,

    /// When it ends unless it is used before.
    pub expires_at: DateTime<Utc>,
    /// The page that shows the browser session live.
    pub app_url: String,
    /// Whether this answer gives another than the one before.
    pub replaced: bool,
    /// Why.
    pub replaced_reason: Option<Reason>,
    /// The browser session that was behind the one before.
    pub replaced_browser_session_id: Option<String>,
}

impl DebugSessionResource {
    /// The debug session as it is stored.
    pub fn of(debug: &DebugSession, front: &Front) -> Self {
        Self {
            debug_session_id: debug.id.to_string(),
            browser_session_id: debug.session.to_string(),
            vnc_streaming_supported: true,
            workflow_permanent_id: debug.workflow_permanent_id.to_string(),
            pbs_browser_profile_id: None,
            status: debug.status.as_str(),
            created_at: debug.created_at,
            modified_at: debug.modified_at,
            deleted_at: None,
            expires_at: debug.expires_at,
            app_url: format!("{}/view/{}", front.base_url(), debug.session),
            replaced: false,
            replaced_reason: None,
            replaced_browser_session_id: None,
        }
    }

    /// The debug session, and what it has taken the place of.
    pub fn opened(opened: &Opened, front: &Front) -> Self {
        let shown = Self::of(&opened.debug, front);
        match opened.replaced {
            None => shown,
            Some(Replaced { reason, session }) => Self {
                replaced: true,
                replaced_reason: Some(reason),
                replaced_browser_session_id: Some(session.to_string()),
                ..shown
            },
        }
    }
}
