//! Reads the environment and the settings; nothing else does.
//!
//! Settings come in layers, each over the previous one: the defaults, a TOML file, variables
//! `GREENROOM_SECTION__KEY` (two underscores between levels) and the flags of the command line.
//! [`layers`] merges them for any type of settings; [`Settings`] is the type of this server, with
//! one field for the section of each floor. A new section needs a field and, if it has a check, a
//! line in [`Checked::check`].

mod isolation;
pub mod layers;
pub mod show;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

pub use isolation::{Egress, Isolation};
pub use layers::{Checked, ConfigError, Flag, Loaded, Origin, WrongValue};

use crate::domain::browser_flags::BrowserChoices;
use crate::domain::retention::Retention;
use crate::domain::secret::Secret;
use crate::service::webhooks;
use crate::{actors, db, http, system, traces, workflow};
use layers::Layers;

/// All settings of the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The directory of all stored data: the embedded database, profiles, artifacts. By default
    /// `greenroom` in the user's data directory. [`load`] makes it absolute, because programs run
    /// in other directories than the server.
    pub data: PathBuf,
    /// API keys that are configured instead of generated.
    pub keys: Keys,
    /// The HTTP server: its address, limits and access.
    pub http: http::Settings,
    /// The connection to the database.
    pub database: db::Settings,
    /// The start, supervision and end of desktops.
    pub desktop: system::Settings,
    /// The resources that a session may use, and those that must be free for another session.
    pub limits: system::limits::Settings,
    /// Recordings and the black box.
    pub recording: system::film::Settings,
    /// The place of artifacts, recordings and profiles.
    pub storage: system::objects::Settings,
    /// The age and size from which stored files of an organization are removed.
    pub retention: Retention,
    /// Limits and defaults of sessions, occupancies and runs.
    pub sessions: actors::Settings,
    /// The desktops that run before a session asks for one.
    pub pool: actors::pool::Settings,
    /// The default limits of each organization.
    pub quotas: actors::quotas::Settings,
    /// The execution of the blocks of workflows.
    pub workflow: workflow::Settings,
    /// The retention of stored events.
    pub events: actors::events::Settings,
    /// The delivery of webhooks to clients' servers.
    pub webhooks: webhooks::Settings,
    /// The files and commands that a session's programs and drivers may use.
    pub isolation: Isolation,
    /// The targets that browsers and blocks may reach.
    pub egress: Egress,
    /// Agents that drive over MCP.
    pub mcp: http::mcp::Settings,
    /// The shutdown of the server.
    pub stop: Stop,
    /// Traces of requests, for a collector.
    pub traces: traces::Settings,
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
            storage: system::objects::Settings::default(),
            retention: Retention::default(),
            sessions: actors::Settings::default(),
            pool: actors::pool::Settings::default(),
            quotas: actors::quotas::Settings::default(),
            workflow: workflow::Settings::default(),
            events: actors::events::Settings::default(),
            webhooks: webhooks::Settings::default(),
            isolation: Isolation::default(),
            egress: Egress::default(),
            mcp: http::mcp::Settings::default(),
            stop: Stop::default(),
            traces: traces::Settings::default(),
        }
    }
}

/// The section `keys`: API keys that are configured instead of generated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The API key of the first organization; if it is not set, one is generated and printed once.
    pub bootstrap: Option<Secret>,
    /// The key that permits `/admin`, in addition to keys whose role is `operator`.
    pub operator: Option<Secret>,
    /// The key that permits `/metrics` alone, for Prometheus. Operator keys permit it too.
    pub metrics: Option<Secret>,
    /// The `SECRET_KEY` of a Skyvern server, whose API keys are then accepted for organizations
    /// that have the same id.
    pub skyvern_secret: Option<Secret>,
    /// True if keys of fewer than 16 characters are accepted, for demonstrations.
    pub allow_short: bool,
    /// The delay of the response to a wrong key, after its address has sent ten within a minute.
    pub wrong_key_delay_milliseconds: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            bootstrap: None,
            operator: None,
            metrics: None,
            skyvern_secret: None,
            allow_short: false,
            wrong_key_delay_milliseconds: 1_000,
        }
    }
}

