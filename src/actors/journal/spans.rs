//! The span of a message in the trace of the request that caused it, see [`crate::traces`].
//!
//! It has what the journal's entry has, but for the summary and the note: those may repeat what a client wrote.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Outcome, Record};
use crate::traces::{Ended, Kind, Value};

impl Record {
    /// Sends the span of the message, which has just ended.
    pub(super) fn trace(&self, ended: Instant, started: Option<Instant>, outcome: Outcome) {
        let Some(span) = &self.span else { return };
        let micros = |from: Instant, to: Instant| {
            let time = to.saturating_duration_since(from).as_micros();
            Value::Number(i64::try_from(time).unwrap_or(i64::MAX))
        };
        let waited = micros(self.enqueued, started.unwrap_or(ended));
        let mut attributes = Vec::with_capacity(6);
        attributes.extend([
            ("greenroom.actor", Value::Shared(Arc::clone(&self.sent.receiver.0))),
            ("greenroom.sender", Value::Shared(Arc::clone(&self.sent.sender.0))),
            ("greenroom.message.id", Value::Number(self.id)),
            ("greenroom.outcome", Value::Word(outcome.as_str())),
            ("greenroom.waited_us", waited),
        ]);
        attributes.extend(started.map(|from| ("greenroom.handled_us", micros(from, ended))));
        span.end(Ended {
            name: self.sent.kind.into(),
            kind: Kind::Internal,
            began: self.enqueued.into_std(),
            ended: ended.into_std(),
            has_failed: matches!(outcome, Outcome::Failed | Outcome::Unanswered),
            attributes,
        });
    }
}
