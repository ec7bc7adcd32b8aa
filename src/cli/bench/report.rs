//! The figures of a measurement, with all that is needed to compare them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Map, Value, json};

use crate::cli::output::{Table, say, say_json};

/// The durations of one step, in the order of their measurement.
#[derive(Debug, Clone, Default)]
pub(super) struct Durations(Vec<Duration>);

impl Durations {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The number of durations for each second of a measurement that took `all`.
    pub(super) fn per_second(&self, all: Duration) -> f64 {
        f64::from(u32::try_from(self.count()).unwrap_or(u32::MAX)) / all.as_secs_f64().max(1e-9)
    }

    /// The duration that the given percentage of all did not exceed, by the method of the nearest rank.
    fn percentile(sorted: &[Duration], percent: usize) -> Duration {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let at = |percent| milliseconds(Self::percentile(&sorted, percent));
        vec![("min", at(0)), ("p50", at(50)), ("p95", at(95)), ("p99", at(99)), ("max", at(100))]
    }
}

/// The result of a measurement.
#[derive(Debug)]
pub(super) struct Report {
    /// The name of the measurement.
    pub(super) what: &'static str,
    /// The parameters of the measurement.
    pub(super) parameters: Value,
    /// The durations of each step, in the order of the steps.
    pub(super) steps: Vec<(&'static str, Durations)>,
    /// Further figures, by name.
    pub(super) figures: Vec<(&'static str, f64)>,
    /// The failures of clients, which end their part of the measurement.
    pub(super) errors: Vec<String>,
}

impl Report {
    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            return say_json(&self.json());
        }
        let mut table = Table::new(&["ms", "count", "min", "p50", "p95", "p99", "max"]);
        for (step, durations) in &self.steps {
            let count = durations.count().to_string();
            let cells = durations.figures().into_iter().map(|(_, figure)| format!("{figure:.1}"));
            table.row([(*step).to_owned(), count].into_iter().chain(cells));
        }
        table.print();
        for (name, figure) in &self.figures {
            say(format_args!("{name}: {figure:.1}"));
        }
    }

    fn json(&self) -> Value {
        let steps: Map<String, Value> = self
            .steps
            .iter()
            .map(|(step, durations)| {
                let figures: BTreeMap<_, _> = durations.figures().into_iter().collect();
                ((*step).to_owned(), json!({ "count": durations.count(), "milliseconds": figures }))
            })
            .collect();
        let figures: BTreeMap<_, _> = self.figures.iter().copied().collect();
        json!({
            "benchmark": self.what,
            "version": env!("CARGO_PKG_VERSION"),
            "at": Utc::now(),
            "machine": machine(),
            "parameters": self.parameters,
            "steps": steps,
            "figures": figures,
            "errors": self.errors,
        })
    }
}

/// The machine on which the client runs.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut durations = Durations::default();
        for milliseconds in (1..=100).rev() {
            durations.add(Duration::from_millis(milliseconds));
        }
        let figures: BTreeMap<_, _> = durations.figures().into_iter().collect();
        let expected = [("max", 100.0), ("min", 1.0), ("p50", 50.0), ("p95", 95.0), ("p99", 99.0)];
        assert_eq!(figures.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(Durations::default().figures().first(), Some(&("min", 0.0)));
    }
}
