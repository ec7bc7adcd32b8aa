//! Who may call, and whose sessions exist for whom.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::channel::Channel;
use crate::support::client::Client;
use crate::support::{PATIENCE, Setup, on_both_databases};

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/browser_sessions"),
    ("POST", "/v1/browser_sessions"),
    ("GET", "/v1/browser_sessions/history"),
    ("GET", "/v1/browser_sessions/pbs_1"),
    ("POST", "/v1/browser_sessions/pbs_1/close"),
    ("POST", "/v1/browser_sessions/pbs_1/begin"),
    ("POST", "/v1/browser_sessions/pbs_1/heartbeat"),
    ("POST", "/v1/browser_sessions/pbs_1/release"),
    ("GET", "/v1/browser_sessions/pbs_1/screenshot"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json/version"),
    ("GET", "/admin/messages"),
    ("GET", "/admin/actors"),
    ("GET", "/admin/leaks"),
    ("POST", "/admin/leaks/fix"),
    ("GET", "/admin/drain"),
    ("POST", "/admin/drain"),
    ("DELETE", "/admin/drain"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_key_is_refused_everywhere_and_nowhere_said_to_be_close() {
    let server = Setup::fakes().start().await;
    for key in [None, Some("wrong"), Some("key-of-the-test"), Some("")] {
        let client = server.client.with_key(key);
        for (method, path) in ROUTES {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let body = client.send(method, path, None).await.problem(403, "credentials_invalid");
            assert_eq!(body["detail"], "Invalid credentials", "{path} with {key:?}");
        }
    }
    // The two kinds of keys do not open each other's doors.
    server.client.get("/admin/actors").await.problem(403, "credentials_invalid");
    server.operator().get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_query_is_as_good_as_one_in_the_header() {
    let server = Setup::fakes().start().await;
    let path = format!("/v1/browser_sessions?apikey={}", server.client.key());
    assert_eq!(server.stranger().get(&path).await.ok(), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_the_server_lives_and_takes_work_is_told_to_everybody() {
    let server = Setup::fakes().start().await;
    assert_eq!(server.stranger().get("/healthz").await.ok(), json!({"status": "ok"}));
    assert_eq!(server.stranger().get("/readyz").await.ok(), json!({"status": "ready"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_there_is_not_found_whatever_its_id_looks_like() {
    let server = Setup::fakes().start().await;
    for id in ["pbs_1", "pbs_99999999999999999999999", "wr_1", "x", "..%2f"] {
        let path = format!("/v1/browser_sessions/{id}");
        server.client.get(&path).await.problem(404, "session_unknown");
    }
    server.client.get("/v1/nothing").await.problem(404, "route_unknown");
    server.stop().await;
}

on_both_databases! {
    async fn another_organizations_session_does_not_exist(database) {
        let server = Setup::fakes().on(database).start().await;
        let id = server.client.session_id().await;
        let other = server.another_organization().await;

        let path = format!("/v1/browser_sessions/{id}");
        let foreign = other.get(&path).await.problem(404, "session_unknown");
        let unknown = other.get("/v1/browser_sessions/pbs_1").await.problem(404, "session_unknown");
        let shape = |detail: &serde_json::Value, id: &str| {
            detail.as_str().unwrap().replace(id, "ID")
        };
        assert_eq!(shape(&foreign["detail"], &id), shape(&unknown["detail"], "pbs_1"));

        other.begin(&id, "eve", 30).await.problem(404, "session_unknown");
        other.close(&id).await.problem(404, "session_unknown");
        other.get(&format!("{path}/screenshot")).await.problem(404, "session_unknown");
        other.get(&format!("{path}/cdp/json/version")).await.problem(404, "session_unknown");
        assert_eq!(other.list().await, Vec::<serde_json::Value>::new());
        assert_eq!(other.get("/v1/browser_sessions/history").await.ok(), json!([]));
        assert_eq!(server.client.look(&id).await["status"], "running");

        server.client.close(&id).await.ok();
        other.get(&path).await.problem(404, "session_unknown");
        server.stop().await;
    }
}

/// A socket, and the code with which it is closed, whatever it carries before.
async fn open(url: String) -> impl Future<Output = u16> {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::Message;
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let closed = async move {
        loop {
            if let Message::Close(frame) = socket.next().await.expect("no close").unwrap() {
                return frame.expect("no code").code.into();
            }
        }
    };
    async move { tokio::time::timeout(PATIENCE, closed).await.expect("it stays open") }
}

on_both_databases! {
    async fn a_revoked_key_ends_what_was_opened_with_it_and_with_its_tokens(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let id = client.session_id().await;
        let begun = client.begin(&id, "ann", 600).await.ok();
        let token = client.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
        let token = token.as_str().unwrap().to_owned();
        let page = client.with_key(Some(&token));
        let foreign = server.another_organization().await;
        let theirs = foreign.session_id().await;
        let mut untouched = Channel::of(&foreign, &theirs, "other").await;

        let stream = |client: &Client, what: &str| {
            let who = format!("apikey={}&client_id=page", client.key());
            client.socket_url(&format!("/v1/stream/{what}/{id}?{who}"))
        };
        let mut closed = Vec::new();
        for socket in [
            stream(client, "messages/browser_session"),
            stream(&page, "messages/browser_session"),
            stream(client, "vnc/browser_session"),
        ] {
            closed.push(open(socket).await);
        }
        let ended = async {
            let mut events = client.stream("/v1/events", Some(0)).await;
            while events.next().await.is_some() {}
        };
        let waits = async {
            let session = format!("/v1/browser_sessions/{id}?after=1000000");
            let events = "/v1/events?after=latest&wait_seconds=25";
            let accept = [("accept", "application/json")];
            let begin = format!("/v1/browser_sessions/{id}/begin");
            let asked = json!({"runnable_id": "bob", "wait_seconds": 600});
            let (session, events, begin) = tokio::join!(
                client.get(&session),
                client.send_with(reqwest::Method::GET, events, None, &accept),
                client.post(&begin, asked),
            );
            session.problem(403, "credentials_invalid");
            events.unwrap().problem(403, "credentials_invalid");
            begin.problem(403, "credentials_invalid");
        };
        let revoked = async {
            server.revoke_key(client.key()).await;
            tokio::time::Instant::now()
        };
        let closed = futures_util::future::join_all(closed);
        let (ended, waits, revoked, closed) = tokio::join!(ended, waits, revoked, closed);
        let ((), (), since, codes) = (ended, waits, revoked, closed);
        assert!(since.elapsed() < Duration::from_secs(6), "after {:?}", since.elapsed());
        assert_eq!(codes, [1008; 3]);
        client.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        page.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        // Another key is not touched, and neither is the lease, which is a secret of its own.
        untouched.say(json!({"kind": "ping"})).await;
        untouched.hears(|said| said["kind"] == "pong").await;
        assert!(begun["lease_token"].is_string());
        server.stop().await;
    }
}
