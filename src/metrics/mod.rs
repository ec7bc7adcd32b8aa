//! Counters and histograms: atomics that the code of every floor adds to.
//!
//! Recording takes no lock and allocates nothing after the first time. The labels of each family are a
//! fixed list or grow to a fixed number, and none is an id, so that no client can add to them.
//! The owner of a figure creates its metrics, and hands them down by value or `Arc`; nothing is global.
//! The text for Prometheus is made elsewhere (`service/metrics`), when it is asked for.

mod histogram;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use histogram::{Histogram, Snapshot};
pub use table::Table;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters with one label of a fixed list of values; the last value stands for all that are not listed.
#[derive(Debug)]
pub struct Counters {
    labels: &'static [&'static str],
    counters: Box<[Counter]>,
}

impl Counters {
    /// Counters for these values, which must not be empty.
    pub fn new(labels: &'static [&'static str]) -> Self {
        Self { labels, counters: labels.iter().map(|_label| Counter::default()).collect() }
    }

    /// Adds to the counter of `label`.
    pub fn add(&self, label: &str, count: u64) {
        let known = self.labels.iter().zip(&self.counters);
        let found = known.clone().find(|(known, _)| **known == label).or(known.last());
        if let Some((_, counter)) = found {
            counter.add(count);
        }
    }

    /// Each value of the label, with its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.labels.iter().copied().zip(self.counters.iter().map(Counter::get))
    }
}

/// The figures of the messages of one kind.
#[derive(Debug)]
pub struct MessageMetrics {
    /// The time in the mailbox.
    pub wait: Histogram,
    /// The time from the start of the handling to the answer.
    pub handling: Histogram,
    /// The messages by outcome.
    pub outcomes: Counters,
}

impl Default for MessageMetrics {
    fn default() -> Self {
        Self {
            wait: Histogram::of_short_times(),
            handling: Histogram::of_short_times(),
            outcomes: Counters::new(&["done", "refused", "failed", "unanswered"]),
        }
    }
}

/// The figures of the requests of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    /// The time until the head of the answer, without requests that wait for others.
    pub latency: Histogram,
    /// The requests by the class of their status.
    pub classes: Counters,
}

impl Default for RouteMetrics {
    fn default() -> Self {
        Self {
            latency: Histogram::of_times(),
            classes: Counters::new(&["1xx", "2xx", "3xx", "4xx", "5xx"]),
        }
    }
}

/// The stages of the start of a desktop, in their order.
const STAGES: [&str; 5] = ["files", "display", "settings", "browser", "page"];

/// The figures of desktops: the times of the stages in which they are started, and pictures.
#[derive(Debug)]
pub struct DesktopMetrics {
    stages: [Histogram; STAGES.len()],
    /// The pictures of all displays.
    pub pictures: Arc<PictureMetrics>,
}

impl Default for DesktopMetrics {
    fn default() -> Self {
        let stages = std::array::from_fn(|_| Histogram::of_times());
        Self { stages, pictures: Arc::default() }
    }
}

impl DesktopMetrics {
    /// Records the time of a stage; one with an unknown name is left out.
    pub fn record_stage(&self, name: &str, took: Duration) {
        if let Some((_, times)) = self.stages().find(|(stage, _)| *stage == name) {
            times.record(took);
        }
    }

    /// Each stage with its name.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        STAGES.into_iter().zip(&self.stages)
    }
}

/// The figures of the thread that writes to an SQLite database.
#[derive(Debug)]
pub struct WriterMetrics {
    /// The time from the begin of a transaction to the end of its commit.
    pub commit: Histogram,
    /// The number of changes in a transaction.
    pub batch: Histogram,
}

impl Default for WriterMetrics {
    fn default() -> Self {
        Self { commit: Histogram::of_times(), batch: Histogram::of_counts() }
    }
}

/// The bytes of RFB between viewers and the server.
#[derive(Debug, Default)]
pub struct StreamMetrics {
    pub to_viewers: Counter,
    pub from_viewers: Counter,
}

/// The pictures that were asked for.
#[derive(Debug, Default)]
pub struct PictureMetrics {
    /// Pictures that were encoded.
    pub encoded: Counter,
    /// Pictures that were due and not encoded, because nothing had changed or their reader was not ready.
    pub skipped: Counter,
}

