//! Keys that an organization manages itself, and organizations that operators manage.

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, Lease};
use crate::support::viewer::{Viewer, stream_url};
use crate::support::{Setup, TestServer, eventually, on_both_databases};

async fn make(client: &Client, body: Value) -> (String, Client) {
    let made = client.post("/v1/api_keys", body).await.ok();
    let id = made["api_key_id"].as_str().unwrap().to_owned();
    (id, client.with_key(made["key"].as_str()))
}

async fn shown(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/api_keys/{id}")).await.ok()
}

async fn delete(client: &Client, path: &str) -> Value {
    client.send(Method::DELETE, path, None).await.ok()
}

on_both_databases! {
    async fn a_key_is_made_shown_once_used_replaced_and_revoked(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let (id, ci) = make(client, json!({ "label": "ci" })).await;
        let listed = client.get("/v1/api_keys").await.ok();
        let labels: Vec<&str> =
            listed.as_array().unwrap().iter().map(|key| key["label"].as_str().unwrap()).collect();
        assert_eq!(labels, ["ci", "bootstrap"]);
        assert!(!listed.to_string().contains(ci.key()) && listed[0].get("key").is_none());
        assert_eq!((&listed[0]["last_used_at"], &listed[0]["status"]), (&Value::Null, &json!("valid")));
        assert_eq!(listed[1]["is_bootstrap"], true);

        let session = ci.session_id().await;
        let used = shown(client, &id).await;
        assert!(used["last_used_at"].is_string(), "{used}");
        assert_eq!(used["last_used_from"], "127.0.0.1");

        let rotate = format!("/v1/api_keys/{id}/rotate");
        let new = client.post(&rotate, json!({ "overlap_seconds": 60 })).await.ok();
        let renewed = client.with_key(new["key"].as_str());
        assert_eq!((&new["label"], &new["role"]), (&json!("ci"), &json!("organization")));
        assert_eq!(ci.look(&session).await["status"], "running");
        assert_eq!(renewed.look(&session).await["status"], "running");
        assert!(shown(client, &id).await["expires_at"].is_string());

        let revoked = delete(client, &format!("/v1/api_keys/{id}")).await;
        assert_eq!(revoked["status"], "revoked");
        ci.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        client.post(&rotate, json!({})).await.problem(409, "api_key_ended");
        // A key that is replaced without an overlap ends at once.
        let at_once = format!("/v1/api_keys/{}/rotate", new["api_key_id"].as_str().unwrap());
        let last = client.post(&at_once, json!({ "overlap_seconds": 0 })).await.ok();
        renewed.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        assert_eq!(client.with_key(last["key"].as_str()).list().await.len(), 1);

        let (short, brief) = make(client, json!({ "label": "brief", "expires_in_seconds": 1 })).await;
        eventually("the key has expired", async || {
            (brief.get("/v1/browser_sessions").await.status == 403).then_some(())
        })
        .await;
        assert_eq!(shown(client, &short).await["status"], "expired");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_key_that_is_at_fault_says_where() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    for (body, field) in [
        (json!({}), "body.label"),
        (json!({ "label": " " }), "body.label"),
        (json!({ "label": "x".repeat(101) }), "body.label"),
        (json!({ "label": "x", "role": "owner" }), "body.role"),
        (json!({ "label": "x", "role": "watch", "sessions": [] }), "body.sessions"),
        (json!({ "label": "x", "role": "watch", "sessions": ["wr_1"] }), "body.sessions.0"),
        (json!({ "label": "x", "sessions": ["pbs_1"] }), "body.sessions"),
        (json!({ "label": "x", "expires_in_seconds": 0 }), "body.expires_in_seconds"),
        (json!({ "label": "x", "expires_in_seconds": 316_224_001_i64 }), "body.expires_in_seconds"),
    ] {
        let wrong = client.post("/v1/api_keys", body.clone()).await.wrong_fields();
        assert_eq!(wrong.keys().collect::<Vec<_>>(), [field], "{body}");
    }
    client.get("/v1/api_keys/oat_1").await.problem(404, "api_key_unknown");
    // A key cannot create a key with more rights, and a page's token cannot create a key.
    let operator = json!({ "label": "x", "role": "operator" });
    client.post("/v1/api_keys", operator).await.problem(403, "key_insufficient");
    let token = client.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
    let page = client.with_key(token.as_str());
    page.post("/v1/api_keys", json!({ "label": "x" })).await.problem(403, "credentials_invalid");
    assert_eq!(client.get("/v1/api_keys").await.ok().as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_to_drive_or_to_watch_opens_its_sessions_and_nothing_else() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let (own, other) = (client.session_id().await, client.session_id().await);
    let limited = |role: &str| json!({ "label": role, "role": role, "sessions": [own] });
    let (_, driver) = make(client, limited("drive")).await;
    let (_, watcher) = make(client, limited("watch")).await;

    let begun = driver.begin(&own, "ann", 60).await.ok();
    let lease = Lease::of(&begun);
    driver.heartbeat(&own, &lease).await.ok();
    watcher.begin(&own, "eve", 60).await.problem(403, "key_insufficient");
    watcher.release(&own, &lease).await.problem(403, "key_insufficient");
    driver.release(&own, &lease).await.ok();
    for key in [&driver, &watcher] {
        let session = key.look(&own).await;
        assert_eq!((&session["status"], &session["egress"]), (&json!("running"), &Value::Null));
        assert_eq!(key.list().await.len(), 1);
        key.get(&format!("/v1/browser_sessions/{other}")).await.problem(404, "session_unknown");
        key.get("/v1/browser_sessions/pbs_1").await.problem(404, "session_unknown");
        key.close(&own).await.problem(403, "key_insufficient");
        key.ask_for_session(json!({})).await.problem(403, "key_insufficient");
        for path in ["/v1/api_keys", "/v1/events", "/v1/workflows", "/admin/actors"] {
            key.get(path).await.problem(403, "key_insufficient");
        }
    }
    driver.begin(&other, "ann", 60).await.problem(404, "session_unknown");
    // Both receive the picture; neither may take control.
    for key in [&driver, &watcher] {
        let viewer = Viewer::at(&stream_url(client, &own, key.key())).await;
        assert!(viewer.width > 0);
        let listed = client.get(&format!("/v1/browser_sessions/{own}/viewers")).await.ok();
        let roles = listed["connected"].as_array().unwrap().iter();
        assert!(roles.clone().all(|viewer| viewer["role"] == "watch"), "{listed}");
        drop(viewer);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_were_made_with_a_key_end_with_it() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_id().await;
    let (id, guest) = make(client, json!({ "label": "guest" })).await;
    let path = format!("/v1/browser_sessions/{session}/viewers");
    let ticket = async |client: &Client| {
        let made = client.post(&path, json!({ "role": "watch" })).await.ok();
        made["ticket"].as_str().unwrap().to_owned()
    };
    let (theirs, ours) = (ticket(&guest).await, ticket(client).await);
    let look = async |ticket: &str| {
        let path = format!("/v1/browser_sessions/{session}?ticket={ticket}");
        server.stranger().get(&path).await
    };
    look(&theirs).await.ok();
    delete(client, &format!("/v1/api_keys/{id}")).await;
    look(&theirs).await.problem(403, "credentials_invalid");
    look(&ours).await.ok();
    let left = client.get(&path).await.ok();
    assert_eq!(left["tickets"].as_array().unwrap().len(), 1, "{left}");
    server.stop().await;
}

async fn organization(server: &TestServer, name: &str) -> (String, Client) {
    let operator = server.operator();
    let made = operator.post("/admin/organizations", json!({ "name": name })).await.ok();
    let id = made["organization_id"].as_str().unwrap().to_owned();
    let path = format!("/admin/organizations/{id}/api_keys");
    let key = operator.post(&path, json!({ "label": "first" })).await.ok();
    (id, server.client.with_key(key["key"].as_str()))
}

on_both_databases! {
    async fn an_organization_is_made_named_suspended_and_let_in_again(database) {
        let server = Setup::fakes().on(database).start().await;
        let operator = server.operator();
        let (id, red) = organization(&server, "Team red").await;
        let path = format!("/admin/organizations/{id}");
        let taken = operator.post("/admin/organizations", json!({ "name": "team RED " })).await;
        taken.problem(409, "organization_exists");
        let renamed = operator.send(Method::PATCH, &path, Some(json!({ "name": "Red" }))).await.ok();
        assert_eq!(renamed["name"], "Red");
        let all = operator.get("/admin/organizations").await.ok();
        let names: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["default", "Red"]);

        let (theirs, ours) = (red.session_id().await, server.client.session_id().await);
        let run = red.workflow(json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }])).await;
        let run = red.post("/v1/run/workflows", json!({ "workflow_id": run })).await.ok();
        let run = run["run_id"].as_str().unwrap();
        let suspend = |suspended: bool| Some(json!({ "suspended": suspended }));
        let suspended = operator.send(Method::PATCH, &path, suspend(true)).await.ok();
        assert!(suspended["suspended_at"].is_string(), "{suspended}");
        red.get("/v1/browser_sessions").await.problem(403, "organization_suspended");
        eventually("what runs for it has ended", async || {
            (operator.get(&path).await.ok()["live_sessions"] == 0).then_some(())
        })
        .await;
        assert_eq!(server.client.look(&ours).await["status"], "running");

        operator.send(Method::PATCH, &path, suspend(false)).await.ok();
        assert_eq!(red.look(&theirs).await["status"], "completed");
        assert_eq!(red.get(&format!("/v1/runs/{run}")).await.ok()["status"], "canceled");
        red.session_id().await;
        operator.get("/admin/organizations/o_1").await.problem(404, "organization_unknown");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_key_can_be_made_and_revoked_like_any_other() {
    let server = Setup::fakes().start().await;
    let operator = server.operator();
    let all = operator.get("/admin/organizations").await.ok();
    let id = all[0]["organization_id"].as_str().unwrap();
    let keys = format!("/admin/organizations/{id}/api_keys");
    let made = operator.post(&keys, json!({ "label": "ann", "role": "operator" })).await.ok();
    let ann = server.client.with_key(made["key"].as_str());
    ann.get("/admin/actors").await.ok();
    assert_eq!(ann.list().await, Vec::<Value>::new());
    // Keys of organizations cannot change it.
    let key = made["api_key_id"].as_str().unwrap();
    let own = format!("/v1/api_keys/{key}");
    server.client.send(Method::DELETE, &own, None).await.problem(403, "key_insufficient");
    server.client.post(&format!("{own}/rotate"), json!({})).await.problem(403, "key_insufficient");
    delete(&operator, &format!("{keys}/{key}")).await;
    ann.get("/admin/actors").await.problem(403, "credentials_invalid");
    server.stop().await;
}

on_both_databases! {
    async fn a_changed_bootstrap_key_ends_the_former_one(database) {
        let mut server = Setup::fakes().on(database).start().await;
        let former = server.client.clone();
        let (_, kept) = make(&former, json!({ "label": "kept" })).await;
        server.signal(Signal::KILL);
        server.ended().await;
        server.set_variable("GREENROOM_BOOTSTRAP_KEY", "another-key-of-the-tests");
        server.serve().await;
        let client = server.client.with_key(Some("another-key-of-the-tests"));
        let at = |client: &Client| server.client.with_key(Some(client.key()));
        at(&former).get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        at(&kept).get("/v1/browser_sessions").await.ok();
        let keys = client.get("/v1/api_keys").await.ok();
        let states = keys.as_array().unwrap().iter();
        let states: Vec<_> = states.map(|key| (&key["label"], &key["status"])).collect();
        assert_eq!(json!(states), json!([
            ["bootstrap", "valid"], ["kept", "valid"], ["bootstrap", "revoked"],
        ]));
        server.stop().await;
    }
}
