//! The number of desktops that a pool keeps ready, between its minimum and its maximum, and the rate of starts.
//!
//! Each session that finds no desktop raises the number by one. Each `pool.shrink_seconds` without such a session lower
//! it by one. Both are functions of the time that they are given; nothing here reads a clock.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

/// The time in which starts are counted.
const WINDOW: TimeDelta = TimeDelta::seconds(60);

/// The bounds of the number of desktops that a pool keeps ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The number that is kept ready without any demand.
    pub minimum: usize,
    /// The number beyond which no demand raises it; at least the minimum.
    pub maximum: usize,
}

/// The recent demand for the desktops of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// The number of desktops beyond the minimum, at the time `since`.
    extra: usize,
    /// The time of the last session that found no desktop.
    since: Option<DateTime<Utc>>,
}

impl Demand {
    /// Records a session that found no desktop.
    pub fn on_miss(&mut self, bounds: Bounds, shrink: TimeDelta, now: DateTime<Utc>) {
        let before = self.extra(bounds, shrink, now);
        self.extra = before.saturating_add(1).min(bounds.maximum.saturating_sub(bounds.minimum));
        self.since = Some(now);
    }

    /// The number of desktops to keep ready.
    pub fn wanted(&self, bounds: Bounds, shrink: TimeDelta, now: DateTime<Utc>) -> usize {
        bounds.minimum + self.extra(bounds, shrink, now)
    }

    /// The next time at which the number falls, if it is above the minimum.
    pub fn falls_at(
        &self,
        bounds: Bounds,
        shrink: TimeDelta,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let since = self.since.filter(|_since| self.extra(bounds, shrink, now) > 0)?;
        let next = i32::try_from(quiet_intervals(since, shrink, now)).ok()?.checked_add(1)?;
        since.checked_add_signed(shrink.checked_mul(next)?)
    }

    fn extra(&self, bounds: Bounds, shrink: TimeDelta, now: DateTime<Utc>) -> usize {
        let Some(since) = self.since else { return 0 };
        let most = bounds.maximum.saturating_sub(bounds.minimum);
        self.extra.min(most).saturating_sub(quiet_intervals(since, shrink, now))
    }
}

/// The number of whole intervals that have passed.
fn quiet_intervals(since: DateTime<Utc>, shrink: TimeDelta, now: DateTime<Utc>) -> usize {
    let passed = (now - since).num_milliseconds().max(0);
    usize::try_from(passed / shrink.num_milliseconds().max(1)).unwrap_or(usize::MAX)
}

/// The latest starts of desktops, as many as may be within one minute.
#[derive(Debug, Default)]
pub struct Rate(VecDeque<DateTime<Utc>>);

impl Rate {
    /// Records a start. Keeps no more than `limit` of them, which may be 0 for no limit.
    pub fn on_start(&mut self, limit: usize, now: DateTime<Utc>) {
        self.0.push_back(now);
        while self.0.len() > limit {
            self.0.pop_front();
        }
    }

    /// The time before which no further start is allowed; none if one is allowed now.
    pub fn allows_at(&self, limit: usize, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let oldest = self.0.front().filter(|_oldest| limit > 0 && self.0.len() >= limit)?;
        Some(*oldest + WINDOW).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHRINK: TimeDelta = TimeDelta::seconds(300);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    /// The demand after sessions that found none at these times.
    fn missed(bounds: Bounds, times: &[i64]) -> Demand {
        let mut demand = Demand::default();
        times.iter().for_each(|time| demand.on_miss(bounds, SHRINK, at(*time)));
        demand
    }

    #[test]
    fn each_miss_raises_the_number_by_one_up_to_the_maximum() {
        let bounds = Bounds { minimum: 1, maximum: 3 };
        let after = |times: &[i64]| {
            missed(bounds, times).wanted(bounds, SHRINK, at(*times.last().unwrap()))
        };
        assert_eq!(Demand::default().wanted(bounds, SHRINK, at(0)), 1);
        assert_eq!((after(&[0]), after(&[0, 1]), after(&[0, 1, 2])), (2, 3, 3));
    }

    #[test]
    fn each_quiet_interval_lowers_it_by_one_down_to_the_minimum() {
        let bounds = Bounds { minimum: 1, maximum: 4 };
        let demand = missed(bounds, &[0, 0, 0]);
        let wanted = |time| demand.wanted(bounds, SHRINK, at(time));
        assert_eq!((wanted(299), wanted(300), wanted(600), wanted(900)), (4, 3, 2, 1));
        assert_eq!(wanted(1_000_000), 1);
        assert_eq!(demand.falls_at(bounds, SHRINK, at(10)), Some(at(300)));
        assert_eq!(demand.falls_at(bounds, SHRINK, at(300)), Some(at(600)));
        assert_eq!(demand.falls_at(bounds, SHRINK, at(900)), None);
        // A miss starts the interval anew, from what was left.
        let demand = missed(bounds, &[0, 0, 0, 310]);
        assert_eq!(demand.wanted(bounds, SHRINK, at(609)), 4);
        assert_eq!(demand.wanted(bounds, SHRINK, at(610)), 3);
    }

    #[test]
    fn narrower_bounds_hold_at_once() {
        let wide = Bounds { minimum: 0, maximum: 9 };
        let demand = missed(wide, &[0; 9]);
        let fixed = Bounds { minimum: 2, maximum: 2 };
        assert_eq!(demand.wanted(fixed, SHRINK, at(0)), 2);
        assert_eq!(demand.falls_at(fixed, SHRINK, at(0)), None);
    }

    proptest! {
        #[test]
        fn the_number_is_always_within_its_bounds_and_falls_at_the_time_that_it_names(
            minimum in 0_usize..5, more in 0_usize..5, gaps in prop::collection::vec(0_i64..900, 0..20),
            later in 0_i64..3_000,
        ) {
            let bounds = Bounds { minimum, maximum: minimum + more };
            let mut demand = Demand::default();
            let mut time = 0;
            for gap in gaps {
                time += gap;
                demand.on_miss(bounds, SHRINK, at(time));
            }
            let now = at(time + later);
            let wanted = demand.wanted(bounds, SHRINK, now);
            prop_assert!((minimum..=minimum + more).contains(&wanted));
            match demand.falls_at(bounds, SHRINK, now) {
                Some(falls) => {
                    prop_assert!(falls > now);
                    let just_before = falls - TimeDelta::milliseconds(1);
                    prop_assert_eq!(demand.wanted(bounds, SHRINK, just_before), wanted);
                    prop_assert_eq!(demand.wanted(bounds, SHRINK, falls), wanted - 1);
                }
                None => prop_assert_eq!(wanted, minimum),
            }
        }
    }

    #[test]
    fn no_more_starts_than_the_limit_are_within_a_minute() {
        let mut rate = Rate::default();
        let limit = 2;
        assert_eq!(rate.allows_at(limit, at(0)), None);
        rate.on_start(limit, at(0));
        assert_eq!(rate.allows_at(limit, at(1)), None);
        rate.on_start(limit, at(20));
        assert_eq!(rate.allows_at(limit, at(21)), Some(at(60)));
        assert_eq!(rate.allows_at(limit, at(60)), None);
        rate.on_start(limit, at(60));
        assert_eq!(rate.allows_at(limit, at(61)), Some(at(80)));
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut rate = Rate::default();
        rate.on_start(0, at(0));
        assert_eq!((rate.0.len(), rate.allows_at(0, at(0))), (0, None));
    }
}
