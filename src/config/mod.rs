//! The only reader of the environment and of settings.
//!
//! Settings come in layers, each over the one before it: the defaults, a TOML file, variables
//! `GREENROOM_SECTION__KEY` (two underscores between levels) and the flags of the command line.
//! [`layers`] lays them on one another for any type of settings; [`Settings`] is ours, with one
//! field for the section of each floor. Adding a section is adding its field and, if it has a
//! check, its line in [`Checked::check`].

mod isolation;
pub mod layers;
pub mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use isolation::{Egress, Isolation};
pub use layers::{Checked, ConfigError, Flag, Loaded, Origin, WrongValue};

use crate::domain::secret::Secret;
use crate::{actors, db, http, system, workflow};
use layers::Layers;

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The directory of all that is kept: the embedded database, profiles, artifacts. By default
    /// `greenroom` in the user's data directory. [`load`] makes it absolute: programs run in other
    /// directories than the server.
    pub data: PathBuf,
    /// Keys that are given instead of made.
    pub keys: Keys,
    /// Where the server listens.
    pub http: http::Settings,
    /// Where everything is stored.
    pub database: db::Settings,
    /// How desktops are brought up, watched and ended.
    pub desktop: system::Settings,
    /// What a session may use of the machine, and what must be free for another.
    pub limits: system::limits::Settings,
    /// Recordings, and the black box.
    pub recording: system::film::Settings,
    /// Limits and defaults of sessions, occupancies and runs.
    pub sessions: actors::Settings,
    /// The default limits of each organization.
    pub quotas: actors::quotas::Settings,
    /// How the blocks of workflows are executed.
    pub workflow: workflow::Settings,
    /// How long events are kept.
    pub events: actors::events::Settings,
    /// How clients' servers are told what has happened.
    pub webhooks: http::webhooks::Settings,
    /// The reach of a session's drivers.
    pub isolation: Isolation,
    /// The targets that browsers and blocks may reach.
    pub egress: Egress,
    /// How the server is taken down.
    pub stop: Stop,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/greenroom"),
            keys: Keys::default(),
            http: http::Settings::default(),
            database: db::Settings::default(),
            desktop: system::Settings::default(),
            limits: system::limits::Settings::default(),
            recording: system::film::Settings::default(),
            sessions: actors::Settings::default(),
            quotas: actors::quotas::Settings::default(),
            workflow: workflow::Settings::default(),
            events: actors::events::Settings::default(),
            webhooks: http::webhooks::Settings::default(),
            isolation: Isolation::default(),
            egress: Egress::default(),
            stop: Stop::default(),
        }
    }
}

/// The section `keys`: keys that are given instead of made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The API key of the first organization; made and printed once if it is not given.
    pub bootstrap: Option<Secret>,
    /// The key that opens `/admin`, beside keys whose role is `operator`.
    pub operator: Option<Secret>,
    /// The `SECRET_KEY` of a Skyvern server, whose API keys are then taken here: those of organizations that
    /// have the same id.
    pub skyvern_secret: Option<Secret>,
    /// Keys of fewer than 16 characters are taken as well, for demonstrations.
    pub allow_short: bool,
    /// The delay of the answer to a wrong key, once its address has sent ten within a minute.
    pub wrong_key_delay_milliseconds: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            bootstrap: None,
            operator: None,
            skyvern_secret: None,
            allow_short: false,
            wrong_key_delay_milliseconds: 1_000,
        }
    }
}

impl Keys {
    /// Returns the delay of answers to wrong keys.
    pub fn wrong_key_delay(&self) -> Duration {
        Duration::from_millis(self.wrong_key_delay_milliseconds)
    }
}

/// The fewest characters of a key that is given.
const SHORTEST_KEY: usize = 16;

/// The section `stop`: how the server is taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// How long occupants and runs may go on after the first signal.
    pub grace_seconds: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { grace_seconds: 30 }
    }
}

