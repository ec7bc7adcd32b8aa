//! Compares the OpenAPI document with the server: it refuses what the document excludes and accepts what
//! the document permits.
//!
//! Every rule of a parameter or a field in the document is broken once, so that a new field with a bound is
//! tested without a change here.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::client::{Answer, id_of};
use crate::support::{Setup, TestServer};

/// An address in the document, with its value.
struct Operation {
    method: Method,
    path: String,
    item: Value,
}

/// A server with a resource of each kind, and its document.
struct Described {
    server: TestServer,
    api: Value,
    ids: Vec<(&'static str, String)>,
    last: AtomicU32,
}

impl Described {
    async fn new(setup: Setup) -> Self {
        let server = setup.start().await;
        let client = &server.client;
        let api = client.get("/openapi.json").await.ok();
        let session = client.session_id().await;
        let blocks = json!([{"block_type": "wait", "label": "w", "wait_sec": 1}]);
        let workflow = client.workflow(blocks).await;
        let webhook = json!({"url": "https://a.example/", "kinds": ["gap"]});
        let webhook = client.post("/v1/webhooks", webhook).await.ok();
        let organizations = server.operator().get("/admin/organizations").await.ok();
        let organization = organizations[0]["organization_id"].as_str().unwrap().to_owned();
        let ids = vec![
            ("browser_session_id", session),
            ("workflow_permanent_id", workflow),
            ("webhook_id", webhook["webhook_id"].as_str().unwrap().to_owned()),
            ("run_id", "wr_1".to_owned()),
            ("artifact_id", "a_1".to_owned()),
            ("extension_id", "ext_1".to_owned()),
            ("recording_id", "a_1".to_owned()),
            ("viewer_id", "vw_1".to_owned()),
            ("browser_profile_id", "bp_1".to_owned()),
            ("version", "1".to_owned()),
            ("message_id", "wm_1".to_owned()),
            ("message_number", "1".to_owned()),
            ("debug_session_id", "ds_1".to_owned()),
            ("target_id", "no-page".to_owned()),
            ("folder", "uploads".to_owned()),
            ("name", "a.txt".to_owned()),
            ("api_key_id", "oat_1".to_owned()),
            ("organization_id", organization),
        ];
        Self { server, api, ids, last: AtomicU32::new(0) }
    }

    /// Returns a new number, for names that must be unique.
    fn next(&self) -> u32 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    fn operations(&self) -> Vec<Operation> {
        let paths = self.api["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, item)| {
            let mut path = path.clone();
            for (name, id) in &self.ids {
                path = path.replace(&format!("{{{name}}}"), id);
            }
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, item)| Operation {
                method: method.to_ascii_uppercase().parse().unwrap(),
                path: path.clone(),
                item: item.clone(),
            })
        });
        // This stream has no end. `tests/it/inspector.rs` sends wrong queries to it.
        all.filter(|operation| operation.path != "/admin/messages/stream").collect()
    }

    /// A body's schema, and true if it may be `null`.
    fn body(&self, operation: &Operation) -> Option<(String, Value, bool)> {
        let schema = operation.item.pointer("/requestBody/content/application~1json/schema")?;
        let nullable = schema["oneOf"].as_array().is_some_and(|any| any.len() == 2);
        let named = if nullable { &schema["oneOf"][0] } else { schema };
        let Some(name) = named["$ref"].as_str().and_then(|it| it.rsplit('/').next()) else {
            return Some(("callback".to_owned(), named.clone(), nullable));
        };
        Some((name.to_owned(), self.api["components"]["schemas"][name].clone(), nullable))
    }

    async fn send(&self, operation: &Operation, query: &str, body: Option<Value>) -> Answer {
        let is_operators = operation.path.starts_with("/admin");
        let operator = self.server.operator();
        let client = if is_operators { &operator } else { &self.server.client };
        let pass = if operation.path == "/v1/agent/callbacks" { "pass=x" } else { "" };
        let path = format!("{}?{query}{pass}", operation.path);
        client.send(operation.method.clone(), &path, body).await
    }

    /// A body that satisfies the named schema of the document.
    fn fit(&self, schema: &str) -> Value {
        let id = |name: &str| &self.ids.iter().find(|(known, _)| *known == name).unwrap().1;
        let lease = format!("lt_{}", "A".repeat(43));
        match schema {
            "BeginRequest" => json!({"runnable_id": "ann"}),
            "HeartbeatRequest" | "ReleaseRequest" => json!({"generation": 1, "lease_token": lease}),
            "ViewerRequest" => json!({"role": "watch"}),
            "ExtendRequest" => json!({"additional_minutes": 1}),
            "RunRequest" => {
                json!({"workflow_id": id("workflow_permanent_id"), "block_labels": ["w"]})
            }
            "WebhookRequest" => json!({"url": "https://a.example/"}),
            "CancelRunsRequest" => json!({"run_ids": []}),
            "WorkflowRequest" => json!({"yaml_definition": "title: a"}),
            "StorageState" => json!({"cookies": []}),
            "FileChange" => json!({"name": "b.txt"}),
            "SessionChange" => json!({"timeout_seconds": 600}),
            "OrganizationEgress" => json!({"allow": [], "deny": []}),
            "EgressCheckRequest" => json!({"url": "http://a.example/"}),
            "ApiKeyRequest" => json!({"label": "a"}),
            "PoolRequest" => json!({"ready": 1}),
            "OrganizationRequest" => json!({"name": format!("Red {}", self.next())}),
            "BrowserProfileRequest" => json!({"name": format!("Red {}", self.next())}),
            "RollbackRequest" => json!({"version": 1}),
            "callback" => json!({"status": "running"}),
            _ => json!({}),
        }
    }
}

