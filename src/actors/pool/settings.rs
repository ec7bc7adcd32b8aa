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

/// The desktops that run before a session asks for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The number of desktops in the default shape that are kept ready; 0 for none. Each takes
    /// the memory of an idle browser.
    pub ready: usize,
    /// The time in seconds after which a desktop that no session took is replaced by a new one.
    pub max_age_seconds: u64,
    /// Desktops in other shapes, by a name of the operator's choice.
    pub shapes: BTreeMap<String, ShapeSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ready: 0, max_age_seconds: 60 * 60, shapes: BTreeMap::new() }
    }
}

/// The settings of desktops in one shape.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShapeSettings {
    /// The number of desktops that are kept ready.
    pub ready: usize,
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
        Self { ready: 1, width: size.width(), height: size.height(), executable: None }
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
}

impl Settings {
    /// The time after which a desktop that no session took is replaced.
    pub fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }

    /// Returns the keys whose values are not allowed, each with the reason. `executables` are
    /// the names in `desktop.executables`.
    pub fn problems(&self, executables: &[String]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut check = |key: String, holds: bool, message: String| {
            if !holds {
                found.push((key, message));
            }
        };
        let most = |ready: &usize| *ready <= MOST_READY;
        let too_many = format!("expected at most {MOST_READY}");
        check("ready".to_owned(), most(&self.ready), too_many.clone());
        let age = (SHORTEST_AGE..=LONGEST_AGE).contains(&self.max_age_seconds);
        let message = format!("expected {SHORTEST_AGE} to {LONGEST_AGE} seconds");
        check("max_age_seconds".to_owned(), age, message);
        let mut known = vec![(Size::default().width(), Size::default().height(), None)];
        for (name, shape) in &self.shapes {
            let shown = (shape.width, shape.height, shape.executable.clone());
            let message = "another shape has the same size and executable".to_owned();
            check(format!("shapes.{name}"), !known.contains(&shown), message);
            known.push(shown);
            let key = |member: &str| format!("shapes.{name}.{member}");
            let message = "the keys of this shape are `pool.ready` and the defaults of requests";
            check(format!("shapes.{name}"), name != DEFAULT, message.to_owned());
            check(key("ready"), most(&shape.ready), too_many.clone());
            for (member, side) in [("width", shape.width), ("height", shape.height)] {
                let side = Size::side(side.into());
                let message = side.as_ref().err().map(ToString::to_string);
                check(key(member), side.is_ok(), message.unwrap_or_default());
            }
            let executable = shape.executable.as_ref();
            let is_set = executable.is_none_or(|name| executables.contains(name));
            let message = "desktop.executables has no such name".to_owned();
            check(key("executable"), is_set, message);
        }
        found
    }
}