/// The parts of a desktop that are recovered.
const PARTS: &[&str] = &["chromium", "xvfb", "tigervnc", "single_part", "other"];

/// The causes of recoveries, as the ends of failure codes.
const CAUSES: &[&str] =
    &["died", "closed", "hung", "out_of_memory", "exited", "not_ready", "repaired", "other"];

/// The figures that actors, streams and endpoints record.
#[derive(Debug)]
pub struct Metrics {
    /// The time that callers waited in the queue of a session before they became its holder.
    pub occupancy_wait: Histogram,
    /// The time that holders held a session.
    pub occupancy_hold: Histogram,
    recoveries: Box<[Counters]>,
    /// The runs that have ended, by status.
    pub runs: Counters,
    /// The blocks that have ended, by status.
    pub blocks: Counters,
    /// The bytes of all viewers together.
    pub streams: Arc<StreamMetrics>,
    /// The requests by method and route.
    pub routes: Table<RouteMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            occupancy_wait: Histogram::of_long_times(),
            occupancy_hold: Histogram::of_long_times(),
            recoveries: PARTS.iter().map(|_part| Counters::new(CAUSES)).collect(),
            runs: Counters::new(&[
                "completed",
                "failed",
                "terminated",
                "canceled",
                "timed_out",
                "other",
            ]),
            blocks: Counters::new(&[
                "completed",
                "failed",
                "terminated",
                "canceled",
                "timed_out",
                "skipped",
                "other",
            ]),
            streams: Arc::default(),
            routes: Table::default(),
        }
    }
}

impl Metrics {
    /// Counts a recovery of `part`, whose failure has this code.
    pub fn recovery(&self, part: &str, code: &str) {
        let is_cause = |cause: &&&str| code.ends_with(**cause);
        let cause = CAUSES.iter().find(is_cause).copied().unwrap_or("other");
        let mut parts = PARTS.iter().zip(&self.recoveries);
        let found = parts.clone().find(|(known, _)| **known == part).or(parts.next_back());
        if let Some((_, causes)) = found {
            causes.add(cause, 1);
        }
    }

    /// The recoveries by part and cause.
    pub fn recoveries(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let parts = PARTS.iter().zip(&self.recoveries);
        parts.flat_map(|(part, causes)| causes.all().map(|(cause, count)| (*part, cause, count)))
    }

    /// Records a request: its route's template, its status and the time until the head of its answer, unless that
    /// was not the server's time.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Option<Duration>) {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        let method = methods.into_iter().find(|known| *known == method).unwrap_or("other");
        let figures = self.routes.of(&[method, route]);
        if let Some(took) = took {
            figures.latency.record(took);
        }
        let class = match status {
            0..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500.. => "5xx",
        };
        figures.classes.add(class, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_not_listed_is_counted_as_the_last_one() {
        let counters = Counters::new(&["done", "other"]);
        counters.add("done", 2);
        counters.add("whatever a client sends", 3);
        assert_eq!(counters.all().collect::<Vec<_>>(), [("done", 2), ("other", 3)]);
    }

    #[test]
    fn recoveries_are_counted_by_part_and_by_the_end_of_the_code() {
        let metrics = Metrics::default();
        metrics.recovery("chromium", "chromium_out_of_memory");
        metrics.recovery("a part of tomorrow", "strange");
        let counted: Vec<_> = metrics.recoveries().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, [("chromium", "out_of_memory", 1), ("other", "other", 1)]);
    }

    #[test]
    fn requests_are_counted_by_route_and_class() {
        let metrics = Metrics::default();
        metrics.request("GET", "/v1/runs", 200, Some(Duration::from_millis(3)));
        metrics.request("GET", "/v1/runs", 200, None);
        metrics.request("BREW", "/v1/runs", 503, Some(Duration::from_millis(3)));
        let shown: Vec<_> = metrics
            .routes
            .all()
            .map(|(key, it)| {
                let classes: Vec<_> = it.classes.all().filter(|(_, count)| *count > 0).collect();
                (key.to_vec(), classes, it.latency.snapshot().count)
            })
            .collect();
        assert!(shown.contains(&(vec!["GET".into(), "/v1/runs".into()], vec![("2xx", 2)], 1)));
        assert!(shown.contains(&(vec!["other".into(), "/v1/runs".into()], vec![("5xx", 1)], 1)));
    }
}
