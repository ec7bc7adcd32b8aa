//! The named pools of a server: those of its settings, and those that the API has made or has given other numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::demand::{Bounds, Demand};
use super::kept::OwnPools;
use super::settings::{DEFAULT, Settings, ShapeSettings};
use super::shape::Shape;
use crate::domain::session::Size;
use crate::metrics::{Counter, Histogram};

/// The origin of a pool's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PoolSource)]
pub enum Source {
    /// The settings of the server.
    Settings,
    /// A request to `/admin/pool/{name}`.
    Api,
}

/// The figures of one pool since the start of the server, or since the pool was made.
#[derive(Debug)]
pub struct Figures {
    /// Sessions that got a desktop of the pool.
    pub taken: Counter,
    /// Sessions that found none.
    pub missed: Counter,
    /// Desktops that were started.
    pub started: Counter,
    /// Starts of desktops that failed.
    pub failed: Counter,
    /// The times of the starts that succeeded.
    pub fill: Histogram,
    /// The times that desktops had waited when a session took them.
    pub waited: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            taken: Counter::default(),
            missed: Counter::default(),
            started: Counter::default(),
            failed: Counter::default(),
            fill: Histogram::of_times(),
            waited: Histogram::of_long_times(),
        }
    }
}

/// A named pool of desktops of one shape.
#[derive(Debug)]
pub struct Named {
    /// The name in the settings or in the request that has made it.
    pub name: String,
    /// The origin of its numbers.
    pub source: Source,
    /// The shape of its desktops, which no other pool has.
    pub shape: Shape,
    /// The bounds of the number that is kept ready.
    pub bounds: Bounds,
    /// The recent demand for its desktops.
    pub demand: Demand,
    /// The figures, which outlive a change of the numbers.
    pub figures: Arc<Figures>,
}

impl Named {
    /// True if desktops may be kept ready.
    pub fn is_used(&self) -> bool {
        self.bounds.maximum > 0
    }

    /// True if a pool with these settings would have the same shape.
    pub fn has_shape_of(&self, settings: &ShapeSettings) -> bool {
        settings.size() == Ok(self.shape.size) && settings.executable == self.shape.executable
    }

    fn new(name: &str, source: Source, settings: &ShapeSettings) -> Option<Self> {
        // A size that is none was refused before.
        let size = settings.size().ok()?;
        let maximum = if settings.maximum == 0 { settings.ready } else { settings.maximum };
        Some(Self {
            name: name.to_owned(),
            source,
            shape: Shape { size, executable: settings.executable.clone() },
            bounds: Bounds { minimum: settings.ready, maximum },
            demand: Demand::default(),
            figures: Arc::default(),
        })
    }
}

/// The pools that the settings name, `default` among them even if it keeps no desktop ready.
pub fn of_settings(settings: &Settings) -> BTreeMap<String, ShapeSettings> {
    let size = Size::default();
    let default = ShapeSettings {
        ready: settings.ready,
        maximum: settings.maximum,
        width: size.width(),
        height: size.height(),
        executable: None,
    };
    let mut pools = settings.shapes.clone();
    pools.insert(DEFAULT.to_owned(), default);
    pools
}

/// The pools in force, the default one first. A pool of the API with the name of a pool of the settings replaces its
/// numbers, and not its shape. Returns also the names of pools of the API that are left out, because a pool of the
/// settings has their shape.
pub fn merged(
    configured: &BTreeMap<String, ShapeSettings>,
    own: &OwnPools,
) -> (Vec<Named>, Vec<String>) {
    let mut pools: Vec<Named> = Vec::new();
    let mut left_out = Vec::new();
    for (name, settings) in configured {
        let (source, numbers) = match own.get(name) {
            Some(numbers) => (Source::Api, numbers),
            None => (Source::Settings, settings),
        };
        let (ready, maximum) = (numbers.ready, numbers.maximum);
        let settings = ShapeSettings { ready, maximum, ..settings.clone() };
        pools.extend(Named::new(name, source, &settings));
    }
    for (name, settings) in own.iter().filter(|(name, _)| !configured.contains_key(*name)) {
        match Named::new(name, Source::Api, settings) {
            Some(pool) if !pools.iter().any(|other| other.shape == pool.shape) => pools.push(pool),
            Some(_) | None => left_out.push(name.clone()),
        }
    }
    pools.sort_by_key(|pool| pool.name != DEFAULT);
    (pools, left_out)
}

/// Takes over the demand and the figures of pools that go on with the same shape.
pub fn carry_over(former: Vec<Named>, pools: &mut [Named]) {
    for pool in former {
        let same = |next: &&mut Named| next.name == pool.name && next.shape == pool.shape;
        if let Some(next) = pools.iter_mut().find(same) {
            next.demand = pool.demand;
            next.figures = pool.figures;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(ready: usize, maximum: usize, width: u16) -> ShapeSettings {
        ShapeSettings { ready, maximum, width, ..ShapeSettings::default() }
    }

    fn pools(of: &[(&str, ShapeSettings)]) -> OwnPools {
        of.iter().map(|(name, settings)| ((*name).to_owned(), settings.clone())).collect()
    }

    /// Each pool with its origin, bounds and width.
    fn shown(named: &[Named]) -> Vec<String> {
        let line = |it: &Named| {
            let Bounds { minimum, maximum } = it.bounds;
            format!("{} {:?} {minimum}-{maximum} {}", it.name, it.source, it.shape.size.width())
        };
        named.iter().map(line).collect()
    }

    #[test]
    fn the_api_changes_the_numbers_of_the_settings_and_adds_pools() {
        let small = ("a".to_owned(), shape(1, 0, 800));
        let settings = Settings { ready: 2, shapes: [small].into(), ..Settings::default() };
        let configured = of_settings(&settings);
        let (named, left_out) = merged(&configured, &OwnPools::new());
        assert_eq!(shown(&named), ["default Settings 2-2 1920", "a Settings 1-1 800"]);
        assert_eq!(left_out, Vec::<String>::new());
        // The width of `a` is that of the settings, which may have changed since.
        let own = pools(&[("a", shape(3, 5, 900)), ("b", shape(1, 0, 1000))]);
        let (named, _) = merged(&configured, &own);
        let expected = ["default Settings 2-2 1920", "a Api 3-5 800", "b Api 1-1 1000"];
        assert_eq!(shown(&named), expected);
    }

    #[test]
    fn of_two_pools_with_one_shape_that_of_the_settings_is_in_force() {
        let own =
            pools(&[("b", shape(1, 0, 1920)), ("c", shape(1, 0, 900)), ("d", shape(1, 0, 900))]);
        let (named, left_out) = merged(&of_settings(&Settings::default()), &own);
        assert_eq!(shown(&named), ["default Settings 0-0 1920", "c Api 1-1 900"]);
        assert_eq!(left_out, ["b", "d"]);
    }

    #[test]
    fn figures_outlive_a_change_of_the_numbers_and_not_one_of_the_shape() {
        let configured = of_settings(&Settings::default());
        let former = merged(&configured, &pools(&[("b", shape(1, 0, 900))])).0;
        former.last().unwrap().figures.missed.add(1);
        let mut next = merged(&configured, &pools(&[("b", shape(2, 0, 900))])).0;
        carry_over(former, &mut next);
        assert_eq!(next.last().unwrap().figures.missed.get(), 1);
        let mut other = merged(&configured, &pools(&[("b", shape(2, 0, 901))])).0;
        carry_over(next, &mut other);
        assert_eq!(other.last().unwrap().figures.missed.get(), 0);
    }
}
