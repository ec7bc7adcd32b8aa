//! Layers of settings, merged in order, with the origin of each value.
//!
//! A key is known if it is found in the defaults as they serialize. A key whose default is null or
//! an empty table may have any keys below it; its type decides whether they are valid. A field that
//! is not serialized is not known.

mod known;
mod node;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::given::{Fault, nearest};
use known::unknown_key;
use node::{Node, Value, insert};

/// Settings that have rules beyond their types.
pub trait Checked {
    /// Returns the values that break a rule.
    fn check(&self) -> Vec<WrongValue>;
}

/// A value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongValue {
    /// The key with its sections: `http.listen`.
    pub key: String,
    /// The rule and the values that would be valid, without the value itself if it is a secret.
    pub message: String,
}

/// A flag of the command line that overrides a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    name: &'static str,
    key: &'static str,
    value: String,
}

impl Flag {
    /// Creates a flag. `name` is as typed, `key` includes the sections.
    pub fn new(name: &'static str, key: &'static str, value: impl Into<String>) -> Self {
        Self { name, key, value: value.into() }
    }
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default, because no layer sets the value.
    Default,
    /// A value from a settings file.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
    },
    /// A value from an environment variable.
    Environment {
        /// The name of the variable.
        name: String,
    },
    /// A value from a flag of the command line.
    Flag {
        /// The flag as typed.
        name: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => f.write_str(name),
            Self::Flag { name } => f.write_str(name),
        }
    }
}

/// The settings in force, with their origins.
#[derive(Debug, Clone)]
pub struct Loaded<S> {
    /// The settings, merged from all layers.
    pub settings: S,
    /// The origin of each value, by key with its sections. A key that is missing has its default.
    pub origins: BTreeMap<String, Origin>,
    /// Messages about input that was ignored and should be checked.
    pub warnings: Vec<String>,
}

impl<S> Loaded<S> {
    /// Returns the origin of the value of a key.
    pub fn origin(&self, key: &str) -> &Origin {
        origin_of(&self.origins, key)
    }
}

/// Returns the origin of a key, of an enclosing section, or of a key within it.
fn origin_of<'a>(origins: &'a BTreeMap<String, Origin>, key: &str) -> &'a Origin {
    let mut at = Some(key);
    while let Some(around) = at {
        if let Some(origin) = origins.get(around) {
            return origin;
        }
        at = around.rsplit_once('.').map(|(section, _)| section);
    }
    let within = format!("{key}.");
    let first = origins.iter().find(|(other, _)| other.starts_with(&within));
    first.map_or(&Origin::Default, |(_, origin)| origin)
}

/// Invalid settings, with every fault that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<String>,
}

