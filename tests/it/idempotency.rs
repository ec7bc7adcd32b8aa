//! Repeated requests: with the same `Idempotency-Key` the work is done once.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::client::Answer;
use crate::support::{Client, Setup, eventually, left, on_both_databases};

async fn ask(client: &Client, path: &str, key: &str, body: Value) -> Answer {
    client.send_with(Method::POST, path, Some(body), &[("idempotency-key", key)]).await.unwrap()
}

/// Asserts that a repeated request has the same response, and another request with its key is refused.
async fn once(client: &Client, path: &str, id: &str, body: Value, other: Value) -> Value {
    let first = ask(client, path, "k-1", body.clone()).await;
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let first = first.ok();
    let again = ask(client, path, "k-1", body.clone()).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.ok()[id], first[id]);
    ask(client, path, "k-1", other).await.problem(409, "idempotency_key_reused");
    assert_ne!(ask(client, path, "k-2", body).await.ok()[id], first[id]);
    first
}

on_both_databases! {
    async fn sessions_workflows_and_runs_are_made_once_for_each_key(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let size = |width: u32| json!({"width": width, "height": 480});
        once(client, "/v1/browser_sessions", "browser_session_id", size(640), size(800)).await;
        assert_eq!(client.list().await.len(), 2);

        let blocks = json!([{"block_type": "wait", "label": "a", "wait_sec": 1}]);
        let titled = |title: &str| {
            let definition = json!({"title": title, "workflow_definition": {"blocks": blocks}});
            json!({"json_definition": definition})
        };
        let workflow = once(
            client, "/v1/workflows", "workflow_permanent_id", titled("one"), titled("two")
        ).await;
        // Keys are separate for each kind of request.
        let run = |title: &str| {
            json!({"workflow_id": workflow["workflow_permanent_id"], "title": title})
        };
        once(client, "/v1/run/workflows", "run_id", run("one"), run("two")).await;
        let runs = client.get("/v1/runs").await.ok();
        assert_eq!(runs.as_array().unwrap().len(), 2);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_requests_at_once_under_one_key_one_does_the_work() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let body = json!({"width": 640, "height": 480});
    let answers =
        join_all((0..20).map(|_| ask(client, "/v1/browser_sessions", "k", body.clone()))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|it| it.status == 200);
    assert!(!made.is_empty());
    let made: Vec<_> = made.into_iter().map(|it| it.ok()["browser_session_id"].clone()).collect();
    assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
    for answer in refused {
        assert_eq!(answer.problem(409, "idempotency_in_progress")["retryable"], true);
    }
    assert_eq!(client.list().await.len(), 1);
    server.stop().await;
}

/// A server with browsers that never become ready, so that a request for a session waits.
fn never_ready() -> Setup {
    Setup::fakes().fake("chromium", "never").set("desktop.stop_grace_seconds", "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finds_the_session_of_a_request_whose_server_was_killed() {
    let mut server = never_ready().start().await;
    let client = server.client.clone();
    let path = "/v1/browser_sessions";
    let body = json!({"wait_seconds": 5});
    let first = {
        let (client, body) = (client.clone(), body.clone());
        tokio::spawn(async move {
            let headers = [("idempotency-key", "k")];
            client.send_with(Method::POST, path, Some(body), &headers).await
        })
    };
    let id = eventually("the session is stored", async || {
        client.list().await.first().map(|session| session["browser_session_id"].clone())
    })
    .await;
    // With a display, whose lock and socket outlive the server: the next server must remove them.
    eventually("a display is there", async || {
        (left::display_files(&server.displays).len() == 2).then_some(())
    })
    .await;
    server.signal(Signal::KILL);
    server.ended().await;
    assert!(first.await.unwrap().is_err(), "it was answered");
    server.serve().await;
    let client = &server.client;
    let again = ask(client, path, "k", body.clone()).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.ok()["browser_session_id"], id);
    assert_eq!(ask(client, path, "k", body).await.ok()["browser_session_id"], id);
    assert_eq!(client.list().await.len(), 1);
    client.close(id.as_str().unwrap()).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_client_goes_away_before_it_is_named_is_closed() {
    let server = never_ready().start().await;
    let client = &server.client;
    let path = "/v1/browser_sessions";
    let asked = client.post(path, json!({"wait_seconds": 40}));
    let gone = timeout(Duration::from_secs(2), asked).await;
    assert!(gone.is_err(), "it was answered");
    eventually("no session lives", async || client.list().await.is_empty().then_some(())).await;
    // With a key, its client can retry.
    let asked = ask(client, path, "k", json!({"wait_seconds": 3}));
    let gone = timeout(Duration::from_secs(1), asked).await;
    assert!(gone.is_err(), "it was answered");
    let again = eventually("the first request has ended", async || {
        let again = ask(client, path, "k", json!({"wait_seconds": 3})).await;
        (again.status != 409).then_some(again)
    })
    .await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let id = again.ok()["browser_session_id"].clone();
    assert_eq!(client.list().await[0]["browser_session_id"], id);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_not_kept_and_a_key_that_is_none_is_refused() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let path = "/v1/browser_sessions";
    ask(client, path, "k", json!({"browser_profile_id": "bp_1"}))
        .await
        .problem(404, "browser_profile_unknown");
    ask(client, path, "k", json!({"width": 640, "height": 480})).await.ok();
    let long = "k".repeat(256);
    let id = client.session_id().await;
    let begin = format!("{path}/{id}/begin");
    for key in ["", "a b", long.as_str()] {
        for (path, body) in [(path, json!({})), (&begin, json!({"runnable_id": "ann"}))] {
            let wrong = ask(client, path, key, body).await.wrong_fields();
            assert!(wrong.contains_key("header.idempotency-key"), "{wrong:?}");
        }
    }
    let two = [("idempotency-key", "one"), ("idempotency-key", "two")];
    let wrong = client.send_with(Method::POST, path, Some(json!({})), &two).await.unwrap();
    assert!(wrong.wrong_fields().contains_key("header.idempotency-key"));
    // The same key of another organization is a separate key.
    let other = server.another_organization().await;
    let made = ask(&other, path, "k", json!({"width": 640, "height": 480})).await;
    assert!(!made.headers.contains_key("idempotent-replayed"));
    made.ok();
    server.stop().await;
}
