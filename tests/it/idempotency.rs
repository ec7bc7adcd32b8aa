//! Requests that may be repeated: the same `Idempotency-Key` does the work once.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::{Client, Setup, on_both_databases};

async fn ask(client: &Client, path: &str, key: &str, body: Value) -> Answer {
    client.send_with(Method::POST, path, Some(body), &[("idempotency-key", key)]).await.unwrap()
}

/// The same request twice gives one answer; another request under its key is refused.
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
        // A key is of its kind of request: the same one elsewhere is another.
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
    for key in ["", "a b", long.as_str()] {
        let wrong = ask(client, path, key, json!({})).await.wrong_fields();
        assert!(wrong.contains_key("header.idempotency-key"), "{wrong:?}");
    }
    // Another organization's key is another key.
    let other = server.another_organization().await;
    let made = ask(&other, path, "k", json!({"width": 640, "height": 480})).await;
    assert!(!made.headers.contains_key("idempotent-replayed"));
    made.ok();
    server.stop().await;
}
