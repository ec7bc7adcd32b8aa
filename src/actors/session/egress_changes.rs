//! The changes of a session's egress that wait or are under way.

use std::collections::VecDeque;
use std::fmt;

use serde_json::json;
use tokio::sync::oneshot;
use url::Url;

use super::SessionError;
use crate::actors::views::SessionView;
use crate::domain::egress::EgressAsked;
use crate::domain::session::SessionSpec;

/// A change to the egress that a session asked for. Fields that are `None` stay as they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EgressPatch {
    /// The only targets that may be reached.
    pub allow: Option<Vec<String>>,
    /// The targets that may not be reached.
    pub deny: Option<Vec<String>>,
    /// The proxy for all traffic; `Some(None)` removes it.
    pub upstream: Option<Option<Url>>,
}

impl fmt::Debug for EgressPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL has a password.
        let upstream = self.upstream.as_ref().map(|url| url.as_ref().and_then(Url::host_str));
        let mut shown = f.debug_struct("EgressPatch");
        shown.field("allow", &self.allow).field("deny", &self.deny);
        shown.field("upstream", &upstream).finish()
    }
}

impl EgressPatch {
    /// Applies the change to a session's specification.
    pub fn apply(&self, spec: &mut SessionSpec) {
        if let Some(allow) = &self.allow {
            spec.egress.allow.clone_from(allow);
        }
        if let Some(deny) = &self.deny {
            spec.egress.deny.clone_from(deny);
        }
        if let Some(upstream) = &self.upstream {
            spec.proxy.clone_from(upstream);
            let location = upstream.as_ref().map(|url| json!({ "url": url.as_str() }));
            if let Some(members) = spec.echo.as_object_mut() {
                members.insert("proxy_location".to_owned(), location.unwrap_or_default());
            }
        }
    }
}

/// A change with its author.
#[derive(Debug, Clone)]
pub enum EgressChange {
    /// A change of the session by a client.
    Session(EgressPatch),
    /// A change of the organization's lists. The session reads them again, so that the latest lists
    /// apply.
    Organization,
}

/// The egress changes of a session that wait or are under way.
#[derive(Debug, Default)]
pub(super) struct EgressChanges {
    pub(super) waiting:
        VecDeque<(EgressChange, oneshot::Sender<Result<SessionView, SessionError>>)>,
    pub(super) busy: bool,
    /// The policy that the desktop was given last.
    pub(super) in_force: Option<EgressAsked>,
}
