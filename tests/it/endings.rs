//! The ends of runs: in each case the session is free within a second.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::id_of;
use crate::support::{Client, Setup, TestServer, eventually};

const LONG: fn() -> Value = || json!([{"block_type": "wait", "label": "rest", "wait_sec": 600}]);

/// A run in a session, and another that waits behind it.
struct Pair {
    client: Client,
    session: String,
    first: String,
    next: String,
}

impl Pair {
    async fn start(server: &TestServer, blocks: Value) -> Self {
        let client = server.client.clone();
        let session = client.session_id().await;
        let given = json!({"browser_session_id": session});
        let workflow = client.workflow(blocks).await;
        let first = client.run(&workflow, given).await;
        let begun =
            |run: Value| (run["status"] != "created" && run["status"] != "queued").then_some(());
        eventually("it has begun", async || begun(client.run_of(&first).await)).await;
        // A time limit starts with the creation of a run; the second run's must not end with the first.
        let lasts = json!({"browser_session_id": session, "max_elapsed_time_minutes": 5});
        let next = client.run(&client.workflow(LONG()).await, lasts).await;
        Self { client, session, first, next }
    }

    /// Ends the first run, and asserts that the next run drives within a second.
    async fn ends(self, status: &str) -> Value {
        let ended = self.client.run_once(&self.first, status).await;
        let released = Instant::now();
        self.client.run_once(&self.next, "running").await;
        let took = released.elapsed();
        assert!(took.as_millis() < 1000, "the next one began only after {took:?}");
        let session = self.client.look(&self.session).await;
        assert_eq!(
            (&session["status"], &session["runnable_id"]),
            (&json!("running"), &json!(self.next))
        );
        ended
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_failed_and_terminated_runs_release_their_session() {
    let server = Setup::fakes().start().await;
    let short = json!([{"block_type": "wait", "label": "a", "wait_sec": 1}]);
    Pair::start(&server, short).await.ends("completed").await;
    let fails = json!([
        {"block_type": "wait", "label": "a", "wait_sec": 1},
        {"block_type": "http_request", "label": "b", "url": "http://127.0.0.1:9/"},
    ]);
    let failed = Pair::start(&server, fails).await.ends("failed").await;
    assert!(failed["failure_reason"].as_str().unwrap().contains("b"), "{failed:#}");
    let empty = json!([
        {"block_type": "wait", "label": "a", "wait_sec": 1},
        {"block_type": "for_loop", "label": "each", "loop_variable_reference": "nothing",
         "loop_blocks": [{"block_type": "wait", "label": "b", "wait_sec": 1}]},
    ]);
    Pair::start(&server, empty).await.ends("terminated").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_a_run_at_once_and_releases_its_session() {
    let server = Setup::fakes().start().await;
    let pair = Pair::start(&server, LONG()).await;
    let asked = Instant::now();
    let answer = server.client.post(&format!("/v1/runs/{}/cancel", pair.first), json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.client.run_once(&pair.first, "canceled").await;
    // The actors' tests show on a paused clock that it takes less than a second.
    assert!(asked.elapsed().as_secs() < 5, "it took {:?}", asked.elapsed());
    pair.ends("canceled").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_timed_out_and_releases_its_session() {
    let server = Setup::fakes().set("sessions.run_limit_seconds", "3").start().await;
    Pair::start(&server, LONG()).await.ends("timed_out").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_browser_dies_fails_with_that_reason_and_the_next_one_drives() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_id().await;
    let given = json!({"browser_session_id": session});
    let workflow = client.workflow(LONG()).await;
    let first = client.run(&workflow, given.clone()).await;
    client.run_once(&first, "running").await;
    let next = client.run(&workflow, given).await;
    TestServer::kill(server.program(&session, "chromium"));
    let failed = client.run_once(&first, "failed").await;
    assert!(failed["failure"]["code"].is_string(), "{failed:#}");
    client.run_once(&next, "running").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_run_made_for_itself_is_closed_with_it_and_a_given_one_stays() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let workflow =
        client.workflow(json!([{"block_type": "wait", "label": "a", "wait_sec": 1}])).await;
    let run = client.run(&workflow, json!({})).await;
    let ended = client.run_once(&run, "completed").await;
    assert_eq!(ended["owns_browser_session"], true);
    let made = ended["browser_session_id"].as_str().unwrap();
    client.once(made, "completed").await;
    server.nothing_runs_of(made).await;

    let given = client.session_id().await;
    let run = client.run(&workflow, json!({"browser_session_id": given})).await;
    client.run_once(&run, "completed").await;
    let listed: Vec<_> = client.list().await.iter().map(id_of).collect();
    assert_eq!(listed, [given]);
    server.stop().await;
}
