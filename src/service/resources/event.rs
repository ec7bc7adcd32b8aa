//! The form of events in responses.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::event::{Event, NewEvent};

/// An event of a session or a run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventResource {
    /// The number of the event in its organization; rises by one with each event.
    pub seq: i64,
    /// The id of the event, `ev_…`.
    pub event_id: String,
    /// The kind of the event, as in `session.started` or `occupancy.begun`.
    pub kind: &'static str,
    /// The organization of the event, `o_…`.
    pub organization_id: String,
    /// The session of the event, if any.
    pub browser_session_id: Option<String>,
    /// The run of the event, if any.
    pub run_id: Option<String>,
    /// The time of the event.
    pub at: DateTime<Utc>,
    /// The details of the event, by kind.
    #[schema(value_type = Object)]
    pub data: Value,
}

impl From<&Event> for EventResource {
    fn from(Event { seq, event }: &Event) -> Self {
        let NewEvent { id, subject, kind, data, at } = event;
        Self {
            seq: *seq,
            event_id: id.to_string(),
            kind: kind.as_str(),
            organization_id: subject.organization.to_string(),
            browser_session_id: subject.session.map(|id| id.to_string()),
            run_id: subject.run.map(|id| id.to_string()),
            at: *at,
            data: data.clone(),
        }
    }
}

/// A notice that the events between two positions are no longer available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reset {
    /// The position that was requested.
    pub asked: i64,
    /// The number of the oldest event that may be available.
    pub oldest: i64,
}

/// A page of events, oldest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventsPage {
    /// The events after the requested position.
    pub events: Vec<EventResource>,
    /// The position to request next, as `after`.
    pub next: i64,
    /// Present if the requested position is no longer available.
    pub reset: Option<Reset>,
}

impl EventsPage {
    pub fn of(events: &[Event], next: i64, reset: Option<Reset>) -> Self {
        Self { events: events.iter().map(EventResource::from).collect(), next, reset }
    }
}
