//! The form of a debug session in responses.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::debug_session::DebugSession;
use crate::service::core::Core;
use crate::service::debug_sessions::{Opened, Reason, Replaced};

/// The long-lived session that a person uses for a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct DebugSessionResource {
    /// The id of the debug session, `ds_…`.
    pub debug_session_id: String,
    /// The browser session that the debug session uses.
    pub browser_session_id: String,
    /// True if the browser session can be watched over VNC.
    pub vnc_streaming_supported: bool,
    /// The id of the workflow, `wpid_…`.
    pub workflow_permanent_id: String,
    /// The profile of the browser session, `bp_…`. The next debug session starts from it.
    pub pbs_browser_profile_id: Option<String>,
    /// The status, `created` or `completed`.
    pub status: &'static str,
    /// The time at which the debug session was created.
    pub created_at: DateTime<Utc>,
    /// The time at which the debug session was last used.
    pub modified_at: DateTime<Utc>,
    /// Always null: debug sessions are not deleted.
    pub deleted_at: Option<DateTime<Utc>>,

    /// The time at which the debug session ends, unless it is used before.
    pub expires_at: DateTime<Utc>,
    /// The page that shows the browser session live.
    pub app_url: String,
    /// True if this request replaced the debug session.
    pub replaced: bool,
    /// The reason for the replacement.
    pub replaced_reason: Option<Reason>,
    /// The browser session of the replaced debug session.
    pub replaced_browser_session_id: Option<String>,
    /// The version of the user's profile that a debug session starts from which this request made; null
    /// for an empty browser, and for a debug session that was there.
    pub restored_profile_version: Option<i64>,
}

impl DebugSessionResource {
    /// Formats a stored debug session.
    pub fn of(debug: &DebugSession, core: &Core) -> Self {
        Self {
            debug_session_id: debug.id.to_string(),
            browser_session_id: debug.session.to_string(),
            vnc_streaming_supported: true,
            workflow_permanent_id: debug.workflow_permanent_id.to_string(),
            pbs_browser_profile_id: profile_of(debug, core),
            status: debug.status.as_str(),
            created_at: debug.created_at,
            modified_at: debug.modified_at,
            deleted_at: None,
            expires_at: debug.expires_at,
            app_url: format!("{}/view/{}", core.base_url(), debug.session),
            replaced: false,
            replaced_reason: None,
            replaced_browser_session_id: None,
            restored_profile_version: None,
        }
    }

    /// Formats a debug session, with the replaced debug session if there is one.
    pub fn opened(opened: &Opened, core: &Core) -> Self {
        let restored_profile_version = opened.profile_version;
        let shown = Self { restored_profile_version, ..Self::of(&opened.debug, core) };
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

/// Returns the profile of a debug session's browser session, while that lives here.
fn profile_of(debug: &DebugSession, core: &Core) -> Option<String> {
    let view = core.world.views.session(debug.organization, debug.session)?;
    let view = view.borrow();
    view.record.spec.profile.as_ref().map(|used| used.id.to_string())
}
