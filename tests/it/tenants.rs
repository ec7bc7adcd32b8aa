//! Organizations from creation to deletion, and keys of a Skyvern server.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, Lease};
use crate::support::{Setup, TestServer, eventually, on_both_databases};

async fn organization(server: &TestServer, name: &str) -> (String, Client) {
    let operator = server.operator();
    let made = operator.post("/admin/organizations", json!({ "name": name })).await.ok();
    let id = made["organization_id"].as_str().unwrap().to_owned();
    let path = format!("/admin/organizations/{id}/api_keys");
    let key = operator.post(&path, json!({ "label": "first" })).await.ok();
    (id, server.client.with_key(key["key"].as_str()))
}

async fn own_organization(client: &Client) -> String {
    client.session().await["organization_id"].as_str().unwrap().to_owned()
}

/// Resolves when the organization is unknown.
async fn gone(server: &TestServer, path: &str) {
    let operator = server.operator();
    eventually("the organization is deleted", async || {
        (operator.get(path).await.status == 404).then_some(())
    })
    .await;
}

/// Creates a file in each kind of folder of an organization.
fn leave_files(server: &TestServer, organization: &str) -> Vec<PathBuf> {
    let data = server.directory.join("d");
    let paths = [
        format!("artifacts/{organization}/wr_1/a_1_page.png"),
        format!("pictures/{organization}/pbs_1.png"),
    ];
    let paths: Vec<_> = paths.iter().map(|path| data.join(path)).collect();
    for path in &paths {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "a picture").unwrap();
    }
    paths.iter().map(|path| path.parent().unwrap().to_owned()).collect()
}

