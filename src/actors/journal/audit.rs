//! Messages that change what lasts, as events of the audit trail.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tracing::error;

use super::{Entry, Journal, Outcome, Record};
use crate::domain::audit::AuditEvent;

impl Journal {
    /// The event of the audit trail about a message with this outcome.
    fn audit_event(&self, record: &Record, outcome: Outcome) -> AuditEvent {
        let Entry { ended_at, note, mut summary, .. } = record.entry();
        if let (Some(note), Value::Object(fields)) = (note, &mut summary) {
            fields.insert("note".to_owned(), Value::String(note));
        }
        let at = ended_at.unwrap_or(record.enqueued_at);
        let requester = record.sent.requester.as_deref();
        AuditEvent {
            id: self.mint.mint(at),
            message_id: record.id,
            cause: record.sent.cause,
            kind: record.sent.kind.to_owned(),
            sender: record.sent.sender.to_string(),
            receiver: record.sent.receiver.to_string(),
            organization: record.sent.about.organization,
            session: record.sent.about.session,
            run: record.sent.about.run,
            outcome: outcome.as_str().to_owned(),
            summary,
            key: requester.and_then(|requester| requester.key()).map(str::to_owned),
            address: requester
                .and_then(|requester| requester.address)
                .map(|address| address.to_string()),
            request: requester.map(|requester| requester.request.clone()),
            at: record.enqueued_at,
        }
    }

    pub(super) fn audit(&self, record: &Record, outcome: Outcome) {
        match self.audit.try_send(self.audit_event(record, outcome)) {
            // At the very end of the server nothing receives the audit trail.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                let lost = self.unaudited.fetch_add(1, Ordering::Relaxed) + 1;
                if lost.is_power_of_two() {
                    error!(
                        "{lost} audit events are lost: the database does not store them fast enough"
                    );
                }
            }
        }
    }
}

/// The event of the audit trail about a message, to be stored in one transaction with the change that the message
/// asks for. So it is there if and only if the change is, also after a crash. If the change fails, the end of the message
/// is audited instead; if its outcome is unknown, that is audited as well.
#[derive(Debug, Clone)]
pub(in crate::actors) struct Draft {
    journal: Arc<Journal>,
    record: Arc<Record>,
}

impl Draft {
    pub(super) fn new(journal: Arc<Journal>, record: Arc<Record>) -> Self {
        Self { journal, record }
    }

    /// The event, as if the message had succeeded.
    pub(in crate::actors) fn event(&self) -> AuditEvent {
        self.journal.audit_event(&self.record, Outcome::Done)
    }

    /// Records that the event is stored.
    pub(in crate::actors) fn stored(&self) {
        self.record.is_audited.store(true, Ordering::Release);
    }
}
