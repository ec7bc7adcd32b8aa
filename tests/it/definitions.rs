//! Invalid workflows and runs: the error is named, and nothing is stored.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Lease, id_of};
use crate::support::{Client, Setup};

const WRONG: &str = "\
title: Wrong
workflow_definition:
  blocks:
    - block_type: goto_url
      label: open
    - block_type: wait
      label: pause
      wait_sec: 0
    - block_type: click
      label: press
      selector: '#go'
      next_block_label: nowhere
    - block_type: teleport
      label: away
";

async fn faults(client: &Client, body: Value) -> Vec<(String, String, u64)> {
    let body = client.post("/v1/workflows", body).await.problem(422, "invalid_request");
    let faults = body["detail"].as_array().unwrap().iter().map(|fault| {
        let field = fault["loc"].as_array().unwrap().last().unwrap().as_str().unwrap();
        let block = fault["ctx"]["block"].as_str().unwrap_or_default();
        (block.to_owned(), field.to_owned(), fault["ctx"]["line"].as_u64().unwrap_or_default())
    });
    faults.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_definition_is_told_with_its_block_its_field_and_its_line() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let told = faults(client, json!({"yaml_definition": WRONG})).await;
    for (block, field, line) in
        [("open", "url", 4), ("pause", "wait_sec", 8), ("away", "block_type", 13)]
    {
        let expected = (block.to_owned(), field.to_owned(), line);
        assert!(told.contains(&expected), "{expected:?} is not among {told:?}");
    }
    let lines = "title: a\nworkflow_definition: [\n";
    let broken = client.post("/v1/workflows", json!({"yaml_definition": lines})).await;
    let broken = broken.problem(422, "invalid_request");
    assert!(broken["detail"][0]["ctx"]["line"].as_u64().is_some(), "{broken:#}");
    client.post("/v1/workflows", json!({})).await.problem(422, "definition_missing");
    assert_eq!(client.get("/v1/workflows").await.ok(), json!([]), "something was stored");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_is_not_there_is_named() {
    let server = Setup::fakes().start().await;
    let blocks = json!([
        {"block_type": "wait", "label": "a", "wait_sec": 1, "next_block_label": "nowhere"},
    ]);
    let definition = json!({"title": "t", "workflow_definition": {"blocks": blocks}});
    let told = faults(&server.client, json!({"json_definition": definition})).await;
    assert!(
        told.iter().any(|(block, field, _)| block == "a" && field == "next_block_label"),
        "{told:?}"
    );
    server.stop().await;
}

async fn with_a_parameter(client: &Client) -> Value {
    let parameters = json!([
        {"parameter_type": "workflow", "key": "city", "workflow_parameter_type": "string"},
        {"parameter_type": "workflow", "key": "pages", "workflow_parameter_type": "integer"},
    ]);
    let blocks = json!([{"block_type": "wait", "label": "a", "wait_sec": 1}]);
    let definition = json!({"parameters": parameters, "blocks": blocks});
    let body = json!({"json_definition": {"title": "t", "workflow_definition": definition}});
    client.post("/v1/workflows", body).await.ok()["workflow_permanent_id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_that_is_missing_or_does_not_fit_is_named() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let workflow = with_a_parameter(client).await;
    let refused = async |parameters: Value, code: &str| {
        let body = json!({"workflow_id": workflow, "parameters": parameters});
        let problem = client.post("/v1/run/workflows", body).await.problem(400, code);
        (problem["parameters"].clone(), problem["detail"].as_str().unwrap().to_owned())
    };
    let (named, detail) = refused(json!({"pages": 2}), "missing_value_for_parameter").await;
    assert_eq!(named, json!(["city"]));
    assert!(detail.contains("city"), "{detail}");
    let (named, _) = refused(json!({"city": "Bonn", "pages": "two"}), "parameter_invalid").await;
    assert_eq!(named, json!(["pages"]));
    assert_eq!(client.get("/v1/runs").await.ok(), json!([]), "a run was stored");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_closed_or_has_expired_is_gone_and_one_that_never_was_is_not_found() {
    let server = Setup::fakes().set("sessions.min_lifetime_seconds", "1").start().await;
    let client = &server.client;
    let workflow =
        client.workflow(json!([{"block_type": "wait", "label": "a", "wait_sec": 1}])).await;
    let closed = client.session_id().await;
    let lease = Lease::of(&client.begin(&closed, "ann", 60).await.ok());
    client.close(&closed).await.ok();
    let expired = id_of(&client.session_of(json!({"timeout_seconds": 1})).await);
    client.once(&expired, "timeout").await;
    for session in [&closed, &expired] {
        let body = json!({"workflow_id": workflow, "browser_session_id": session});
        client.post("/v1/run/workflows", body).await.problem(410, "session_closed");
        client.begin(session, "bob", 60).await.problem(410, "session_closed");
    }
    client.heartbeat(&closed, &lease).await.problem(410, "session_closed");
    client.release(&closed, &lease).await.problem(410, "session_closed");
    let body = json!({"workflow_id": workflow, "browser_session_id": "pbs_1"});
    client.post("/v1/run/workflows", body).await.problem(404, "session_unknown");
    client
        .post("/v1/run/workflows", json!({"workflow_id": "wpid_1"}))
        .await
        .problem(404, "workflow_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_fails_names_its_block_and_its_expression() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let blocks = json!([
        {"block_type": "http_request", "label": "fetch", "url": "{{ current_date.no_such() }}"},
    ]);
    let run = client.run(&client.workflow(blocks).await, json!({})).await;
    let ended = client.run_once(&run, "failed").await;
    let failure = &ended["failure"];
    assert_eq!(
        (&failure["code"], &failure["stage"]),
        (&json!("template_invalid"), &json!("fetch"))
    );
    let reason = ended["failure_reason"].as_str().unwrap();
    assert!(reason.contains("`{{ current_date.no_such() }}` in `url`"), "{reason}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stored_template_ends_the_server() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let deep = [
        format!("http://127.0.0.1:1/{{{{ {}1 }}}}", "-".repeat(30_000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(3_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(30_000)),
        format!("{{{{ 1{} }}}}", "|string".repeat(30_000)),
    ];
    for url in deep {
        let blocks = json!([{"block_type": "goto_url", "label": "open", "url": url}]);
        let workflow = json!({"title": "t", "workflow_definition": {"blocks": blocks}});
        let refused = client.post("/v1/workflows", json!({"json_definition": workflow})).await;
        let fault = &refused.problem(422, "invalid_request")["detail"][0];
        assert_eq!(fault["type"], "template_invalid");
        assert_eq!(fault["loc"].as_array().unwrap().last().unwrap(), "url");
        assert_eq!(fault["ctx"]["block"], "open");
    }
    // A value that becomes too deep by rendering fails its run.
    let nested = "{% set s = namespace(a=1) %}{% for i in range(9999) %}{% set s.a = [s.a] %}\
                  {% endfor %}{{ s.a }}";
    let blocks = json!([{"block_type": "assert", "label": "deep", "condition": nested}]);
    let run = client.run(&client.workflow(blocks).await, json!({})).await;
    assert_eq!(client.run_once(&run, "failed").await["failure"]["code"], "template_invalid");
    assert_eq!(client.get("/readyz").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_know_only_the_compatible_blocks_can_read_ours_and_send_them_back() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let blocks = json!([{"block_type": "click", "label": "press", "selector": "#go"}]);
    let workflow = client.workflow(blocks).await;
    let generated = [("x-fern-sdk-name", "skyvern")];
    let path = format!("/v1/agents/{workflow}");
    let shown = client.send_with(Method::GET, &path, None, &generated).await.unwrap().ok();
    let block = &shown["workflow_definition"]["blocks"][0];
    assert_eq!(block["block_type"], "code");
    assert_eq!(
        (&block["greenroom_block_type"], &block["selector"]),
        (&json!("click"), &json!("#go"))
    );

    let definition = json!({"title": "t", "workflow_definition": {"blocks": [block]}});
    let body = json!({"json_definition": definition});
    client.send_with(Method::POST, &path, Some(body), &generated).await.unwrap().ok();
    let stored = client.get(&path).await.ok();
    assert_eq!(stored["version"], 2);
    let block = &stored["workflow_definition"]["blocks"][0];
    assert_eq!((&block["block_type"], &block["selector"]), (&json!("click"), &json!("#go")));
    assert_eq!(block.get("code"), None);

    // The compatible API's pages send YAML, and for a block that they show as code only its code.
    let pages = [("x-user-agent", "skyvern-ui")];
    let path = format!("/api/v1/workflows/{workflow}");
    let shown = client.send_with(Method::GET, &path, None, &pages).await.unwrap().ok();
    let block = &shown["workflow_definition"]["blocks"][0];
    assert_eq!((&block["block_type"], block.get("selector")), (&json!("code"), None));
    let code = block["code"].as_str().unwrap().replace("#go", "#stop");
    let sent = json!({"block_type": "code", "label": "press_it", "code": code, "prompt": null});
    let body = json!({"title": "t", "workflow_definition": {"blocks": [sent]}});
    let edits = |version: u8| format!("{path}?expected_version={version}");
    let late = client.send_with(Method::PUT, &edits(1), Some(body.clone()), &pages).await.unwrap();
    late.problem(409, "workflow_version_conflict");
    let saved = client.send_with(Method::PUT, &edits(2), Some(body), &pages).await.unwrap().ok();
    assert_eq!(saved["workflow_definition"]["blocks"][0]["block_type"], "code");
    let stored = client.get(&path).await.ok();
    let block = &stored["workflow_definition"]["blocks"][0];
    assert_eq!((&block["block_type"], &block["selector"]), (&json!("click"), &json!("#stop")));
    assert_eq!((&block["label"], block.get("code")), (&json!("press_it"), None));

    let broken = json!({"block_type": "code", "label": "a", "code": "# greenroom block\nx: 1"});
    let body = json!({"title": "t", "workflow_definition": {"blocks": [broken]}});
    let refused = client.send(Method::PUT, &path, Some(body)).await.problem(422, "invalid_request");
    assert_eq!(refused["detail"][0]["ctx"], json!({"block": "a", "line": 1}), "{refused:#}");

    // The organization lists its own workflows only; there are no shared templates.
    assert_eq!(client.get("/api/v1/workflows?template=true").await.ok(), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_server_does_not_do_is_refused_with_what_to_do_instead() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    for path in ["/v1/run/tasks", "/v1/run/tasks/login", "/v1/sdk/run_action", "/v1/credentials"] {
        let refused = client.post(path, json!({})).await.problem(404, "not_supported");
        assert!(refused["detail"].as_str().unwrap().contains(' '), "{refused:#}");
    }
    let stranger = client.with_key(None);
    for path in ["/v1/credentials", "/v1/folders", "/api/v1/tag-keys"] {
        assert_eq!(client.get(path).await.ok(), json!([]), "{path}");
        stranger.get(path).await.problem(403, "credentials_invalid");
    }
    // Former routes of sessions in the compatible API.
    let id = id_of(&client.post("/api/v1/browser_sessions", json!({})).await.ok());
    assert_eq!(
        client.get(&format!("/api/v1/browser_sessions/{id}")).await.ok()["status"],
        "running"
    );
    let closed = client.post("/api/v1/browser_sessions/close", json!({})).await.ok();
    assert_eq!(closed["closed"], 1);
    assert_eq!(client.get("/api/v1/browser_sessions").await.ok(), json!([]));
    // Every route of the compatible API, by its own list.
    for line in include_str!("../clients/routes.txt").lines() {
        let (method, pattern) = line.split_once(' ').unwrap();
        let path = pattern.replace("{entity_type}", "step").replace(['{', '}'], "");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let body = (method != Method::GET).then(|| json!({}));
        let answer = client.send(method, &path, body).await;
        let code = if answer.status < 400 { Value::Null } else { answer.json()["code"].clone() };
        assert!(code != "route_unknown" && code != "method_not_allowed", "{line}: {code}");
        assert!(![408, 409, 429].contains(&answer.status) && answer.status < 500, "{line}: {code}");
    }
    server.stop().await;
}
