//! Every field of every request and every setting: a table has its effect, which is tested.
//!
//! The fields are those of the OpenAPI document and of the serialized settings, so that a new field without
//! a row fails here. Its row goes into `tests/it/fields/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use greenroom::config::{Environment, Settings, load};
use serde_json::{Map, Value, json};

use crate::support::client::Answer;
use crate::support::{Client, Setup, eventually};

/// The rows of a table, without comments, in columns.
fn rows(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fields").join(file);
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

struct Row {
    value: Value,
    outcome: String,
    detail: String,
}

fn table() -> BTreeMap<String, Row> {
    let rows = rows("requests.txt").into_iter().map(|row| {
        let [field, value, outcome] = &row[..] else { panic!("no row: {row:?}") };
        let (outcome, detail) = outcome.split_once(' ').unwrap_or((outcome, ""));
        let value = serde_json::from_str(value).unwrap_or_else(|_| panic!("no JSON: {value}"));
        let row = Row { value, outcome: outcome.to_owned(), detail: detail.to_owned() };
        (field.clone(), row)
    });
    rows.collect()
}

/// The fields that the OpenAPI document describes: `Schema.field` of bodies, `?name` of queries.
fn described(api: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let operations = api["paths"].as_object().unwrap().values().flat_map(|path| {
        let operations = path.as_object().unwrap().values();
        operations.filter(|operation| operation.is_object())
    });
    for operation in operations {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            fields.insert(format!("?{}", parameter["name"].as_str().unwrap()));
        }
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let named = schema["oneOf"].as_array().and_then(|one| one.first()).unwrap_or(schema);
        let Some(name) = named["$ref"].as_str().and_then(|path| path.rsplit('/').next()) else {
            continue;
        };
        let properties = api["components"]["schemas"][name]["properties"].as_object().unwrap();
        fields.extend(properties.keys().map(|field| format!("{name}.{field}")));
    }
    fields
}

async fn session_with(client: &Client, field: &str, value: &Value) -> Answer {
    client.ask_for_session(json!({ field: value })).await
}

async fn run_with(client: &Client, workflow: &str, field: &str, value: &Value) -> Answer {
    let mut request = json!({ "workflow_id": workflow });
    request[field] = value.clone();
    client.post("/v1/run/workflows", request).await
}

async fn workflow_with(client: &Client, field: &str, value: &Value) -> Answer {
    let mut definition = json!({
        "title": "Fields",
        "workflow_definition": {
            "parameters": [],
            "blocks": [{ "block_type": "wait", "label": "w", "wait_sec": 1 }],
        },
    });
    definition[field] = value.clone();
    client.post("/v1/workflows", json!({ "json_definition": definition })).await
}

/// Ends the session of a response, so that displays are free for the next requests.
async fn release(client: &Client, answer: &Answer) {
    if answer.status != 200 {
        return;
    }
    let begun = answer.json();
    if let Some(run) = begun["run_id"].as_str() {
        client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await;
        eventually("the session of the run has ended", async || {
            client.list().await.is_empty().then_some(())
        })
        .await;
    } else if let Some(session) = begun["browser_session_id"].as_str() {
        client.close(session).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_request_has_an_effect_a_warning_or_a_refusal() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let table = table();
    let mut described = described(&client.get("/openapi.json").await.ok());
    // A definition is one object in the document; its settings are listed in the response.
    let plain = workflow_with(client, "title", &json!("Fields")).await.ok();
    let settings = greenroom::workflow::response::setting_names();
    assert!(settings.iter().all(|name| plain.get(name).is_some()), "{plain:#}");
    described.extend(settings.iter().map(|name| format!("Setting.{name}")));
    let listed: BTreeSet<String> = table.keys().cloned().collect();
    let missing: Vec<_> = described.difference(&listed).collect();
    assert!(missing.is_empty(), "without a row in tests/it/fields/requests.txt: {missing:?}");
    let gone: Vec<_> = listed.difference(&described).collect();
    assert!(gone.is_empty(), "with a row, and no field any more: {gone:?}");

    let workflow =
        client.workflow(json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }])).await;
    for (field, row) in &table {
        let name = field.rsplit(['.', '?']).next().unwrap();
        if row.outcome == "effect" {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&row.detail);
            let source = fs::read_to_string(path).unwrap_or_default();
            let member = if name == "extra_http_headers" { "headers" } else { name };
            assert!(source.contains(member), "{field} is not in {}", row.detail);
            continue;
        }
        let answer = match field.split_once('.').unwrap().0 {
            "SessionRequest" => session_with(client, name, &row.value).await,
            "RunRequest" => run_with(client, &workflow, name, &row.value).await,
            "Setting" => workflow_with(client, name, &row.value).await,
            other => panic!("requests of {other} are not sent here"),
        };
        release(client, &answer).await;
        match row.outcome.as_str() {
            "refused" => {
                assert_eq!(answer.status.to_string(), row.detail, "{field}: {}", answer.text());
            }
            "shown" => assert_eq!(answer.ok()[&row.detail], row.value, "{field}"),
            "warning" => {
                let answer = answer.ok();
                let warning = answer["warning"].as_str().unwrap_or_default();
                let begins = format!("`{name}` has no effect");
                assert!(warning.contains(&begins), "{field}: {:?}", answer["warning"]);
            }
            other => panic!("{field}: there is no outcome {other}"),
        }
    }
    // Fields that were not sent cause no warning.
    assert_eq!(plain.get("warning"), None);
    assert_eq!(client.session().await["warning"], Value::Null);
    let run = client.post("/v1/run/workflows", json!({ "workflow_id": workflow })).await.ok();
    assert_eq!(run["warning"], Value::Null);
    server.stop().await;
}

