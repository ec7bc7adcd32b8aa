//! The figures of a measurement, with all that is needed to compare them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::cli::output::{Table, cell, say, say_json};

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

    /// The percentile in milliseconds.
    pub(super) fn at(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        milliseconds(Self::percentile(&sorted, percent))
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent| milliseconds(Self::percentile(&sorted, percent));
        vec![("min", at(0)), ("p50", at(50)), ("p95", at(95)), ("p99", at(99)), ("max", at(100))]
    }
}

/// The milliseconds of a duration, to the microsecond.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A table of figures: a row for each size that was measured.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The names of the columns.
    pub(super) columns: Vec<&'static str>,
    /// The figures of each row, in the order of the columns.
    pub(super) rows: Vec<Vec<f64>>,
}

impl Rows {
    /// The figures of a column.
    pub(super) fn column(&self, name: &str) -> Vec<f64> {
        let place = self.columns.iter().position(|column| *column == name);
        let figures = self.rows.iter().map(|row| place.and_then(|place| row.get(place)).copied());
        figures.flatten().collect()
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<f64>| -> Value {
            let members = self.columns.iter().zip(row);
            members.map(|(name, figure)| ((*name).to_owned(), json!(figure))).collect()
        };
        self.rows.iter().map(object).collect()
    }

    fn print(&self) {
        let mut table = Table::new(&self.columns);
        for row in &self.rows {
            // A number of sessions has no decimals.
            let cell = |figure: &f64| {
                if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
            };
            table.row(row.iter().map(cell));
        }
        table.print();
    }
}

/// The result of a measurement.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The name of the measurement.
    pub(super) what: &'static str,
    /// The parameters of the measurement.
    pub(super) parameters: Value,
    /// The durations of each step, in the order of the steps.
    pub(super) steps: Vec<(Cow<'static, str>, Durations)>,
    /// Further figures, by name.
    pub(super) figures: Vec<(&'static str, f64)>,
    /// Figures by size, where several sizes were measured.
    pub(super) rows: Option<Rows>,
    /// Sentences about figures that are missing, and why.
    pub(super) notes: Vec<String>,
    /// The failures of clients, which end their part of the measurement.
    pub(super) errors: Vec<String>,
}

impl Report {
    /// Prints the report of a measurement that used this seed.
    pub(super) fn print(&self, seed: u64, as_json: bool) {
        let at = Utc::now();
        if as_json {
            return say_json(&self.json(seed, at));
        }
        if !self.steps.is_empty() {
            self.print_steps();
        }
        if let Some(rows) = &self.rows {
            rows.print();
        }
        for (name, figure) in &self.figures {
            say(format_args!("{name}: {figure:.1}"));
        }
        let machine = machine();
        let named = |name: &str| cell(&machine, name);
        let (processors, processor) = (named("processors"), named("processor"));
        let (memory, at) = (named("memory"), at.format("%Y-%m-%d %H:%M UTC"));
        say(format_args!("{at}; seed {seed}; {processors} processors: {processor}; {memory}"));
    }

    fn print_steps(&self) {
        let mut table = Table::new(&["ms", "count", "min", "p50", "p95", "p99", "max"]);
        for (step, durations) in &self.steps {
            let count = durations.count().to_string();
            let cells = durations.figures().into_iter().map(|(_, figure)| format!("{figure:.1}"));
            table.row([step.to_string(), count].into_iter().chain(cells));
        }
        table.print();
    }

    fn json(&self, seed: u64, at: DateTime<Utc>) -> Value {
        let steps: Map<String, Value> = self
            .steps
            .iter()
            .map(|(step, durations)| {
                let figures: BTreeMap<_, _> = durations.figures().into_iter().collect();
                (step.to_string(), json!({ "count": durations.count(), "milliseconds": figures }))
            })
            .collect();
        let figures: BTreeMap<_, _> = self.figures.iter().copied().collect();
        let mut report = json!({
            "benchmark": self.what,
            "version": env!("CARGO_PKG_VERSION"),
            "at": at,
            "seed": seed,
            "machine": machine(),
            "parameters": self.parameters,
            "steps": steps,
            "figures": figures,
            "notes": self.notes,
            "errors": self.errors,
        });
        if let (Some(rows), Some(members)) = (&self.rows, report.as_object_mut()) {
            members.insert("rows".to_owned(), rows.json());
        }
        report
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
