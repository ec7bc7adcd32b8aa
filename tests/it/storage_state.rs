//! Storage states of sessions: refusals and faults.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::channel::Channel;
use crate::support::client::{Answer, Lease, id_of};
use crate::support::{Client, Setup};

fn path(id: &str) -> String {
    format!("/v1/browser_sessions/{id}/storage_state")
}

async fn put(client: &Client, id: &str, query: &str, state: Value) -> Answer {
    client.send(Method::PUT, &format!("{}{query}", path(id)), Some(state)).await
}

fn empty() -> Value {
    json!({ "cookies": [], "origins": [] })
}

/// A state with an origin, which the stand-in of Chromium does not take.
fn of_shop() -> Value {
    json!({ "cookies": [], "origins": [{
        "origin": "https://shop.example",
        "localStorage": [{ "name": "token", "value": "hush\u{0}" }],
    }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_writes_while_a_session_is_held_and_nobody_while_a_person_has_control() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let written = put(client, &id, "", empty()).await.ok();
    assert_eq!(written, json!({ "browser_session_id": id, "cookies": 0, "origins": 0 }));

    let lease = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    assert_eq!(client.get(&path(&id)).await.ok(), empty(), "reading needs no lease");
    put(client, &id, "", empty()).await.problem(409, "session_occupied");
    let query =
        |generation: i64, token: &str| format!("?generation={generation}&lease_token={token}");
    let wrong = query(lease.generation, &format!("lt_{}A", "B".repeat(42)));
    put(client, &id, &wrong, empty()).await.problem(403, "lease_token_wrong");
    let held = query(lease.generation, &lease.token);
    put(client, &id, &held, empty()).await.ok();
    let half = format!("?generation={}", lease.generation);
    let faults = put(client, &id, &half, empty()).await.wrong_fields();
    assert!(faults.contains_key("query.lease_token"), "{faults:?}");
    client.release(&id, &lease).await.ok();
    put(client, &id, &held, empty()).await.problem(409, "occupancy_lost");

    let mut person = Channel::of(client, &id, "ann").await;
    person.take_control().await;
    put(client, &id, "", empty()).await.problem(409, "control_held");
    client.get(&path(&id)).await.ok();
    drop(person);
    client.close(&id).await.ok();
    client.get(&path(&id)).await.problem(410, "session_closed");
    put(client, &id, "", empty()).await.problem(410, "session_closed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_applied_is_refused_by_field_or_by_origin_and_its_values_stay_hidden()
 {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let wrong = json!({
        "cookies": [{ "name": "a", "value": "hush", "domain": "a.example", "path": "x", "expires": -5 }],
        "origins": [{ "origin": "chrome://settings", "localStorage": [] }],
    });
    let refused = put(client, &id, "", wrong.clone()).await;
    assert!(!refused.text().contains("hush"), "{}", refused.text());
    let fields: Vec<String> = refused.wrong_fields().into_keys().collect();
    assert_eq!(fields, ["body.cookies.0.expires", "body.cookies.0.path", "body.origins.0.origin"]);
    let unknown = json!({ "cookies": [{ "name": "a", "value": "hush", "hostOnly": "hush" }] });
    let refused = put(client, &id, "", unknown).await;
    assert!(!refused.text().contains("hush"), "{}", refused.text());
    assert!(refused.wrong_fields().contains_key("body.cookies.0.hostOnly"));
    let faults = client.get(&format!("{}?origins=about:blank", path(&id))).await.wrong_fields();
    assert!(faults.contains_key("query.origins"), "{faults:?}");

    let failed = put(client, &id, "", of_shop()).await.problem(424, "storage_state_incomplete");
    let named = failed["failed"][0].as_str().unwrap();
    assert!(named.starts_with("https://shop.example ("), "{failed:#}");
    let read = client.get(&format!("{}?origins=https://shop.example", path(&id))).await.ok();
    assert!(read["warning"].as_str().unwrap().contains("https://shop.example"), "{read:#}");

    // With a session that is made.
    let asked = |state: Value| json!({ "storage_state": state });
    let refused = client.ask_for_session(asked(wrong)).await;
    assert!(!refused.text().contains("hush"), "{}", refused.text());
    assert!(refused.wrong_fields().contains_key("body.storage_state.origins.0.origin"));
    let mut state = of_shop();
    state["origins"][0]["localStorage"][0]["value"] = json!("hush");
    let failed = client.ask_for_session(asked(state)).await;
    let failed = failed.problem(424, "storage_state_incomplete");
    assert!(!failed.to_string().contains("hush"), "{failed:#}");
    let made = client.session_of(asked(empty())).await;
    client.close(&id_of(&made)).await.ok();
    assert!(!server.log().contains("hush"), "a value is in the log");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_changes_wait_for_a_browser_and_end_when_another_client_begins() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let hold = server.programs(&id).join("profile/hold-cookies");
    std::fs::write(&hold, "").unwrap();
    let reading = tokio::spawn({
        let (client, path) = (client.clone(), path(&id));
        async move { client.get(&path).await }
    });
    // One of them has the turn until the browser answers; then it is the turn of the next one.
    let mut changes = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (client, id) = (client.clone(), id.clone());
        changes.spawn(async move { put(&client, &id, "?replace=true", empty()).await });
    }
    for _ in 0..2 {
        let refused = changes.join_next().await.unwrap().unwrap();
        assert!(refused.headers.contains_key("retry-after"));
        refused.problem(429, "too_many_storage_changes");
    }
    let lease = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    std::fs::remove_file(&hold).unwrap();
    while let Some(ended) = changes.join_next().await {
        ended.unwrap().problem(409, "session_occupied");
    }
    reading.await.unwrap().ok();
    client.release(&id, &lease).await.ok();
    put(client, &id, "", empty()).await.ok();

    let many = vec![json!({}); 260_000];
    let store = json!({ "name": "a", "autoIncrement": true, "records": many, "indexes": [] });
    let database = json!({ "name": "a", "version": 1, "stores": [store] });
    let origin = json!({ "origin": "https://a.example", "indexedDB": [database] });
    let refused = put(client, &id, "", json!({ "cookies": [], "origins": [origin] })).await;
    let faults = refused.wrong_fields();
    let (field, fault) = faults.first_key_value().unwrap();
    assert_eq!(field, "body.origins.0.indexedDB.0.stores.0.records");
    assert!(fault.contains("at most 250000"), "{fault}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_state_was_lost_with_the_server_fails_and_does_not_start_without_it() {
    let setup = Setup::fakes().fake("chromium", "never").set("desktop.stop_grace_seconds", "1");
    let mut server = setup.start().await;
    let asked = json!({ "storage_state": empty(), "wait_seconds": 0 });
    let id = id_of(&server.client.ask_for_session(asked).await.ok());
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    server.serve().await;
    let failed = server.client.once(&id, "failed").await;
    assert_eq!(failed["failure"]["code"], "storage_state_lost", "{failed:#}");
    server.nothing_runs_of(&id).await;
    server.stop().await;
}