impl Keys {
    /// Returns the delay of responses to wrong keys.
    pub fn wrong_key_delay(&self) -> Duration {
        Duration::from_millis(self.wrong_key_delay_milliseconds)
    }
}

/// The fewest characters that a configured key may have.
const SHORTEST_KEY: usize = 16;

/// The section `stop`: the shutdown of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// The longest time that occupants and runs may continue after the first signal.
    pub grace_seconds: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { grace_seconds: 30 }
    }
}

/// The wrong values of a section.
fn within<K: Display>(section: &str, problems: Vec<(K, String)>) -> Vec<WrongValue> {
    let wrong =
        |(key, message): (K, String)| WrongValue { key: format!("{section}.{key}"), message };
    problems.into_iter().map(wrong).collect()
}

impl Checked for Settings {
    fn check(&self) -> Vec<WrongValue> {
        let mut wrong: Vec<WrongValue> = Vec::new();
        for (key, secret) in [
            ("bootstrap", &self.keys.bootstrap),
            ("operator", &self.keys.operator),
            ("metrics", &self.keys.metrics),
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
        wrong.extend(within("workflow", self.workflow.problems()));
        wrong.extend(within("quotas", self.quotas.problems()));
        wrong.extend(within("storage", self.storage.problems()));
        wrong.extend(within("retention", self.retention.problems()));
        wrong.extend(within("egress", self.egress.problems()));
        wrong.extend(within("isolation", self.isolation.problems()));
        wrong.extend(within("traces", self.traces.problems()));
        wrong.extend(within("mcp", self.mcp.problems()));
        wrong.extend(within("pool", self.pool.problems(&self.browsers().executables)));
        wrong
    }
}

impl Settings {
    /// Returns the settings of blocks, which may also reach the targets that the section `egress`
    /// allows to browsers.
    pub fn blocks(&self) -> workflow::Settings {
        // Invalid rules were refused when the settings were loaded.
        let rules = |list: &[String]| list.iter().filter_map(|rule| rule.parse().ok()).collect();
        workflow::Settings {
            egress_allow: rules(&self.egress.allow),
            egress_deny: rules(&self.egress.deny),
            ..self.workflow.clone()
        }
    }

    /// Returns the flags, executables, extensions and policies that clients may choose for their browsers.
    pub fn browsers(&self) -> BrowserChoices {
        BrowserChoices {
            executables: self.desktop.executables.keys().cloned().collect(),
            flags: self.isolation.flags_allow.clone(),
            extensions: self.desktop.extensions.keys().cloned().collect(),
            permissions: self.isolation.extension_permissions_allow.clone(),
            policies: self.isolation.policies_allow.clone(),
        }
    }

    /// Returns the location of the programs' directories.
    pub fn placement(&self) -> system::confine::place::Placement {
        self.isolation.placement(&self.data)
    }