impl Checked for Settings {
    fn check(&self) -> Vec<WrongValue> {
        let mut wrong: Vec<WrongValue> = Vec::new();
        for (key, secret) in [
            ("bootstrap", &self.keys.bootstrap),
            ("operator", &self.keys.operator),
            ("skyvern_secret", &self.keys.skyvern_secret),
        ] {
            let length = secret.as_ref().map_or(usize::MAX, |it| it.expose().trim().len());
            if length < SHORTEST_KEY && !self.keys.allow_short {
                let message = format!(
                    "a key of fewer than {SHORTEST_KEY} characters can be guessed; for a demonstration set \
                     keys.allow_short"
                );
                wrong.push(WrongValue { key: format!("keys.{key}"), message });
            }
        }
        wrong.extend(self.http.check().into_iter().map(|http::Wrong { key, message }| {
            WrongValue { key: format!("http.{key}"), message }
        }));
        for (section, problems) in
            [("sessions", self.sessions.problems()), ("recording", self.recording.problems())]
        {
            wrong.extend(problems.into_iter().map(|message| {
                let key = message.split(' ').next().unwrap_or_default();
                WrongValue { key: format!("{section}.{key}"), message: message.clone() }
            }));
        }
        wrong.extend(
            self.workflow
                .problems()
                .into_iter()
                .map(|(key, message)| WrongValue { key: format!("workflow.{key}"), message }),
        );
        wrong.extend(
            self.quotas
                .problems()
                .into_iter()
                .map(|(key, message)| WrongValue { key: format!("quotas.{key}"), message }),
        );
        wrong.extend(
            self.egress
                .problems()
                .into_iter()
                .map(|(key, message)| WrongValue { key: format!("egress.{key}"), message }),
        );
        wrong
    }
}

impl Settings {
    /// Returns the settings of blocks. What browsers may reach by the section `egress`, blocks may too.
    pub fn blocks(&self) -> workflow::Settings {
        // Texts that are no rules were refused when the settings were read.
        let rules = |list: &[String]| list.iter().filter_map(|rule| rule.parse().ok()).collect();
        workflow::Settings {
            egress_allow: rules(&self.egress.allow),
            egress_deny: rules(&self.egress.deny),
            ..self.workflow.clone()
        }
    }

    /// Returns the place of the programs' directories.
    pub fn placement(&self) -> system::confine::place::Placement {
        self.isolation.placement(&self.data)
    }

    /// Returns the network of sessions. What blocks may send requests to, their browser may as well.
    pub fn network(&self) -> system::egress::Settings {
        let Egress { allow, deny, any_upstream } = &self.egress;
        let everywhere: &[&str] =
            if self.workflow.allow_private_targets { &["0.0.0.0/0", "::/0"] } else { &[] };
        let everywhere = everywhere.iter().map(|network| (*network).to_owned());
        let allow = allow.iter().chain(&self.workflow.allowed_hosts).cloned().chain(everywhere);
        system::egress::Settings {
            mode: self.isolation.network,
            allow: allow.collect(),
            deny: deny.clone(),
            any_upstream: *any_upstream,
        }
    }
}

/// Variables with names of their own, and the keys that they stand for.
pub const SHORT_NAMES: &[(&str, &str)] = &[
    ("GREENROOM_LISTEN", "http.listen"),
    ("GREENROOM_DATA", "data"),
    ("GREENROOM_DATABASE_URL", "database.url"),
    ("GREENROOM_BOOTSTRAP_KEY", "keys.bootstrap"),
    ("GREENROOM_OPERATOR_KEY", "keys.operator"),
];

/// Variables that are not settings: of the command line, the logs, and the desktops' marker.
const NOT_SETTINGS: &[&str] = &[
    CONFIG_VARIABLE,
    LOG_VARIABLE,
    "GREENROOM_LOG_FORMAT",
    "GREENROOM_URL",
    "GREENROOM_API_KEY",
    "GREENROOM_SESSION",
];

/// The variable that names the file, if no flag does.
const CONFIG_VARIABLE: &str = "GREENROOM_CONFIG";

/// The variable that says which log lines are written.
const LOG_VARIABLE: &str = "GREENROOM_LOG";

/// The file that is read if none is named and this one is there.
const USUAL_FILE: &str = "/etc/greenroom/greenroom.toml";

