//! The message inspector: the live tail, causes and consequences, exports, the audit trail; and no secret in any of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Lease};
use crate::support::{OPERATOR, Setup, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_live_tail_shows_what_matches_its_filter_as_it_ends() {
    let server = Setup::fakes().start().await;
    let (client, operator) = (&server.client, server.operator());
    let (id, other) = (client.session_id().await, client.session_id().await);
    let path = format!("/admin/messages/stream?actor={id}&kind=begin&outcome=refused");
    let mut refused = operator.stream(&path, None).await;
    let mut slow = operator.stream("/admin/messages/stream?slower_than_ms=3600000", None).await;
    let mut text = operator.stream("/admin/messages/stream?text=named-by-the-test", None).await;
    client.begin(&other, "ann", 60).await.ok();
    client.begin(&id, "ann", 60).await.ok();
    client.begin(&id, "named-by-the-test", 60).await.problem(409, "session_occupied");
    let (number, kind, entry) = refused.next().await.unwrap();
    assert_eq!((kind.as_str(), &entry["kind"]), ("message", &json!("begin")));
    assert_eq!((&entry["outcome"], &entry["receiver"]), (&json!("refused"), &json!(id)));
    assert_eq!(number, entry["id"].as_i64());
    let (_, _, entry) = text.next().await.unwrap();
    assert!(entry["summary"].to_string().contains("named-by-the-test"), "{entry:#}");
    let waits = tokio::time::timeout(std::time::Duration::from_millis(300), slow.next()).await;
    assert!(waits.is_err(), "no message takes an hour");
    let wrong = operator.get("/admin/messages/stream?outcome=good&organization=x").await;
    let wrong: Vec<_> = wrong.wrong_fields().into_keys().collect();
    assert_eq!(wrong, ["query.organization", "query.outcome"]);
    let paged = "/admin/messages/stream?cursor=7&limit=3&format=jsonl&outcome=pending";
    let paged: Vec<_> = operator.get(paged).await.wrong_fields().into_keys().collect();
    assert_eq!(paged, ["query.cursor", "query.format", "query.limit", "query.outcome"]);
    let json = [("accept", "application/json")];
    let answer = operator.send_with(Method::GET, "/admin/messages/stream", None, &json).await;
    answer.unwrap().problem(406, "stream_only");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_shown_with_its_causes_and_its_consequences() {
    let server = Setup::fakes().start().await;
    let (client, operator) = (&server.client, server.operator());
    let id = client.session_id().await;
    client.begin(&id, "ann", 60).await.ok();
    let path = format!("/admin/messages?actor={id}&kind=begin&outcome=done");
    let found = operator.get(&path).await.ok();
    let begins = found["messages"].as_array().unwrap();
    let inner = begins.iter().find(|it| it["receiver"] == json!(id)).unwrap();
    let shown = operator.get(&format!("/admin/messages/{}", inner["id"])).await.ok();
    assert_eq!(shown["message"]["id"], inner["id"]);
    let cause = &shown["causes"][0];
    assert_eq!((&cause["receiver"], &cause["id"]), (&json!("registry"), &inner["cause"]));
    let outer = operator.get(&format!("/admin/messages/{}", cause["id"])).await.ok();
    assert_eq!(outer["causes"], json!([]));
    let consequences = outer["consequences"].as_array().unwrap();
    assert!(consequences.iter().any(|it| it["id"] == inner["id"]), "{outer:#}");
    assert_eq!(outer["truncated"], false);
    operator.get("/admin/messages/999999999").await.problem(404, "message_unknown");
    operator.get("/admin/messages/x").await.problem(404, "message_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kept_message_is_exported_as_a_line() {
    let server = Setup::fakes().start().await;
    let operator = server.operator();
    let id = server.client.session_id().await;
    server.client.begin(&id, "ann", 60).await.ok();
    let text = operator.get(&format!("/admin/messages?format=jsonl&session={id}")).await.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2 && lines.iter().all(|it| it["browser_session_id"] == json!(id)));
    let accept = [("accept", "application/x-ndjson")];
    let answer = operator.send_with(Method::GET, "/admin/messages", None, &accept).await.unwrap();
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert!(answer.text().lines().count() >= lines.len());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_names_the_key_the_client_and_the_request() {
    let server = Setup::fakes().start().await;
    let (client, operator) = (&server.client, server.operator());
    let id = client.session_id().await;
    let path = format!("/v1/browser_sessions/{id}/begin");
    let named = [("x-request-id", "request-of-the-test")];
    let body = json!({"runnable_id": "ann", "ttl_seconds": 60});
    client.send_with(Method::POST, &path, Some(body), &named).await.unwrap().ok();
    let find = async |query: &str| operator.get(&format!("/admin/audit?{query}")).await.ok();
    let found = eventually("the begin is stored", async || {
        let found = find("request=request-of-the-test").await;
        (!found["events"].as_array().unwrap().is_empty()).then_some(found)
    })
    .await;
    let event = &found["events"][0];
    assert_eq!((&event["kind"], &event["outcome"]), (&json!("begin"), &json!("done")));
    assert_eq!(
        (&event["browser_session_id"], &event["client_address"]),
        (&json!(id), &json!("127.0.0.1"))
    );
    let key = event["key_id"].as_str().unwrap();
    assert!(key.starts_with("oat_"), "{event:#}");
    let by_key = eventually("the creation is stored", async || {
        let found = find(&format!("key={key}&kind=create")).await;
        (!found["events"].as_array().unwrap().is_empty()).then_some(found)
    })
    .await;
    assert_eq!(by_key["events"].as_array().unwrap().len(), 1, "{by_key:#}");
    operator.send(Method::POST, "/admin/drain", Some(json!({}))).await.ok();
    eventually("the drain is stored", async || {
        let found = find("key=operator").await;
        found["events"].as_array()?.iter().any(|it| it["kind"] == "drain").then_some(())
    })
    .await;
    let first = find("limit=1").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = find(&format!("limit=1&cursor={cursor}")).await;
    assert_ne!(first["events"][0]["audit_event_id"], second["events"][0]["audit_event_id"]);
    let wrong = operator.get("/admin/audit?limit=0&cursor=%25&session=x").await.wrong_fields();
    assert_eq!(
        wrong.into_keys().collect::<Vec<_>>(),
        ["query.cursor", "query.limit", "query.session"]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_nodes_and_pressure_are_shown_to_operators() {
    let server = Setup::fakes().set("sessions.max_sessions", "1").start().await;
    let operator = server.operator();
    let config = operator.get("/admin/config").await.ok();
    assert_eq!(config["settings"]["sessions"]["max_sessions"], 1);
    let origin = config["origins"]["sessions.max_sessions"].as_str().unwrap();
    assert!(origin.contains("GREENROOM_SESSIONS__MAX_SESSIONS"), "{origin}");
    assert_eq!(config["origins"]["sessions.max_runs"], "default");
    assert!(!config.to_string().contains(OPERATOR), "the operator key is shown");

    let nodes = operator.get("/admin/nodes").await.ok();
    let node = &nodes["nodes"][0];
    assert_eq!((&node["this"], &node["alive"]), (&json!(true), &json!(true)));

    let plain = async || {
        let accept = [("accept", "text/plain")];
        let answer =
            operator.send_with(Method::GET, "/admin/pressure", None, &accept).await.unwrap();
        (answer.status, answer.text())
    };
    assert_eq!(plain().await, (200, "ok\n".to_owned()));
    server.client.session_id().await;
    server.client.ask_for_session(json!({})).await;
    let shown = operator.get("/admin/pressure").await.ok();
    assert_eq!((&shown["accepts"], &shown["capacity"]["sessions"]), (&json!(false), &json!(1)));
    assert!(shown["rejected"].as_u64().unwrap() >= 1, "{shown:#}");
    let (status, line) = plain().await;
    assert_eq!(status, 503);
    assert!(line.contains("sessions.max_sessions"), "{line}");
    server.stop().await;
}

/// The answer of a request that carries a secret, which must have reached the code behind its route.
fn taken(what: &str, answer: Answer) -> Answer {
    let is_lost = matches!(answer.status, 401 | 403 | 404 | 405 | 500);
    assert!(!is_lost, "{what}: {} {}", answer.status, answer.text());
    answer
}

/// Kinds of messages that no request causes in this test: those that the server sends alone, of ids and numbers, and
/// those of a channel or a program that is not open here, whose summaries are the ids of viewers and blocks.
const ELSEWHERE: &[&str] = &[
    "adopt",
    "agent_says",
    "await_agent",
    "cede_control",
    "close_all",
    "continue",
    "drive",
    "evict",
    "follow",
    "follow_copies",
    "join",
    "keep_profile",
    "launch",
    "let_go",
    "let_go_all",
    "look",
    "out_of_memory",
    "pause",
    "recovered",
    "refresh_egress",
    "replace_vnc_password",
    "sanitize_when_left",
    "stop_recording",
    "take_control",
    "wake",
];

/// Every kind of message in the sources, but for those that only tests send.
fn kinds_in_sources() -> BTreeSet<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors")];
    let mut kinds = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with("test") {
                let text = fs::read_to_string(&path).unwrap();
                let named = text.lines().filter_map(|line| {
                    line.trim().strip_prefix("const KIND: &'static str = \"")?.strip_suffix("\";")
                });
                kinds.extend(named.map(str::to_owned));
            }
        }
    }
    kinds
}

/// Sends requests with `secret` wherever a client may have one.
async fn plant(server: &TestServer, secret: &str) -> Vec<String> {
    let client = &server.client;
    let origin = "https://a.example/";
    let login = json!([{ "origin": origin, "username": "ann", "password": secret }]);
    let cookie = json!({ "name": "login", "value": secret, "domain": "a.example", "path": "/" });
    let asked = json!({ "settings": { "http_credentials": login } });
    let id = client.session_of(asked).await["browser_session_id"].as_str().unwrap().to_owned();
    let session = format!("/v1/browser_sessions/{id}");
    let send = async |method: Method, path: &str, body: Value| {
        let answer = client.send(method.clone(), &format!("{session}{path}"), Some(body)).await;
        taken(&format!("{method} {path}"), answer)
    };
    send(Method::PATCH, "", json!({ "settings": { "http_credentials": login } })).await;
    send(Method::PATCH, "", json!({ "name": "planted", "sanitize_on_release": false })).await;
    send(Method::PUT, "/storage_state", json!({ "cookies": [cookie], "origins": [] })).await;
    let upstream = format!("http://ann:{secret}@127.0.0.1:9");
    send(Method::PATCH, "", json!({ "egress": { "upstream": upstream } })).await;
    let target = format!("http://ann:{secret}@127.0.0.1:9/?key={secret}");
    send(Method::POST, "/egress/check", json!({ "url": target })).await;
    send(Method::POST, "/renew", json!({ "timeout_seconds": 600 })).await;
    send(Method::POST, "/recordings", json!({})).await;
    send(Method::POST, "/profile", json!({ "name": "planted", "description": secret })).await;
    taken("a picture", client.get(&format!("{session}/screenshot")).await);
    taken("the address of VNC", client.get(&format!("{session}/vnc")).await);
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    client.heartbeat(&id, &lease).await.ok();
    client.begin(&id, "bob", 60).await.problem(409, "session_occupied");
    let wrong = Lease { token: secret.to_owned(), ..lease.clone() };
    taken("a release with a wrong lease", client.release(&id, &wrong).await);
    let ticket = send(Method::POST, "/viewers", json!({ "role": "control" })).await.ok();
    let number = ticket["viewer_id"].as_str().unwrap().to_owned();
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    taken("the viewers", client.get(&format!("{session}/viewers")).await);
    client.send(Method::DELETE, &format!("{session}/viewers/{number}"), None).await;
    taken("all tickets", client.send(Method::DELETE, &format!("{session}/viewers"), None).await);
    let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }]);
    let workflow = client.workflow(blocks).await;
    let run = json!({
        "parameters": { "password": secret },
        "webhook_url": format!("https://ann:{secret}@a.example/in"),
        "extra_http_headers": { "authorization": secret },
    });
    let run = client.run(&workflow, run).await;
    let own = json!({ "browser_session_id": id, "parameters": { "password": secret } });
    let canceled = client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await;
    taken("a cancel", canceled);
    taken("the release", client.release(&id, &lease).await);
    let driven = client.run(&workflow, own).await;
    client.run_once(&driven, "completed").await;
    send(Method::POST, "/sanitize", json!({})).await;
    send(Method::POST, "/rotate", json!({})).await;
    client.close(&id).await.ok();
    let operator = server.operator();
    operator.send(Method::POST, "/admin/drain", Some(json!({}))).await.ok();
    operator.send(Method::DELETE, "/admin/drain", None).await.ok();
    let pool = json!({ "ready": 0, "width": 800 });
    operator.send(Method::PUT, "/admin/pool/small", Some(pool)).await.ok();
    operator.send(Method::DELETE, "/admin/pool/small", None).await.ok();
    vec![secret.to_owned(), lease.token, ticket, client.key().to_owned(), OPERATOR.to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_in_no_message_no_trail_and_no_metric() {
    let server = Setup::fakes().start().await;
    let operator = server.operator();
    let mut tail = operator.stream("/admin/messages/stream", None).await;
    let secrets = plant(&server, "planted-secret-of-the-test").await;
    let export = operator.get("/admin/messages?format=jsonl").await.text();
    let kinds: BTreeSet<String> = export
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    let all = kinds_in_sources();
    let missed: Vec<&String> = all
        .iter()
        .filter(|kind| !kinds.contains(*kind) && !ELSEWHERE.contains(&kind.as_str()))
        .collect();
    assert!(missed.is_empty(), "no request of this test causes {missed:?}");
    let mut texts = vec![export];
    loop {
        let (_, _, entry) = tail.next().await.unwrap();
        texts.push(entry.to_string());
        if entry["kind"] == "close" && entry["receiver"] != "registry" {
            break;
        }
    }
    for path in ["/admin/actors", "/admin/audit?limit=1000", "/admin/config", "/metrics"] {
        texts.push(operator.get(path).await.text());
    }
    for text in &texts {
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} in {}", text.get(..500).unwrap_or(text));
        }
    }
    assert!(!server.log().contains("planted-secret"), "the log has the secret");
    server.stop().await;
}
