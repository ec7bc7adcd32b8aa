//! The selection of messages by operators.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Outcome, Record};
use crate::domain::ids::{OrganizationId, RunId, SessionId};

/// The conditions of an operator's query for messages. A condition that is `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The actor that sent or received it.
    pub actor: Option<String>,
    /// The session that it concerns.
    pub session: Option<SessionId>,
    /// The run that it concerns.
    pub run: Option<RunId>,
    /// The organization that it concerns.
    pub organization: Option<OrganizationId>,
    /// The least time from the sending to the answer.
    pub slower_than: Option<Duration>,
    /// A text in its names, its note or its summary.
    pub text: Option<String>,
    /// The kind of message.
    pub kind: Option<String>,
    /// The outcome; `pending` matches messages without one.
    pub outcome: Option<String>,
    /// The earliest time of sending.
    pub since: Option<DateTime<Utc>>,
    /// The exclusive upper bound of the id: the cursor of a page.
    pub before: Option<i64>,
}

impl Filter {
    pub(super) fn matches(&self, record: &Record) -> bool {
        let Record { sent, .. } = record;
        let outcome = |wanted: &String| {
            let outcome = record.course.lock().outcome;
            wanted == outcome.map_or("pending", Outcome::as_str)
        };
        self.before.is_none_or(|before| record.id < before)
            && self.since.is_none_or(|since| record.enqueued_at >= since)
            && self.session.is_none_or(|session| sent.about.session == Some(session))
            && self.run.is_none_or(|run| sent.about.run == Some(run))
            && self.kind.as_ref().is_none_or(|kind| sent.kind == kind)
            && self
                .actor
                .as_ref()
                .is_none_or(|actor| *sent.sender == **actor || *sent.receiver == **actor)
            && self.organization.is_none_or(|it| sent.about.organization == Some(it))
            && self.outcome.as_ref().is_none_or(outcome)
            && self.slower_than.is_none_or(|least| record.took() >= least)
            && self.text.as_ref().is_none_or(|text| record.contains(text))
    }
}
