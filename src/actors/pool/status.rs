//! The state of the pool, as operators see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Pool;

/// The state of the pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PoolStatus {
    /// The shapes of which desktops are kept ready.
    pub shapes: Vec<ShapeStatus>,
    /// The number of desktops that are being started.
    pub starting: usize,
    /// No desktop is started before this time, because of a failure or because sessions needed the room.
    pub paused_until: Option<DateTime<Utc>>,
    /// The number of sessions that got a running desktop since the start of the server.
    pub warm: u64,
    /// The number of sessions that did not, by the reason: `other_shape`, `settings`, `profile`, `proxy`,
    /// `chosen_id`, `empty`, `failed`.
    pub cold: BTreeMap<String, u64>,
    /// The number of desktops that were started for the pool.
    pub started: u64,
    /// The number of desktops that were taken over from a former server.
    pub adopted: u64,
    /// The number of starts that failed.
    pub failed: u64,
    /// The number of desktops that ended by themselves while they waited.
    pub died: u64,
    /// The number of desktops that were replaced because of their age.
    pub aged: u64,
    /// The number of desktops that made room for a session.
    pub yielded: u64,
    /// The last failure of a start or of a desktop that waited.
    pub last_failure: Option<String>,
}

/// The desktops of one shape.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ShapeStatus {
    /// The name in the settings; `default` for the shape of `pool.ready`.
    pub name: String,
    /// The width of the display in pixels.
    pub width: u16,
    /// The height of the display in pixels.
    pub height: u16,
    /// The name of the browser's program; none for the usual one.
    pub executable: Option<String>,
    /// The number of desktops that are kept ready.
    pub wanted: usize,
    /// The number of desktops that are ready.
    pub ready: usize,
    /// The time since which the oldest of them waits.
    pub oldest_since: Option<DateTime<Utc>>,
}

impl Pool {
    /// The state of the pool.
    pub fn status(&self) -> PoolStatus {
        let state = self.state.lock();
        let shapes = self.targets.iter().map(|target| {
            let there = state.waiting.iter().filter(|it| it.shape == target.shape);
            ShapeStatus {
                name: target.name.clone(),
                width: target.shape.size.width(),
                height: target.shape.size.height(),
                executable: target.shape.executable.clone(),
                wanted: target.ready,
                ready: there.clone().count(),
                oldest_since: there.map(|it| it.since).min(),
            }
        });
        let counts = state.counts.clone();
        let now = self.clock.now();
        let pauses = state.failing.iter().map(|failing| failing.until).chain(state.paused_until);
        PoolStatus {
            shapes: shapes.collect(),
            starting: usize::from(state.starting.is_some()),
            paused_until: pauses.filter(|until| *until > now).max(),
            warm: counts.warm,
            cold: counts
                .cold
                .iter()
                .map(|(cold, count)| (cold.as_str().to_owned(), *count))
                .collect(),
            started: counts.started,
            adopted: counts.adopted,
            failed: counts.failed,
            died: counts.died,
            aged: counts.aged,
            yielded: counts.yielded,
            last_failure: state.last_failure.as_ref().map(|failure| failure.message.clone()),
        }
    }
}
