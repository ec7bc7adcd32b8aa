//! Attempts to use credentials after their end.

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Client, Lease};
use crate::support::{Setup, TestServer, eventually};

async fn key(client: &Client, body: Value) -> (String, Client) {
    let made = client.post("/v1/api_keys", body).await.ok();
    let id = made["api_key_id"].as_str().unwrap().to_owned();
    (id, client.with_key(made["key"].as_str()))
}

async fn revoke(client: &Client, id: &str) {
    client.send(Method::DELETE, &format!("/v1/api_keys/{id}"), None).await.ok();
}

/// A request without its last byte.
async fn begun(server: &TestServer, client: &Client, path: &str, body: &str) -> TcpStream {
    let host = server.client.base.trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&host).await.unwrap();
    let (most, _last) = body.split_at(body.len() - 1);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{most}",
        client.key(),
        body.len(),
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Sends the last byte, and returns the status of the response.
async fn finished(mut socket: TcpStream) -> String {
    socket.write_all(b"}").await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_after_its_key_was_revoked_has_no_effect() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_id().await;
    let (id, lost) = key(client, json!({ "label": "lost" })).await;
    let viewers = format!("/v1/browser_sessions/{session}/viewers");
    let mut open = Vec::new();
    for (path, body) in [
        ("/v1/api_keys", r#"{"label":"again"}"#),
        (viewers.as_str(), r#"{"role":"control"}"#),
        ("/v1/browser_sessions", r#"{"timeout":5}"#),
        ("/v1/run/workflows", r#"{"workflow_id":"wpid_1"}"#),
    ] {
        open.push((path, begun(&server, &lost, path, body).await));
    }
    // At this time the server has looked up their keys.
    lost.get("/v1/browser_sessions").await.ok();
    revoke(client, &id).await;
    for (path, socket) in open {
        assert_eq!(finished(socket).await, "403", "{path}");
    }
    assert_eq!(client.get("/v1/api_keys").await.ok().as_array().unwrap().len(), 2);
    assert_eq!(client.list().await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_with_its_key_also_after_a_restart() {
    let mut server = Setup::fakes().start().await;
    let client = server.client.clone();
    let mut taken = Vec::new();
    for label in ["before", "after"] {
        let (id, holder) = key(&client, json!({ "label": label })).await;
        let session = holder.session_id().await;
        let begun = holder.begin(&session, "ann", 600).await.ok();
        let address = begun["browser_address"].as_str().unwrap();
        let path = address.splitn(4, '/').nth(3).unwrap().replace("/cdp?", "/cdp/json/version?");
        taken.push((id, session, format!("/{path}")));
    }
    let looks = async |server: &TestServer, path: &str| server.stranger().get(path).await.status;
    assert_eq!(looks(&server, &taken[0].2).await, 200);
    revoke(&client, &taken[0].0).await;
    assert_eq!(looks(&server, &taken[0].2).await, 403);
    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    let client = server.client.clone();
    for (_, session, _) in &taken {
        client.once(session, "running").await;
    }
    assert_eq!(looks(&server, &taken[0].2).await, 403, "its key was revoked before");
    assert_eq!(looks(&server, &taken[1].2).await, 200);
    revoke(&client, &taken[1].0).await;
    eventually("the lease has ended with its key", async || {
        (looks(&server, &taken[1].2).await == 403).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pages_token_of_an_operator_looks_and_changes_nothing() {
    let server = Setup::fakes().start().await;
    let operator = server.operator();
    let organization = server.client.session().await["organization_id"].clone();
    let keys = format!("/admin/organizations/{}/api_keys", organization.as_str().unwrap());
    let ann = json!({ "label": "ann", "role": "operator" });
    let made = operator.post(&keys, ann.clone()).await.ok();
    let ann_client = server.client.with_key(made["key"].as_str());
    let token = ann_client.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
    let page = server.client.with_key(token.as_str());
    page.get("/admin/organizations").await.ok();
    page.post(&keys, ann).await.problem(403, "credentials_invalid");
    let name = json!({ "name": "Red" });
    page.post("/admin/organizations", name.clone()).await.problem(403, "credentials_invalid");
    ann_client.post("/admin/organizations", name).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_begin_does_not_bring_a_rotated_lease_back() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_id().await;
    let begin = async || {
        let path = format!("/v1/browser_sessions/{session}/begin");
        let body = json!({ "runnable_id": "ann", "ttl_seconds": 600 });
        let headers = [("idempotency-key", "job-1")];
        client.send_with(Method::POST, &path, Some(body), &headers).await.unwrap().ok()
    };
    let first = begin().await;
    assert_eq!(begin().await["lease_token"], first["lease_token"], "the same request again");
    let path = format!("/v1/browser_sessions/{session}/rotate");
    let rotated = client.post(&path, json!({})).await.ok();
    client.release(&session, &Lease::of(&rotated["lease"])).await.ok();
    assert_ne!(begin().await["lease_token"], first["lease_token"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_key_of_a_deleted_organization_opens_no_other_one() {
    let mut server = Setup::fakes().start().await;
    let operator = server.operator();
    operator.post("/admin/organizations", json!({ "name": "Red" })).await.ok();
    let keys = server.client.get("/v1/api_keys").await.ok();
    let own = server.client.session().await["organization_id"].clone();
    let path = format!("/admin/organizations/{}", own.as_str().unwrap());
    revoke(&server.client, keys[0]["api_key_id"].as_str().unwrap()).await;
    operator.send(Method::DELETE, &path, None).await.ok();
    eventually("the organization is deleted", async || {
        (operator.get(&path).await.status == 404).then_some(())
    })
    .await;
    server.signal(Signal::TERM);
    server.ended().await;
    let refused = server.greenroom(&["serve"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("keys.bootstrap"), "{said}");
    server.gone().await;
}

/// A request for a file of which nothing but the head of the answer is read.
async fn reading(client: &Client, path: &str) -> (u16, TcpStream) {
    let host = client.base.trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&host).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nx-api-key: {}\r\n\r\n",
        client.key()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    (String::from_utf8_lossy(&answer[9..]).parse().unwrap(), socket)
}

/// The size of files that are larger than the buffers of sockets.
const LARGE: usize = 64 << 20;

/// Puts a large file into a session's downloads.
fn put_large(server: &TestServer, session: &str) {
    let path = server.programs(session).join("downloads/large.bin");
    std::fs::File::create(path).unwrap().set_len(LARGE.try_into().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_being_read_break_off_with_their_key_and_their_session() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_id().await;
    put_large(&server, &session);
    let files = format!("/v1/browser_sessions/{session}/files");
    let artifact = eventually("the download is stored", async || {
        let listed = client.get(&files).await.ok();
        listed[0]["artifact_id"].as_str().map(str::to_owned)
    })
    .await;
    let (id, lost) = key(client, json!({ "label": "lost" })).await;
    let paths = [
        format!("{files}.zip"),
        format!("{files}/downloads/large.bin"),
        format!("/v1/artifacts/{artifact}/content"),
    ];
    let mut open = Vec::new();
    for path in &paths {
        let (status, socket) = reading(&lost, path).await;
        assert_eq!(status, 200, "{path}");
        open.push((path, socket));
    }
    revoke(client, &id).await;
    for path in &paths[..2] {
        let (status, socket) = reading(client, path).await;
        assert_eq!(status, 200, "{path}");
        open.push((path, socket));
    }
    client.close(&session).await.ok();
    for (path, mut socket) in open {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await; // A reset is an end as well.
        assert!(rest.len() < LARGE, "{path}: {} bytes", rest.len());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_an_organization_does_not_read_leave_room_for_those_of_others() {
    let server = Setup::fakes().start().await;
    let slow = &server.client;
    let session = slow.session_id().await;
    put_large(&server, &session);
    let path = format!("/v1/browser_sessions/{session}/files.zip");
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(reading(slow, &path).await);
    }
    let statuses: Vec<u16> = stalled.iter().map(|(status, _socket)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let other = server.another_organization().await;
    let session = other.session_id().await;
    let archive = other.get(&format!("/v1/browser_sessions/{session}/files.zip")).await;
    assert_eq!(archive.status, 200, "{}", archive.text());
    drop(stalled);
    eventually("an archive ends with its reader", async || {
        (reading(slow, &path).await.0 == 200).then_some(())
    })
    .await;
    server.stop().await;
}
