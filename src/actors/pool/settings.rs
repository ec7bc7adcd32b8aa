//! The settings of the pool.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::session::{NotASize, Size};

/// The name of the shape that a session has when its request names no other size and no executable.
pub const DEFAULT: &str = "default";

/// The most desktops that may wait in one shape.
const MOST_READY: usize = 1_000;

/// The shortest time for which a desktop waits, in seconds: a shorter one would only start browsers.
const SHORTEST_AGE: u64 = 60;

/// The longest time for which a desktop waits, in seconds: 30 days.
const LONGEST_AGE: u64 = 30 * 24 * 60 * 60;

/// The shortest time after which fewer desktops are kept ready, in seconds.
const SHORTEST_SHRINK: u64 = 10;

/// The longest time after which fewer desktops are kept ready, in seconds: a day.
const LONGEST_SHRINK: u64 = 24 * 60 * 60;

/// The highest limit on the starts of a minute.
const MOST_STARTS: usize = 1_000;

/// The desktops that run before a session asks for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The number of desktops in the default shape that are kept ready; 0 for none. Each takes
    /// the memory of an idle browser.
    pub ready: usize,
    /// The number up to which each session that finds no desktop in the default shape raises the number that is kept
    /// ready; 0 for `ready`.
    pub maximum: usize,
    /// The time in seconds without such a session after which the raised number falls by one, down to `ready`.
    pub shrink_seconds: u64,
    /// The number of desktops of all shapes that are started for the pool within a minute; 0 for no limit.
    pub starts_per_minute: usize,
    /// The time in seconds after which a desktop that no session took is replaced by a new one.
    pub max_age_seconds: u64,
    /// Desktops in other shapes, by a name of the operator's choice.
    pub shapes: BTreeMap<String, ShapeSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ready: 0,
            maximum: 0,
            shrink_seconds: 5 * 60,
            starts_per_minute: 0,
            max_age_seconds: 60 * 60,
            shapes: BTreeMap::new(),
        }
    }
}

/// The settings of desktops in one shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShapeSettings {
    /// The number of desktops that are kept ready.
    pub ready: usize,
    /// The number up to which demand raises it; 0 for `ready`.
    pub maximum: usize,
    /// The width of the display in pixels.
    pub width: u16,
    /// The height of the display in pixels.
    pub height: u16,
    /// The name of the browser's program in `desktop.executables`; none for the usual one.
    pub executable: Option<String>,
}

impl Default for ShapeSettings {
    fn default() -> Self {
        let size = Size::default();
        let (width, height) = (size.width(), size.height());
        Self { ready: 1, maximum: 0, width, height, executable: None }
    }
}

impl ShapeSettings {
    /// The size of the display.
    ///
    /// # Errors
    ///
    /// [`NotASize`] if a side is outside the limits of a display.
    pub fn size(&self) -> Result<Size, NotASize> {
        Size::new(self.width.into(), self.height.into())
    }

    /// Returns the members whose values are not allowed, each with the reason. The name of the program is not checked.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = number_problems(self.ready, self.maximum);
        for (member, side) in [("width", self.width), ("height", self.height)] {
            let wrong = Size::side(side.into()).err();
            found.extend(wrong.map(|wrong| (member, wrong.to_string())));
        }
        found
    }
}

/// Returns the numbers of a shape that are not allowed, each with the reason.
fn number_problems(ready: usize, maximum: usize) -> Vec<(&'static str, String)> {
    let too_many = |number: usize| number > MOST_READY;
    let message = format!("expected at most {MOST_READY}");
    let mut found = Vec::new();
    if too_many(ready) {
        found.push(("ready", message.clone()));
    }
    if too_many(maximum) {
        found.push(("maximum", message));
    } else if maximum != 0 && maximum < ready {
        found.push(("maximum", format!("expected 0, or at least `ready`, which is {ready}")));
    }
    found
}

impl Settings {
    /// The time after which a desktop that no session took is replaced.
    pub fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }

    /// The time without demand after which fewer desktops are kept ready.
    pub fn shrink(&self) -> Duration {
        Duration::from_secs(self.shrink_seconds)
    }

    /// Returns the keys whose values are not allowed, each with the reason. `executables` are
    /// the names in `desktop.executables`.
    pub fn problems(&self, executables: &[String]) -> Vec<(String, String)> {
        let numbers = number_problems(self.ready, self.maximum).into_iter();
        let mut found: Vec<_> = numbers.map(|(key, reason)| (key.to_owned(), reason)).collect();
        let shapes = self.shapes.iter().flat_map(|(name, shape)| {
            let problems = shape.problems().into_iter();
            problems.map(move |(member, reason)| (format!("shapes.{name}.{member}"), reason))
        });
        found.extend(shapes);
        let mut check = |key: String, holds: bool, message: String| {
            if !holds {
                found.push((key, message));
            }
        };
        let shrink = (SHORTEST_SHRINK..=LONGEST_SHRINK).contains(&self.shrink_seconds);
        let message = format!("expected {SHORTEST_SHRINK} to {LONGEST_SHRINK} seconds");
        check("shrink_seconds".to_owned(), shrink, message);
        let message = format!("expected at most {MOST_STARTS}");
        check("starts_per_minute".to_owned(), self.starts_per_minute <= MOST_STARTS, message);
        let age = (SHORTEST_AGE..=LONGEST_AGE).contains(&self.max_age_seconds);
        let message = format!("expected {SHORTEST_AGE} to {LONGEST_AGE} seconds");
        check("max_age_seconds".to_owned(), age, message);
        let mut known = vec![(Size::default().width(), Size::default().height(), None)];
        for (name, shape) in &self.shapes {
            let shown = (shape.width, shape.height, shape.executable.clone());
            let message = "another shape has the same size and executable".to_owned();
            check(format!("shapes.{name}"), !known.contains(&shown), message);
            known.push(shown);
            let message = "the keys of this shape are `pool.ready` and the defaults of requests";
            check(format!("shapes.{name}"), name != DEFAULT, message.to_owned());
            let executable = shape.executable.as_ref();
            let is_set = executable.is_none_or(|name| executables.contains(name));
            let message = "desktop.executables has no such name".to_owned();
            check(format!("shapes.{name}.executable"), is_set, message);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(settings: &Settings) -> Vec<String> {
        settings.problems(&[]).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_maximum_is_not_below_its_minimum_and_0_is_none() {
        let with = |ready, maximum| Settings { ready, maximum, ..Settings::default() };
        for (ready, maximum) in [(0, 0), (2, 0), (2, 2), (0, 3)] {
            assert_eq!(keys(&with(ready, maximum)), Vec::<String>::new(), "{ready} {maximum}");
        }
        assert_eq!(keys(&with(3, 2)), ["maximum"]);
        assert_eq!(keys(&with(1_001, 5_000)), ["ready", "maximum"]);
        let shape = ShapeSettings { ready: 2, maximum: 1, width: 1, ..ShapeSettings::default() };
        let settings = Settings { shapes: [("s".to_owned(), shape)].into(), ..Settings::default() };
        assert_eq!(keys(&settings), ["shapes.s.maximum", "shapes.s.width"]);
    }

    #[test]
    fn times_and_rates_have_bounds() {
        let settings =
            Settings { shrink_seconds: 9, starts_per_minute: 1_001, ..Settings::default() };
        assert_eq!(keys(&settings), ["shrink_seconds", "starts_per_minute"]);
    }
}
