//! The subject of a message or of a span.

use super::ids::{OrganizationId, RunId, SessionId};

/// The subject of a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct About {
    /// The organization that owns the subject.
    pub organization: Option<OrganizationId>,
    pub session: Option<SessionId>,
    pub run: Option<RunId>,
}

impl About {
    /// This subject, with its missing fields taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            organization: self.organization.or(other.organization),
            session: self.session.or(other.session),
            run: self.run.or(other.run),
        }
    }
}
