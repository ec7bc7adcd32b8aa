//! Tests of the layers, with settings of their own.

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    data: String,
    desktop: Desktop,
    database: Database,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Desktop {
    grace_seconds: u64,
    eager: bool,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    backend: Backend,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Backend {
    Real,
    Fake,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Database {
    url: Option<String>,
    connections: Option<u16>,
    pool: Option<Pool>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    size: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { data: "/data".into(), desktop: Desktop::default(), database: Database::default() }
    }
}

impl Default for Desktop {
    fn default() -> Self {
        Self {
            grace_seconds: 5,
            eager: false,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            backend: Backend::Real,
        }
    }
}

impl Checked for Settings {
    fn check(&self) -> Vec<WrongValue> {
        let key = "desktop.grace_seconds".to_owned();
        let message = "expected at least 1".to_owned();
        if self.desktop.grace_seconds == 0 { vec![WrongValue { key, message }] } else { vec![] }
    }
}

const SHORT: &[(&str, &str)] = &[("GR_DATA", "data"), ("GR_DATABASE_URL", "database.url")];

/// Loads the settings from a file's text, variables and flags.
fn load(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[Flag],
) -> Result<Loaded<Settings>, String> {
    let mut layers = Layers::new();
    layers.text(Path::new("g.toml"), file).map_err(|cause| cause.to_string())?;
    let variables =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    layers.environment("GR_", &variables, SHORT, &["GR_LOG"]);
    layers.flags(flags.iter().cloned());
    layers.load().map_err(|cause| cause.to_string())
}

/// Checks that exactly this fault is reported.
#[track_caller]
fn check_refused(file: &str, variables: &[(&str, &str)], expected: &str) {
    assert_eq!(load(file, variables, &[]).unwrap_err(), expected);
}

#[test]
fn each_layer_wins_over_those_below_it_and_every_value_knows_its_own() {
    let file = "data = \"/file\"\n\n[desktop]\ngrace_seconds = 7\neager = true\n";
    let variables = [("GR_DATA", "/variable"), ("GR_DESKTOP__GRACE_SECONDS", "8"), ("GR_LOG", "x")];
    let flags = [Flag::new("--data", "data", "/flag")];
    let loaded = load(file, &variables, &flags).unwrap();
    assert_eq!(loaded.settings.data, "/flag");
    assert_eq!(loaded.settings.desktop.grace_seconds, 8);
    assert!(loaded.settings.desktop.eager);
    assert_eq!(loaded.origin("data").to_string(), "--data");
    assert_eq!(loaded.origin("desktop.grace_seconds").to_string(), "GR_DESKTOP__GRACE_SECONDS");
    assert_eq!(loaded.origin("desktop.eager").to_string(), "g.toml:5");
    assert_eq!(loaded.origin("database.url"), &Origin::Default);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_variable_is_read_as_the_type_of_its_key() {
    let variables = [
        ("GR_DATABASE__URL", "5"),
        ("GR_DATABASE__CONNECTIONS", "5"),
        ("GR_DATABASE__POOL__SIZE", "9"),
        ("GR_DESKTOP__EAGER", "true"),
        ("GR_DESKTOP__ARGUMENTS", "--a, --b"),
        ("GR_DESKTOP__ENVIRONMENT__TZ", "UTC"),
        ("GR_DESKTOP__BACKEND", "fake"),
    ];
    let Settings { desktop, database, .. } = load("", &variables, &[]).unwrap().settings;
    assert_eq!(database.url.as_deref(), Some("5"));
    assert_eq!(database.connections, Some(5));
    assert_eq!(database.pool, Some(Pool { size: 9 }));
    assert!(desktop.eager);
    assert_eq!(desktop.arguments, ["--a", "--b"]);
    assert_eq!(desktop.environment.get("TZ").map(String::as_str), Some("UTC"));
    assert_eq!(desktop.backend, Backend::Fake);
}

#[test]
fn unknown_keys_are_refused_all_at_once_with_their_line_and_what_was_meant() {
    check_refused(
        "[desktop]\ngrace_second = 7\n\n[databse]\nurl = \"x\"\n",
        &[("GR_DESKTOP__EEGER", "true")],
        "g.toml:4: unknown key `databse`; did you mean `database`?\n\
         GR_DESKTOP__EEGER: unknown key `desktop.eeger`; did you mean `GR_DESKTOP__EAGER`?\n\
         g.toml:2: unknown key `desktop.grace_second`; did you mean `desktop.grace_seconds`?",
    );
    check_refused("url = 1", &[], "g.toml:1: unknown key `url`; did you mean `database.url`?");
    check_refused(
        "[database.pool]\nsise = 1\nsize = 2\n",
        &[],
        "g.toml:2: database.pool.sise: unknown key `sise`; did you mean `size`?",
    );
}

#[test]
fn sections_and_values_are_not_taken_for_one_another() {
    check_refused("desktop = 3", &[], "g.toml:1: `desktop` is a section, not a value");
    check_refused("[data]\nx = 3", &[], "g.toml:1: `data` is a single value, not a section");
}

#[test]
fn a_wrong_type_names_its_key_and_where_it_was_set() {
    check_refused(
        "[desktop]\n\ngrace_seconds = \"long\"\n",
        &[],
        "g.toml:3: desktop.grace_seconds: invalid type: string \"long\", expected u64",
    );
    check_refused(
        "",
        &[("GR_DESKTOP__EAGER", "perhaps")],
        "GR_DESKTOP__EAGER: desktop.eager: invalid type: string \"perhaps\", \
         expected true or false",
    );
    check_refused(
        "[desktop]\ngrace_seconds = 0\n",
        &[],
        "g.toml:2: desktop.grace_seconds: expected at least 1",
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let refusal = load("data = \n", &[], &[]).unwrap_err();
    assert!(refusal.starts_with("g.toml: ") && refusal.contains("line 1"), "{refusal}");
}

#[test]
fn a_variable_that_may_be_somebody_elses_is_only_warned_of() {
    let variables = [("GR_DATABASE_URI", "x"), ("GR_PORT", "tcp://10.0.0.1:80"), ("GR_DATA", "")];
    let loaded = load("", &variables, &[]).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "the variable GR_DATABASE_URI is not a setting; did you mean GR_DATABASE_URL?",
            "the variable GR_PORT is not a setting"
        ]
    );
    assert_eq!(loaded.settings, Settings::default());
}