/// Every key with its default, as `greenroom config` prints them.
fn leaves(section: &str, members: &Map<String, Value>, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in members {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match value.as_object().filter(|inner| !inner.is_empty()) {
            Some(inner) => leaves(&key, inner, keys),
            None => {
                keys.insert(key, value.clone());
            }
        }
    }
}

fn of(settings: &Settings) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    leaves("", serde_json::to_value(settings).unwrap().as_object().unwrap(), &mut keys);
    keys
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_setting_is_taken_from_the_environment_and_read_somewhere() {
    let defaults = of(&Settings::default());
    let table: BTreeMap<String, String> =
        rows("settings.txt").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let listed: BTreeSet<_> = table.keys().cloned().collect();
    let known: BTreeSet<_> = defaults.keys().cloned().collect();
    let missing: Vec<_> = known.difference(&listed).collect();
    assert!(missing.is_empty(), "without a row in tests/it/fields/settings.txt: {missing:?}");
    let gone: Vec<_> = listed.difference(&known).collect();
    assert!(gone.is_empty(), "with a row, and no setting any more: {gone:?}");

    let mut texts = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    for (key, value) in &table {
        let name = key.rsplit('.').next().unwrap();
        let is_read = |text: &String| {
            text.contains(&format!(".{name}")) || text.contains(&format!("{name},"))
        };
        assert!(texts.iter().any(is_read), "{key} is read nowhere");
        // This table accepts any key; one key is tested for all.
        let (variable, value) = match key.as_str() {
            "desktop.chromium_environment" => (format!("{key}.LANG"), "de_DE.UTF-8"),
            "desktop.extensions" => (format!("{key}.blocker"), "/opt/blocker"),
            "desktop.executables" => (format!("{key}.chrome"), "/opt/google/chrome/chrome"),
            "traces.headers" => (format!("{key}.x-key"), "s3cret"),
            _ => (key.clone(), value.as_str()),
        };
        let variable = format!("GREENROOM_{}", variable.replace('.', "__").to_uppercase());
        let environment = match key.as_str() {
            // The names of shapes and their keys are written as in a file.
            "pool.shapes" => {
                let width = "GREENROOM_POOL__SHAPES__small__width".to_owned();
                Environment::from_iter([(width, "800".to_owned())])
            }
            "data" => Environment::from_iter([("GREENROOM_DATA".to_owned(), value.to_owned())]),
            _ => Environment::from_iter([(variable.clone(), value.to_owned())]),
        };
        let loaded = load(&environment, Some(Path::new("/dev/null")), Vec::new());
        let loaded = loaded.unwrap_or_else(|cause| panic!("{variable}={value}: {cause}"));
        let now = of(&loaded.settings);
        let same = defaults[key] == now.get(key).cloned().unwrap_or_default();
        assert!(!same, "{variable}={value} changes nothing: {:?}", defaults[key]);
    }
}