impl ConfigError {
    pub(super) fn one(fault: String) -> Self {
        Self { faults: vec![fault] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// The layers, from the lowest up. Later layers take precedence.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    values: BTreeMap<Vec<String>, (Value, Origin)>,
    /// The sections that a file names, with or without keys in them.
    sections: Vec<(Vec<String>, Origin)>,
    warnings: Vec<String>,
    prefix: String,
    short_names: &'static [(&'static str, &'static str)],
}

impl Layers {
    /// Creates the layers with only the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a default that depends on the machine.
    pub fn base(&mut self, key: &str, value: String) {
        self.put(split(key), Value::Text(value), Origin::Default);
    }

    /// Adds the values of a TOML file.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| {
            ConfigError::one(format!("the settings in {} cannot be read: {cause}", path.display()))
        })?;
        self.text(path, &text)
    }

    fn text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let broken = |cause: toml::de::Error| {
            ConfigError::one(format!("{}: {}", path.display(), cause.to_string().trim_end()))
        };
        let values: toml::Table = text.parse().map_err(broken)?;
        // Parsed again for the positions, which the values do not have.
        let places = DeTable::parse(text).map_err(broken)?;
        let origin = |start: usize| {
            let before = text.get(..start).unwrap_or(text);
            Origin::File { path: path.to_owned(), line: 1 + before.matches('\n').count() }
        };
        self.table(&mut Vec::new(), values, Some(places.get_ref()), &origin);
        Ok(())
    }

    fn table(
        &mut self,
        section: &mut Vec<String>,
        values: toml::Table,
        places: Option<&DeTable<'_>>,
        origin: &dyn Fn(usize) -> Origin,
    ) {
        for (key, value) in values {
            let place = places.and_then(|places| {
                places.iter().find(|(name, _)| name.get_ref().as_ref() == key.as_str())
            });
            let from = origin(place.map_or(0, |(name, _): (&Spanned<_>, _)| name.span().start));
            section.push(key);
            if let toml::Value::Table(inner) = value {
                self.sections.push((section.clone(), from));
                let places = place.and_then(|(_, value)| match value.get_ref() {
                    DeValue::Table(places) => Some(places),
                    DeValue::String(_)
                    | DeValue::Integer(_)
                    | DeValue::Float(_)
                    | DeValue::Boolean(_)
                    | DeValue::Datetime(_)
                    | DeValue::Array(_) => None,
                });
                self.table(section, inner, places, origin);
            } else {
                self.put(section.clone(), Value::Toml(value), from);
            }
            section.pop();
        }
    }

    /// Adds the variables whose names begin with `prefix`: keys with two underscores between
    /// levels, or one of `short_names`. Other variables are ignored with a warning, since
    /// orchestrators set such variables themselves. Those in `not_settings` are ignored without
    /// one.
    pub fn environment(
        &mut self,
        prefix: &str,
        variables: &BTreeMap<String, String>,
        short_names: &'static [(&'static str, &'static str)],
        not_settings: &[&str],
    ) {
        prefix.clone_into(&mut self.prefix);
        self.short_names = short_names;
        let ours = variables.iter().filter(|(name, value)| {
            name.starts_with(prefix) && !value.is_empty() && !not_settings.contains(&name.as_str())
        });
        // The short name of a key yields to the long one, which is more explicit.
        let (long, short): (Vec<_>, Vec<_>) = ours.partition(|(name, _)| name.contains("__"));
        for (name, value) in short {
            let Some((_, key)) = short_names.iter().find(|(short, _)| short == name) else {
                let near = nearest(name, short_names.iter().map(|(short, _)| *short));
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                self.warnings.push(format!("the variable {name} is not a setting{near}"));
                continue;
            };
            let origin = Origin::Environment { name: name.clone() };
            self.put(split(key), Value::Text(value.clone()), origin);
        }
        for (name, value) in long {
            let rest = name.strip_prefix(prefix).unwrap_or(name);
            let path = rest.split("__").map(str::to_owned).collect();
            let origin = Origin::Environment { name: name.clone() };
            self.put(path, Value::Text(value.clone()), origin);
        }
    }

    /// Adds a single variable, which is not named after its key.
    pub fn variable(&mut self, name: &str, path: &[&str], value: String) {
        let path = path.iter().map(|step| (*step).to_owned()).collect();
        let origin = Origin::Environment { name: name.to_owned() };
        self.put(path, Value::Text(value), origin);
    }

    /// Adds a message about input that is ignored.
    pub fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Adds the flags of the command line.
    pub fn flags(&mut self, flags: impl IntoIterator<Item = Flag>) {
        for Flag { name, key, value } in flags {
            self.put(split(key), Value::Text(value), Origin::Flag { name });
        }
    }

    /// Replaces all values that lower layers have for this key and for keys within it.
    fn put(&mut self, path: Vec<String>, value: Value, origin: Origin) {
        self.values.retain(|known, _| !known.starts_with(&path) || known.len() == path.len());
        self.values.insert(path, (value, origin));
    }

    /// Returns the settings, or every fault in them.
    pub fn load<S>(mut self) -> Result<Loaded<S>, ConfigError>
    where
        S: Default + Serialize + DeserializeOwned + Checked,
    {
        let known = serde_json::to_value(S::default()).map_err(|cause| {
            ConfigError::one(format!("the defaults cannot be written as a table: {cause}"))
        })?;
        self.fold_variables(&known);
        let faults = self.unknown_keys(&known);
        if !faults.is_empty() {
            return Err(ConfigError { faults });
        }

        let mut root = BTreeMap::new();
        let mut origins = BTreeMap::new();
        for (path, (value, origin)) in self.values {
            origins.insert(path.join("."), origin);
            insert(&mut root, &path, value);
        }
        let settings: S = serde_path_to_error::deserialize(Node::Table(root))
            .map_err(|cause| ConfigError::one(type_fault(&cause, &origins)))?;

        let faults: Vec<String> = settings
            .check()
            .into_iter()
            .map(|WrongValue { key, message }| {
                format!("{}: {key}: {message}", origin_of(&origins, &key))
            })
            .collect();
        if !faults.is_empty() {
            return Err(ConfigError { faults });
        }
        Ok(Loaded { settings, origins, warnings: self.warnings })
    }

    /// Converts the names from variables to lower case, as far as keys are known. Names below an
    /// open table are unchanged.
    fn fold_variables(&mut self, known: &Json) {
        let values = std::mem::take(&mut self.values);
        let (from_variables, others): (Vec<_>, Vec<_>) = values
            .into_iter()
            .partition(|(_, (_, origin))| matches!(origin, Origin::Environment { .. }));
        let is_flag = |origin: &Origin| matches!(origin, Origin::Flag { .. });
        let (flags, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, (_, origin))| is_flag(origin));
        self.values = others.into_iter().collect();
        for (path, (value, origin)) in from_variables {
            let mut at = Some(known);
            let path = path
                .into_iter()
                .map(|step| {
                    let is_open =
                        at.and_then(Json::as_object).is_some_and(|names| names.is_empty());
                    let step = if is_open { step } else { step.to_ascii_lowercase() };
                    at = if is_open { at } else { at.and_then(|table| table.get(&step)) };
                    step
                })
                .collect();
            self.put(path, value, origin);
        }
        for (path, (value, origin)) in flags {
            self.put(path, value, origin);
        }
    }

    fn unknown_keys(&self, known: &Json) -> Vec<String> {
        let values = self.values.iter().map(|(path, (_, origin))| (path, origin, true));
        let sections = self.sections.iter().map(|(path, origin)| (path, origin, false));
        let mut faults: Vec<String> = Vec::new();
        let mut refused: Vec<&[String]> = Vec::new();
        // Sections come first: keys within an unknown section are not reported again.
        for (path, origin, is_value) in sections.chain(values) {
            if refused.iter().any(|section| path.starts_with(section)) {
                continue;
            }
            if let Some(fault) = unknown_key(known, path, is_value) {
                let shown = match origin {
                    Origin::Environment { .. } => fault.in_variable(&self.prefix),
                    Origin::Default | Origin::File { .. } | Origin::Flag { .. } => fault.in_file(),
                };
                faults.push(format!("{origin}: {shown}"));
                refused.push(path);
            }
        }
        faults
    }
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

fn type_fault(
    cause: &serde_path_to_error::Error<toml::de::Error>,
    origins: &BTreeMap<String, Origin>,
) -> String {
    let steps = cause.path().iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    });
    let key = steps.collect::<Vec<_>>().join(".");
    let origin = origin_of(origins, &key);
    let message = match Fault::read(cause.inner().message()) {
        Fault::Missing { field } => format!("`{field}` is missing"),
        Fault::Unknown { field, known } => {
            let near = nearest(&field, known.iter().map(String::as_str));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("unknown key `{field}`{near}")
        }
        Fault::Type { message } | Fault::Value { message } => message,
    };
    format!("{origin}: {key}: {message}")
}

#[cfg(test)]
mod tests;