/// The variables of a process.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. A variable that is not UTF-8 is passed over.
    pub fn of_this_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Which log lines are written, as `tracing-subscriber` reads it.
    pub fn log_filter(&self) -> Option<&str> {
        self.get(LOG_VARIABLE)
    }

    /// `greenroom` in the user's data directory, as the XDG base directories have it.
    fn data_directory(&self) -> Option<PathBuf> {
        let absolute = |name| self.get(name).map(Path::new).filter(|path| path.is_absolute());
        let shared = absolute("XDG_DATA_HOME").map(Path::to_owned);
        let shared = shared.or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
        Some(shared.join("greenroom"))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The settings in force. `file` is that of the flag `--config`; `flags` are laid over the rest.
pub fn load(
    environment: &Environment,
    file: Option<&Path>,
    flags: Vec<Flag>,
) -> Result<Loaded<Settings>, ConfigError> {
    let mut layers = Layers::new();
    if let Some(data) = environment.data_directory() {
        layers.base("data", data.to_string_lossy().into_owned());
    }

    let named = file.or_else(|| environment.get(CONFIG_VARIABLE).map(Path::new));
    let usual = Path::new(USUAL_FILE);
    if let Some(path) = named.or_else(|| usual.exists().then_some(usual)) {
        layers.file(path)?;
    }
    layers.environment("GREENROOM_", &environment.0, SHORT_NAMES, NOT_SETTINGS);
    layers.flags(flags);
    let mut loaded: Loaded<Settings> = layers.load()?;
    let data = std::path::absolute(&loaded.settings.data).map_err(|cause| {
        let (origin, data) = (loaded.origin("data"), loaded.settings.data.display());
        ConfigError::one(format!("{origin}: data: `{data}` names no directory: {cause}"))
    })?;
    loaded.settings.data = data;
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_short_names_and_the_users_directory_are_in_force() {
        let environment = environment(&[
            ("HOME", "/home/ann"),
            ("GREENROOM_LISTEN", "127.0.0.1:0"),
            ("GREENROOM_OPERATOR_KEY", "key-of-an-operator"),
            ("GREENROOM_LOG", "debug"),
            ("GREENROOM_API_KEY", "not a setting"),
        ]);
        let loaded = load(&environment, None, Vec::new()).unwrap();
        assert_eq!(loaded.settings.data, Path::new("/home/ann/.local/share/greenroom"));
        assert_eq!(loaded.settings.http.listen.port(), 0);
        assert_eq!(loaded.settings.keys.operator.unwrap().expose(), "key-of-an-operator");
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn a_relative_data_directory_is_made_absolute_and_keeps_its_origin() {
        let here = std::env::current_dir().unwrap();
        let environment = environment(&[("HOME", "/home/ann"), ("GREENROOM_DATA", "kept/here")]);
        let loaded = load(&environment, None, Vec::new()).unwrap();
        assert_eq!(loaded.settings.data, here.join("kept/here"));
        let flags = |data: &str| vec![Flag::new("--data", "data", data)];
        let loaded = load(&environment, None, flags("./d")).unwrap();
        assert_eq!(loaded.settings.data, here.join("d"));
        assert_eq!(loaded.origin("data"), &Origin::Flag { name: "--data" });
        let refusal = load(&environment, None, flags("")).unwrap_err().to_string();
        assert!(refusal.starts_with("--data: data: `` names no directory"), "{refusal}");
    }

    #[test]
    fn what_the_types_allow_and_the_rules_do_not_is_refused_with_its_origin() {
        let environment = environment(&[("GREENROOM_OPERATOR_KEY", "brief")]);
        let flags = vec![Flag::new("--cors", "http.cors_origins", "nonsense")];
        let refusal = load(&environment, None, flags).unwrap_err().to_string();
        assert!(refusal.contains("GREENROOM_OPERATOR_KEY: keys.operator: "), "{refusal}");
        assert!(refusal.contains("--cors: http.cors_origins: `nonsense`"), "{refusal}");
        assert!(!refusal.contains("brief"), "{refusal}");
    }
}
