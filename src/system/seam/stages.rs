//! The stages of a start, with the time of each.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// The stages of the start of a desktop, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stages(Vec<(&'static str, Duration)>);

impl Stages {
    /// The only stage of a start.
    pub fn one(name: &'static str, took: Duration) -> Self {
        Self(vec![(name, took)])
    }

    /// Each stage with its time.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.0.iter().copied()
    }
}

impl Serialize for Stages {
    /// An object with the milliseconds of each stage.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        serializer.collect_map(self.0.iter().map(|(name, took)| (name, milliseconds(*took))))
    }
}

/// A start under way: each stage ends where the next one begins.
#[derive(Debug)]
pub struct Staging {
    since: Instant,
    ended: Vec<(&'static str, Duration)>,
}

impl Staging {
    /// Begins the first stage.
    pub fn begin() -> Self {
        Self { since: Instant::now(), ended: Vec::new() }
    }

    /// Ends the present stage, which has this name.
    pub fn ended(&mut self, name: &'static str) {
        let now = Instant::now();
        self.ended.push((name, now - self.since));
        self.since = now;
    }

    /// The stages that have ended.
    pub fn stages(self) -> Stages {
        Stages(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_shown_in_their_order_with_their_milliseconds() {
        let mut staging = Staging::begin();
        staging.ended("display");
        staging.ended("browser");
        let Stages(stages) = staging.stages();
        let names: Vec<_> = stages.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["display", "browser"]);
        let stages = Stages(vec![
            ("display", Duration::from_micros(70_900)),
            ("browser", Duration::from_millis(410)),
        ]);
        let text = serde_json::to_string(&stages).unwrap();
        assert_eq!(text, r#"{"display":70,"browser":410}"#);
    }
}
