//! Events as clients see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::event::{Event, NewEvent};

/// Something that has happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventResource {
    /// Its number within the organization: rises by one with each event.
    pub seq: i64,
    /// `ev_…`.
    pub event_id: String,
    /// What: `session.started`, `occupancy.begun`, …
    pub kind: &'static str,
    /// Whose it is.
    pub organization_id: String,
    /// To which session.
    pub browser_session_id: Option<String>,
    /// To which run.
    pub run_id: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// Details.
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

/// Says that events between two places are not to be had any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reset {
    /// The place that was asked for.
    pub asked: i64,
    /// The oldest number that may still be there.
    pub oldest: i64,
}

/// Some events, the oldest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventsPage {
    /// Those behind the place that was asked for.
    pub events: Vec<EventResource>,
    /// The place to ask for next, as `after`.
    pub next: i64,
    /// Given when what was asked for is not to be had any more.
    pub reset: Option<Reset>,
}

impl EventsPage {
    pub(super) fn of(events: &[Event], next: i64, reset: Option<Reset>) -> Self {
        Self { events: events.iter().map(EventResource::from).collect(), next, reset }
    }
}