on_both_databases! {
    async fn a_deleted_organization_leaves_nothing_and_no_other_notices(database) {
        let server = Setup::fakes().on(database).start().await;
        let operator = server.operator();
        let (id, red) = organization(&server, "Red").await;
        let path = format!("/admin/organizations/{id}");
        let ours = server.client.session_id().await;
        let theirs = red.session_id().await;
        let lease = Lease::of(&red.begin(&theirs, "ann", 600).await.ok());
        let wait = json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }]);
        let workflow = red.workflow(wait).await;
        red.run(&workflow, json!({})).await;
        let webhook = json!({ "url": "https://a.example/", "kinds": ["session.created"] });
        red.post("/v1/webhooks", webhook).await.ok();
        let files = leave_files(&server, &id);

        let deleted = operator.send(Method::DELETE, &path, None).await.ok();
        assert!(deleted["deleted_at"].is_string() && deleted["suspended_at"].is_string());
        red.heartbeat(&theirs, &lease).await.problem(403, "organization_suspended");
        gone(&server, &path).await;
        red.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        assert!(files.iter().all(|folder| !folder.exists()), "{files:?}");
        server.nothing_runs_of(&theirs).await;
        assert_eq!(server.client.look(&ours).await["status"], "running");
        let all = operator.get("/admin/organizations").await.ok();
        assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
        operator.send(Method::DELETE, &path, None).await.problem(404, "organization_unknown");
        let again = json!({ "name": "Red", "organization_id": id });
        operator.post("/admin/organizations", again).await.problem(409, "organization_exists");
        operator.post("/admin/organizations", json!({ "name": "Red" })).await.ok();
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_cut_short_is_completed_by_the_next_server() {
    let mut server = Setup::fakes().start().await;
    let operator = server.operator();
    let (id, red) = organization(&server, "Red").await;
    let path = format!("/admin/organizations/{id}");
    red.session_id().await;
    operator.send(Method::DELETE, &path, None).await.ok();
    server.signal(Signal::KILL);
    server.ended().await;
    // Like a film that is stored at the end of a session.
    let files = leave_files(&server, &id);
    server.serve().await;
    let suspended = json!({ "suspended": false });
    let changed = server.operator().send(Method::PATCH, &path, Some(suspended)).await;
    assert!(changed.status == 409 || changed.status == 404, "{}", changed.text());
    gone(&server, &path).await;
    assert!(files.iter().all(|folder| !folder.exists()), "{files:?}");
    // Also files that appear later.
    let files = leave_files(&server, &id);
    eventually("the files are removed", async || {
        files.iter().all(|folder| !folder.exists()).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_organization_of_the_bootstrap_key_is_not_deleted_before_that_key_is_revoked() {
    let server = Setup::fakes().start().await;
    let operator = server.operator();
    let own = own_organization(&server.client).await;
    let path = format!("/admin/organizations/{own}");
    let refused = operator.send(Method::DELETE, &path, None).await;
    refused.problem(409, "organization_has_bootstrap_key");
    assert_eq!(server.client.list().await.len(), 1);
    server.client.send(Method::DELETE, &path, None).await.problem(403, "key_insufficient");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_deletes_only_when_it_is_told_so() {
    let server = Setup::fakes().start().await;
    let (id, red) = organization(&server, "Red").await;
    red.session_id().await;
    let refused = server.greenroom(&["organizations", "delete", &id]).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("1 live sessions"), "{said}");
    assert_eq!(red.list().await.len(), 1);
    let deleted = server.greenroom(&["organizations", "delete", &id, "--yes"]).await;
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    let path = format!("/admin/organizations/{id}");
    server.operator().get(&path).await.problem(404, "organization_unknown");
    server.stop().await;
}

const SECRET: &str = "the secret of a Skyvern server";

fn signed(secret: &str, claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes()).unwrap())
        .unwrap()
}

on_both_databases! {
    async fn a_key_of_skyvern_opens_the_organization_of_its_id_until_it_is_revoked(database) {
        let server = Setup::fakes().on(database).set("keys.skyvern_secret", SECRET).start().await;
        let operator = server.operator();
        let claims = json!({ "sub": "o_481", "exp": chrono::Utc::now().timestamp() + 600 });
        let key = signed(SECRET, &claims);
        let theirs = server.client.with_key(Some(&key));
        theirs.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        let wanted = json!({ "name": "Moved", "organization_id": "o_481" });
        operator.post("/admin/organizations", wanted).await.ok();
        let both = futures_util::future::join_all((0..8).map(|_| theirs.get("/v1/browser_sessions")));
        for answer in both.await {
            answer.ok();
        }
        let forged = signed("PLACEHOLDER", &claims);
        let forged = server.client.with_key(Some(&forged)).get("/v1/browser_sessions").await;
        forged.problem(403, "credentials_invalid");

        let keys = theirs.get("/v1/api_keys").await.ok();
        assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
        assert_eq!((&keys[0]["label"], &keys[0]["role"]), (&json!("Skyvern"), &json!("organization")));
        assert!(keys[0]["expires_at"].is_string() && !keys.to_string().contains(&key), "{keys}");
        let session = theirs.session_id().await;
        server.client.get(&format!("/v1/browser_sessions/{session}")).await
            .problem(404, "session_unknown");

        let id = keys[0]["api_key_id"].as_str().unwrap();
        theirs.send(Method::DELETE, &format!("/v1/api_keys/{id}"), None).await.ok();
        theirs.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_open_with_a_key_is_cut_within_a_second_of_its_revocation() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let made = client.post("/v1/api_keys", json!({ "label": "lost" })).await.ok();
    let lost = client.with_key(made["key"].as_str());
    let id = lost.session_id().await;
    let mut stream = lost.stream("/v1/events", None).await;
    let token = lost.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
    let page = client.with_key(token.as_str());
    page.look(&id).await;
    let waits = {
        let (lost, id) = (lost.clone(), id.clone());
        lost.begin(&id, "ann", 600).await.ok();
        tokio::spawn(async move {
            let body = json!({ "runnable_id": "bob", "ttl_seconds": 60, "wait_seconds": 30 });
            lost.post(&format!("/v1/browser_sessions/{id}/begin"), body).await
        })
    };
    eventually("bob waits", async || {
        (client.look(&id).await["occupancy"]["waiters"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let path = format!("/v1/api_keys/{}", made["api_key_id"].as_str().unwrap());
    client.send(Method::DELETE, &path, None).await.ok();
    let second = Duration::from_secs(1);
    let cut = tokio::time::timeout(second, async { while stream.next().await.is_some() {} }).await;
    cut.expect("the stream of events");
    let waited = tokio::time::timeout(second, waits).await.expect("the wait for an occupancy");
    waited.unwrap().problem(403, "credentials_invalid");
    page.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
    server.stop().await;
}
