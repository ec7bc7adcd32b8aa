//! Invalid requests: each is refused with a stable code that names the fault.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Setup, on_both_databases};

async fn check(client: &Client, path: &str, body: Value, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())).collect();
    let wrong = client.post(path, body.clone()).await.wrong_fields();
    assert_eq!(wrong, expected, "for {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_is_refused_with_the_names_of_all_fields_at_fault() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let path = "/v1/browser_sessions";
    let side = "expected 200 to 7680 pixels, not";
    check(client, path, json!({"width": 0}), &[("body.width", &format!("{side} 0"))]).await;
    check(client, path, json!({"height": 9000}), &[("body.height", &format!("{side} 9000"))]).await;
    check(client, path, json!({"timeout": 4}), &[("body.timeout", "expected at least 5 minutes")])
        .await;
    check(client, path, json!({"timeout": -1}), &[("body.timeout", "expected at least 5 minutes")])
        .await;
    check(
        client,
        path,
        json!({"timeout_seconds": 1, "width": 1, "start_url": "file:///etc/passwd"}),
        &[
            ("body.timeout_seconds", "expected at least 300 seconds"),
            ("body.width", &format!("{side} 1")),
            ("body.start_url", "expected an http or https URL"),
        ],
    )
    .await;
    check(
        client,
        path,
        json!({"widht": 640}),
        &[("body.widht", "Extra inputs are not permitted; did you mean `width`?")],
    )
    .await;
    assert_eq!(client.list().await, Vec::<Value>::new(), "nothing was made");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_json_is_refused_with_its_place() {
    let server = Setup::fakes().start().await;
    let broken = server.client.post("/v1/browser_sessions", json!("{\"width\": ")).await;
    let body = broken.problem(422, "invalid_request");
    let fault = &body["detail"][0];
    assert_eq!((&fault["type"], &fault["loc"]), (&json!("json_invalid"), &json!(["body"])));
    assert_eq!(fault["ctx"], json!({"line": 1, "column": 10}));

    let wrong = server.client.post("/v1/browser_sessions", json!({"width": "wide"})).await;
    assert!(wrong.wrong_fields().contains_key("body.width"));
    let list = server.client.post("/v1/browser_sessions", json!("[1, 2]")).await;
    assert_eq!(list.status, 422, "{}", list.text());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupancy_that_cannot_be_is_refused_with_the_field_at_fault() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    let begin = format!("/v1/browser_sessions/{id}/begin");
    let client = &server.client;
    let visible = "expected 1 to 255 visible ASCII characters";
    check(client, &begin, json!({}), &[("body.runnable_id", "Field required")]).await;
    check(client, &begin, json!({"runnable_id": "a b"}), &[("body.runnable_id", visible)]).await;
    check(client, &begin, json!({"runnable_id": ""}), &[("body.runnable_id", visible)]).await;
    check(
        client,
        &begin,
        json!({"runnable_id": "ann", "ttl_seconds": 0}),
        &[("body.ttl_seconds", "expected 1 to 3600")],
    )
    .await;
    let release = format!("/v1/browser_sessions/{id}/release");
    let wrong = client.post(&release, json!({"generation": 1, "lease_token": "x"})).await;
    let body = wrong.problem(422, "invalid_request");
    assert_eq!(body["detail"][0]["loc"], json!(["body", "lease_token"]));
    assert_eq!(body["detail"][0]["input"], Value::Null, "a secret is not repeated");
    assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_history_are_within_limits() {
    let server = Setup::fakes().start().await;
    let wrong = server.client.get("/v1/browser_sessions/history?page=0&page_size=101").await;
    let wrong: Vec<_> = wrong.wrong_fields().into_keys().collect();
    assert_eq!(wrong, ["query.page", "query.page_size"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused() {
    let server = Setup::fakes().set("http.max_body_bytes", "2048").start().await;
    let body = json!({"browser_type": "x".repeat(3000)});
    server.client.ask_for_session(body).await.problem(413, "body_too_large");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_answer_is_told_those_that_it_does() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let described = client.get("/openapi.json").await.ok();
    for (path, item) in described["paths"].as_object().unwrap() {
        let methods: Vec<String> =
            item.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()).collect();
        let path = path.replace(['{', '}'], "");
        for method in [Method::TRACE, Method::OPTIONS] {
            let answer = client.send(method, &path, None).await;
            let allow = answer.headers["allow"].to_str().unwrap().to_owned();
            let mut allowed: Vec<String> = allow.split(", ").map(str::to_owned).collect();
            let mut expected = methods.clone();
            allowed.sort();
            expected.sort();
            assert_eq!(allowed, expected, "{path}");
            answer.problem(405, "method_not_allowed");
        }
    }
    server.stop().await;
}

on_both_databases! {
    async fn a_text_with_nul_is_refused_with_its_field_whichever_database_there_is(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let nul = "text must not contain the character NUL (U+0000): remove it";
        let block = json!({"block_type": "wait", "label": "w", "wait_sec": 1});
        let definition = json!({"parameters": [], "blocks": [block]});
        let workflow = json!({"title": "a\0b", "workflow_definition": definition});
        check(
            client,
            "/v1/workflows",
            json!({"json_definition": workflow}),
            &[("body.json_definition.title", nul)],
        )
        .await;
        let proxied = json!({"proxy_location": {"x\0": ["a", "b\0"]}});
        check(
            client,
            "/v1/browser_sessions",
            proxied,
            &[("body.proxy_location.x\0", nul), ("body.proxy_location.x\0.1", nul)],
        )
        .await;
        let id = client.session_id().await;
        let begin = format!("/v1/browser_sessions/{id}/begin");
        check(client, &begin, json!({"runnable_id": "a\0b"}), &[("body.runnable_id", nul)]).await;
        let viewers = format!("/v1/browser_sessions/{id}/viewers");
        check(client, &viewers, json!({"label": "\0"}), &[("body.label", nul)]).await;
        let wrong = client.get("/v1/runs?search_key=a%00b").await.wrong_fields();
        assert_eq!(wrong.get("query.search_key").map(String::as_str), Some(nul), "{wrong:?}");
        // Six characters that only look like it, and the character as a YAML escape.
        let looks = json!({"json_definition": {"title": "a\\u0000b", "workflow_definition": definition}});
        client.post("/v1/workflows", looks).await.ok();
        let yaml = "title: \"a\\0b\"\nworkflow_definition: {parameters: [], blocks: []}\n";
        let refused = client.post("/v1/workflows", json!({"yaml_definition": yaml})).await;
        let refused = refused.problem(422, "invalid_request").to_string();
        assert!(refused.contains("the character NUL"), "{refused}");
        server.stop().await;
    }
}
