//! The state of the pool, as operators see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::named::{Figures, Named};
use super::{Pool, Source, State};
use crate::metrics::Histogram;

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
    /// The name in the settings or of `PUT /admin/pool/{name}`; `default` for the shape of `pool.ready`.
    pub name: String,
    /// `settings`, or `api` if an operator has made the pool or given it other numbers while a server ran.
    pub source: Source,
    /// The width of the display in pixels.
    pub width: u16,
    /// The height of the display in pixels.
    pub height: u16,
    /// The name of the browser's program; none for the usual one.
    pub executable: Option<String>,
    /// The number of desktops that are kept ready without any demand.
    pub minimum: usize,
    /// The number up to which sessions that find no desktop raise it.
    pub maximum: usize,
    /// The number of desktops that are kept ready now.
    pub wanted: usize,
    /// The number of desktops that are ready.
    pub ready: usize,
    /// The time since which the oldest of them waits.
    pub oldest_since: Option<DateTime<Utc>>,
    /// The number of sessions that got a desktop of this pool.
    pub taken: u64,
    /// The number of sessions that it fits and that found no desktop ready.
    pub missed: u64,
    /// The number of desktops that were started for it.
    pub started: u64,
    /// The number of starts for it that failed.
    pub failed: u64,
    /// The time of a start.
    pub fill_seconds: Spread,
    /// The time that a desktop had waited when a session took it.
    pub waited_seconds: Spread,
    /// The figures, for `/metrics`.
    #[serde(skip)]
    pub figures: Arc<Figures>,
}

/// The middle and the slow end of times, estimated from the buckets of a histogram.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PoolTimes)]
pub struct Spread {
    /// The time that half of them do not exceed; null if there are none.
    pub median: Option<f64>,
    /// The time that 95 of 100 do not exceed; null if there are none.
    pub p95: Option<f64>,
}

impl Spread {
    fn of(histogram: &Histogram) -> Self {
        let times = histogram.snapshot();
        let quantile =
            |part| times.quantile(part).map(|seconds| (seconds * 1_000.0).round() / 1_000.0);
        Self { median: quantile(0.5), p95: quantile(0.95) }
    }
}

impl Pool {
    /// The state of the pool.
    pub fn status(&self) -> PoolStatus {
        let state = self.state.lock();
        let now = self.clock.now();
        // The default one is in the settings even if it is not used.
        let shown = state.pools.iter().filter(|pool| pool.is_used() || pool.source == Source::Api);
        let wanted = |pool: &Named| pool.demand.wanted(pool.bounds, self.shrink, now);
        let shapes = shown.map(|pool| state.shown(pool, wanted(pool)));
        let counts = state.counts.clone();
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

impl State {
    fn shown(&self, pool: &Named, wanted: usize) -> ShapeStatus {
        let figures = Arc::clone(&pool.figures);
        let there = self.waiting.iter().filter(|it| it.shape == pool.shape);
        ShapeStatus {
            name: pool.name.clone(),
            source: pool.source,
            width: pool.shape.size.width(),
            height: pool.shape.size.height(),
            executable: pool.shape.executable.clone(),
            minimum: pool.bounds.minimum,
            maximum: pool.bounds.maximum,
            wanted,
            ready: self.ready(&pool.shape),
            oldest_since: there.map(|it| it.since).min(),
            taken: figures.taken.get(),
            missed: figures.missed.get(),
            started: figures.started.get(),
            failed: figures.failed.get(),
            fill_seconds: Spread::of(&figures.fill),
            waited_seconds: Spread::of(&figures.waited),
            figures,
        }
    }
}