/// Values that each break one rule of a schema.
fn broken(schema: &Value) -> Vec<Value> {
    let mut values = Vec::new();
    let types = match &schema["type"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let is = |name: &str| types.iter().any(|it| it == name);
    if !types.is_empty() && !is("array") {
        values.push(json!([]));
    }
    if !types.is_empty() && !is("object") {
        values.push(json!({}));
    }
    if is("integer") && !is("string") {
        values.push(json!("many"));
    }
    if let Some(least) = schema["minimum"].as_i64().and_then(|least| least.checked_sub(1)) {
        values.push(json!(least));
    }
    if let Some(most) = schema["maximum"].as_u64().and_then(|most| most.checked_add(1)) {
        values.push(json!(most));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        values.push(json!("x".repeat(usize::try_from(most).unwrap() + 1)));
    }
    if schema["minLength"].as_u64() == Some(1) {
        values.push(json!(""));
    }
    if schema.get("pattern").is_some() {
        values.push(json!("a b"));
    }
    if let Some(known) = schema["enum"].as_array() {
        values.push(if known.contains(&json!(false)) { json!(true) } else { json!("no-such") });
    }
    if schema["items"].get("enum").is_some() {
        values.push(json!(["no-such"]));
    }
    if schema["minItems"].as_u64() == Some(1) {
        values.push(json!([]));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        values.push(json!(vec!["wr_1"; usize::try_from(most).unwrap() + 1]));
    }
    if schema["additionalProperties"] == false && is("object") {
        values.push(json!({"no_such_field": 1}));
    }
    values
}

/// Asserts that a request is refused for this field.
#[track_caller]
fn assert_refused(answer: Answer, place: &str, request: &str) {
    assert_eq!(answer.status, 422, "{request}: {}", answer.text());
    if answer.json()["code"] == "invalid_request" {
        let fields = answer.wrong_fields();
        let named = fields.keys().any(|field| field.starts_with(place));
        assert!(named, "{request}: {place} is not among {fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_an_object_and_null_only_where_the_document_says_so() {
    let described = Described::new(Setup::fakes()).await;
    let mut seen = 0;
    for operation in described.operations() {
        let Some((name, schema, nullable)) = described.body(&operation) else { continue };
        seen += 1;
        let of = format!("{} {}", operation.method, operation.path);
        let first = described.fit(&name).as_object().unwrap().values().next().cloned();
        for wrong in [json!([]), json!([first]), json!([null, 1]), json!(5), json!(true)] {
            let request = format!("{of} with {wrong}");
            let answer = described.send(&operation, "", Some(wrong)).await;
            assert_refused(answer, "body", &request);
        }
        let needs = schema.get("required").is_some() || schema.get("anyOf").is_some();
        assert_eq!(nullable, !needs, "{of}");
        assert_eq!(operation.item["requestBody"]["required"] == json!(true), needs, "{of}");
        if needs {
            let answer = described.send(&operation, "", Some(json!("null"))).await;
            assert_eq!(answer.status, 422, "{of} with null: {}", answer.text());
        }
    }
    assert!(seen > 20, "{seen} bodies");
    let server = described.server;
    // A null body has the effect of an empty object.
    let session = server.client.ask_for_session(json!("null")).await.ok();
    server.client.close(&id_of(&session)).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_a_body_is_kept() {
    let described = Described::new(Setup::fakes()).await;
    let mut seen = 0;
    for operation in described.operations() {
        let Some((name, schema, _)) = described.body(&operation) else { continue };
        let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
        if schema["additionalProperties"] == false {
            properties.insert("no_such_field".to_owned(), json!({"enum": []}));
        }
        for (field, rules) in &properties {
            for wrong in broken(rules) {
                seen += 1;
                let mut body = described.fit(&name);
                body[field] = wrong;
                let request = format!("{} {} with {body}", operation.method, operation.path);
                let answer = described.send(&operation, "", Some(body)).await;
                assert_refused(answer, &format!("body.{field}"), &request);
            }
        }
    }
    assert!(seen > 200, "{seen} rules");
    assert_eq!(described.server.client.list().await.len(), 1, "nothing was made");
    described.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_a_parameter_is_kept() {
    let described = Described::new(Setup::fakes()).await;
    let mut seen = 0;
    for operation in described.operations() {
        let parameters = operation.item["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            let rules = &parameter["schema"];
            let mut wrong: Vec<String> = broken(rules).iter().filter_map(as_text).collect();
            match parameter["in"].as_str() {
                Some("query") => {
                    if rules["type"] == "boolean" {
                        wrong.push("perhaps".to_owned());
                    }
                    for wrong in wrong {
                        seen += 1;
                        let mut query = format!("{name}=");
                        query.extend(url::form_urlencoded::byte_serialize(wrong.as_bytes()));
                        query.push('&');
                        let mut request = String::new();
                        write!(request, "{} {}?{query}", operation.method, operation.path).unwrap();
                        let answer = described.send(&operation, &query, None).await;
                        assert_refused(answer, &format!("query.{name}"), &request);
                    }
                }
                Some("header") => {
                    for wrong in
                        wrong.iter().filter(|it| rules["type"] == "string" && !it.is_empty())
                    {
                        seen += 1;
                        let headers = [(name, wrong.as_str())];
                        let client = &described.server.client;
                        let body = described.body(&operation).map(|(it, ..)| described.fit(&it));
                        let answer = client
                            .send_with(operation.method.clone(), &operation.path, body, &headers)
                            .await
                            .unwrap();
                        // The server looks up the run for the retry first.
                        let is_unknown = answer.status == 404 && operation.path.contains("wr_1");
                        if !is_unknown {
                            let place = format!("header.{}", name.to_ascii_lowercase());
                            assert_refused(answer, &place, &operation.path);
                        }
                    }
                }
                Some("path") => {}
                other => panic!("parameters in {other:?} are not sent here"),
            }
        }
    }
    assert!(seen > 60, "{seen} rules");
    described.server.stop().await;
}

/// The form of a value in a query; none for values that a query cannot express.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => items.first().and_then(as_text),
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_one_of_a_few_and_the_bounds_themselves_are_accepted() {
    let setup = Setup::fakes()
        .set("sessions.max_ticket_seconds", "7200")
        .set("sessions.max_lease_seconds", "1800")
        .set("sessions.min_lifetime_seconds", "90");
    let described = Described::new(setup).await;
    let schemas = &described.api["components"]["schemas"];
    let of = |schema: &str, field: &str| schemas[schema]["properties"][field].clone();
    assert_eq!(of("ViewerRequest", "ttl_seconds")["maximum"], 7200);
    assert_eq!(of("BeginRequest", "ttl_seconds")["maximum"], 1800);
    assert_eq!(of("HeartbeatRequest", "ttl_seconds")["maximum"], 1800);
    assert_eq!(of("SessionRequest", "timeout_seconds")["minimum"], 90);
    assert_eq!(of("SessionRequest", "timeout")["minimum"], 2);
    for operation in described.operations() {
        let Some((name, schema, _)) = described.body(&operation) else { continue };
        // These have effects. Their fields are sent in the test of all fields.
        let begins = ["SessionRequest", "RunRequest", "DrainRequest", "RecordingRequest"];
        if begins.contains(&&*name) {
            continue;
        }
        let none = Map::new();
        for (field, rules) in schema["properties"].as_object().unwrap_or(&none) {
            let bounds = [&rules["minimum"], &rules["maximum"]];
            let any = rules["enum"].as_array().into_iter().flatten();
            let fit = bounds.into_iter().filter(|it| !it.is_null() && field != "wait_seconds");
            for value in fit.chain(any) {
                let mut body = described.fit(&name);
                body[field] = value.clone();
                let request = format!("{} {} with {body}", operation.method, operation.path);
                let answer = described.send(&operation, "", Some(body)).await;
                assert_ne!(answer.status, 422, "{request}: {}", answer.text());
            }
        }
    }
    let (_, session) = &described.ids[0];
    let client = &described.server.client;
    for format in ["png", "jpeg", "jpg"] {
        let picture =
            client.get(&format!("/v1/browser_sessions/{session}/screenshot?format={format}")).await;
        assert_ne!(picture.status, 422, "{format}: {}", picture.text());
    }
    let body = json!({"timeout": 2, "start_url": "about:blank", "url": "http://a.example/"});
    let other = client.session_of(body).await;
    client.close(&id_of(&other)).await.ok();
    for wrong in [
        json!({"timeout": 1, "timeout_seconds": 600}),
        json!({"url": "file:///etc/passwd", "start_url": "about:blank"}),
    ] {
        assert_eq!(client.ask_for_session(wrong.clone()).await.status, 422, "{wrong}");
    }
    described.server.stop().await;
}