    /// Returns the settings for the network of sessions. A browser may also reach the targets that
    /// blocks may send requests to.
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

/// Variables with short names, and the keys that they set.
pub const SHORT_NAMES: &[(&str, &str)] = &[
    ("GREENROOM_LISTEN", "http.listen"),
    ("GREENROOM_DATA", "data"),
    ("GREENROOM_DATABASE_URL", "database.url"),
    ("GREENROOM_BOOTSTRAP_KEY", "keys.bootstrap"),
    ("GREENROOM_OPERATOR_KEY", "keys.operator"),
    ("GREENROOM_METRICS_KEY", "keys.metrics"),
];

/// The variables of OpenTelemetry that are read, which many programs share. The variables of this
/// server override them.
const OPENTELEMETRY: &[(&str, &str)] = &[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.endpoint"),
    ("OTEL_SERVICE_NAME", "traces.service_name"),
];

/// The variable with headers for the collector: `name=value,name=value`, with percent-encoded values.
const OPENTELEMETRY_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Variables that are not settings: of the command line, the logs, and the marker of desktops.
const NOT_SETTINGS: &[&str] = &[
    CONFIG_VARIABLE,
    LOG_VARIABLE,
    "GREENROOM_LOG_FORMAT",
    "GREENROOM_URL",
    "GREENROOM_API_KEY",
    "GREENROOM_SESSION",
];

/// The variable for the settings file, unless a flag names one.
const CONFIG_VARIABLE: &str = "GREENROOM_CONFIG";

/// The variable for the filter of log lines.
const LOG_VARIABLE: &str = "GREENROOM_LOG";

/// The settings file that is read if none is named and this one exists.
const USUAL_FILE: &str = "/etc/greenroom/greenroom.toml";

/// The environment variables of a process.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Returns the variables of this process. A variable that is not UTF-8 is ignored.
    pub fn of_this_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Returns the value of a variable, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the filter of log lines, in the syntax of `tracing-subscriber`.
    pub fn log_filter(&self) -> Option<&str> {
        self.get(LOG_VARIABLE)
    }

    /// Returns true if OpenTelemetry is switched off for all programs of this environment.
    fn has_no_traces(&self) -> bool {
        let is = |name, value: &str| {
            self.get(name).is_some_and(|given| given.eq_ignore_ascii_case(value))
        };
        is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none")
    }

    /// Returns the headers for the collector of traces. What is no header is left out.
    fn collector_headers(&self) -> Vec<(String, String)> {
        let given = self.get(OPENTELEMETRY_HEADERS).unwrap_or_default();
        let pairs = given.split(',').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
        let headers = pairs.map(|(name, value)| (decoded(name), decoded(value)));
        headers.filter(|(name, _)| !name.is_empty()).collect()
    }

    /// Returns `greenroom` in the user's data directory, as defined by the XDG base directories.
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

/// Loads the settings in force. `file` is the flag `--config`; `flags` override all other layers.
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
    // Keys as variables write them, so that a variable of the server takes the place of these.
    let telemetry = if environment.has_no_traces() { &[] } else { OPENTELEMETRY };
    for (name, key) in telemetry {
        if let Some(value) = environment.get(name) {
            if key.ends_with("endpoint") && !value.starts_with("http") {
                layers.warn(format!("{name} is ignored: it is no address of a collector by HTTP"));
                continue;
            }
            let key = key.to_uppercase();
            layers.variable(name, &key.split('.').collect::<Vec<_>>(), value.to_owned());
        }
    }
    for (name, value) in environment.collector_headers() {
        layers.variable(OPENTELEMETRY_HEADERS, &["TRACES", "HEADERS", &name], value);
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
    fn the_variables_of_opentelemetry_hold_unless_a_setting_of_the_server_does() {
        let given = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20key, other=2,nonsense"),
            ("OTEL_SERVICE_NAME", "theirs"),
            ("GREENROOM_TRACES__SERVICE_NAME", "ours"),
        ];
        let loaded = load(&environment(&given), None, Vec::new()).unwrap();
        let traces::Settings { endpoint, headers, service_name, .. } = &loaded.settings.traces;
        assert_eq!(endpoint.as_deref(), Some("http://127.0.0.1:4318"));
        assert_eq!(service_name, "ours");
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (&**name, value.expose())).collect();
        assert_eq!(headers, [("other", "2"), ("x-key", "a key")]);
        let origin = loaded.origin("traces.endpoint").to_string();
        assert!(origin.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{origin}");
        let shown = show::as_toml(&loaded).unwrap();
        assert!(shown.contains("x-key") && !shown.contains("a key"), "{shown}");
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
