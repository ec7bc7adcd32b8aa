//! A histogram without locks.
//!
//! The exporter's own histogram takes a lock for each value; this one adds to three atomics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bound of a bucket: as values are recorded, and as readers see it.
type Bound = (u64, f64);

/// Times of messages in a process, in microseconds: 10 µs to 5 s.
const SHORT_TIMES: &[Bound] = &[
    (10, 0.000_01),
    (50, 0.000_05),
    (100, 0.000_1),
    (500, 0.000_5),
    (1_000, 0.001),
    (5_000, 0.005),
    (10_000, 0.01),
    (50_000, 0.05),
    (100_000, 0.1),
    (500_000, 0.5),
    (1_000_000, 1.0),
    (5_000_000, 5.0),
];

/// Times of requests, commits and starts, in microseconds: 1 ms to 60 s.
const TIMES: &[Bound] = &[
    (1_000, 0.001),
    (2_500, 0.002_5),
    (5_000, 0.005),
    (10_000, 0.01),
    (25_000, 0.025),
    (50_000, 0.05),
    (100_000, 0.1),
    (250_000, 0.25),
    (500_000, 0.5),
    (1_000_000, 1.0),
    (2_500_000, 2.5),
    (5_000_000, 5.0),
    (10_000_000, 10.0),
    (30_000_000, 30.0),
    (60_000_000, 60.0),
];

/// Times of clients and people, in microseconds: 100 ms to 4 h.
const LONG_TIMES: &[Bound] = &[
    (100_000, 0.1),
    (1_000_000, 1.0),
    (5_000_000, 5.0),
    (15_000_000, 15.0),
    (60_000_000, 60.0),
    (300_000_000, 300.0),
    (900_000_000, 900.0),
    (3_600_000_000, 3_600.0),
    (14_400_000_000, 14_400.0),
];

/// Small numbers of things.
const COUNTS: &[Bound] =
    &[(1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0), (16, 16.0), (32, 32.0), (64, 64.0)];

/// The distribution of a value.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Bound],
    /// True if the values are microseconds.
    is_time: bool,
    /// The number of values in each bucket, and at the end of those beyond the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The values of a histogram at one time, in seconds if they are times.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The sum of the values.
    pub sum: f64,
    /// The number of values.
    pub count: u64,
    /// The upper bound of each bucket and the number of values in it; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    fn new(bounds: &'static [Bound], is_time: bool) -> Self {
        let counts = (0..=bounds.len()).map(|_bucket| AtomicU64::new(0)).collect();
        Self { bounds, is_time, counts, sum: AtomicU64::new(0) }
    }

    /// A histogram of times from microseconds to seconds.
    pub fn of_short_times() -> Self {
        Self::new(SHORT_TIMES, true)
    }

    /// A histogram of times from milliseconds to a minute.
    pub fn of_times() -> Self {
        Self::new(TIMES, true)
    }

    /// A histogram of times from seconds to hours.
    pub fn of_long_times() -> Self {
        Self::new(LONG_TIMES, true)
    }

    /// A histogram of numbers up to 64.
    pub fn of_counts() -> Self {
        Self::new(COUNTS, false)
    }

    /// Records a time, rounded down to microseconds.
    pub fn record(&self, time: Duration) {
        self.record_count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Records a number, or a time in microseconds.
    pub fn record_count(&self, value: u64) {
        let bucket = self.bounds.partition_point(|(bound, _)| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// The values so far. Values that are recorded meanwhile may be missing in the sum.
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let bounds = self.bounds.iter().map(|(_, bound)| *bound).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = Duration::from_micros(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        Snapshot {
            sum: if self.is_time { sum } else { sum * 1_000_000.0 },
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

impl Snapshot {
    /// The value that this part of the values does not exceed, such as `0.95`: estimated within its bucket, as Prometheus
    /// does. Values beyond the last bound count as that bound. None without values.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let rank = part.clamp(0.0, 1.0) * number(self.count);
        let (mut below, mut lower) = (0.0, 0.0);
        for (upper, count) in self.buckets.iter().filter(|_bucket| self.count > 0) {
            let within = number(*count);
            if within > 0.0 && below + within >= rank {
                let share = ((rank - below) / within).clamp(0.0, 1.0);
                return Some(if upper.is_finite() {
                    lower + (upper - lower) * share
                } else {
                    lower
                });
            }
            (below, lower) = (below + within, *upper);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_estimated_within_its_bucket() {
        let histogram = Histogram::of_times();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for _ in 0..10 {
            histogram.record(Duration::from_millis(700));
        }
        let quantile = |part| histogram.snapshot().quantile(part).unwrap();
        assert!((quantile(0.5) - 0.75).abs() < 0.001, "{}", quantile(0.5));
        assert!((quantile(1.0) - 1.0).abs() < 0.001, "{}", quantile(1.0));
        for _ in 0..90 {
            histogram.record(Duration::from_secs(90));
        }
        assert!((quantile(0.95) - 60.0).abs() < 0.001, "beyond the last bound");
        assert!((quantile(0.05) - 0.75).abs() < 0.001, "{}", quantile(0.05));
    }

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::of_counts();
        for value in [1, 2, 3, 64, 65] {
            histogram.record_count(value);
        }
        let Snapshot { sum, count, buckets } = histogram.snapshot();
        assert_eq!(count, 5);
        assert!((sum - 135.0).abs() < 0.001, "{sum}");
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 1, 1]);
        assert!(buckets.last().unwrap().0.is_infinite());
    }

    #[test]
    fn times_are_shown_in_seconds() {
        let histogram = Histogram::of_times();
        histogram.record(Duration::from_millis(1500));
        let Snapshot { sum, buckets, .. } = histogram.snapshot();
        assert!((sum - 1.5).abs() < 0.000_001, "{sum}");
        assert!(buckets.contains(&(2.5, 1)), "{buckets:?}");
    }
}
