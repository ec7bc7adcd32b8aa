//! The queue of an occupied session.

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::client::{Answer, Lease};
use crate::support::{Client, Setup, eventually};

/// A begin that waits.
fn waits(client: &Client, id: &str, who: &str) -> JoinHandle<Answer> {
    let (client, path) = (client.clone(), format!("/v1/browser_sessions/{id}/begin"));
    let body = json!({"runnable_id": who, "ttl_seconds": 60, "wait_seconds": 600});
    tokio::spawn(async move { client.post(&path, body).await })
}

/// Waits until these clients are in the queue, in this order.
async fn queue_is(client: &Client, id: &str, expected: &[&str]) {
    let names = |session: &Value| -> Vec<(u64, String)> {
        let waiters = session["occupancy"]["waiters"].as_array().unwrap();
        let shown = |it: &Value| {
            (it["place"].as_u64().unwrap(), it["runnable_id"].as_str().unwrap().to_owned())
        };
        waiters.iter().map(shown).collect()
    };
    let expected: Vec<_> = (1..).zip(expected.iter().map(|name| (*name).to_owned())).collect();
    eventually(&format!("the queue is {expected:?}"), async || {
        (names(&client.look(id).await) == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_first_is_served_first_and_all_see_holder_and_places() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let mut waiting = Vec::new();
    for (at, name) in ["bob", "cyd", "dan"].into_iter().enumerate() {
        waiting.push(waits(client, &id, name));
        queue_is(client, &id, &["bob", "cyd", "dan"][..=at]).await;
    }
    assert_eq!(client.look(&id).await["runnable_id"], "ann");
    for (generation, served) in (2..).zip(waiting) {
        client.release(&id, &lease).await.ok();
        let begun = served.await.unwrap().ok();
        assert_eq!(begun["generation"], generation);
        lease = Lease::of(&begun);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_gives_its_place_up() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let ann = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let bob = waits(client, &id, "bob");
    queue_is(client, &id, &["bob"]).await;
    let cyd = waits(client, &id, "cyd");
    queue_is(client, &id, &["bob", "cyd"]).await;

    bob.abort(); // Its connection is cut, as after a crash.
    queue_is(client, &id, &["cyd"]).await;
    client.release(&id, &ann).await.ok();
    assert_eq!(cyd.await.unwrap().ok()["generation"], 2);
    assert_eq!(client.look(&id).await["runnable_id"], "cyd");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_session_answers_everybody_who_waits() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    client.begin(&id, "ann", 60).await.ok();
    let (bob, cyd) = (waits(client, &id, "bob"), waits(client, &id, "cyd"));
    let workflow =
        client.workflow(json!([{"block_type": "wait", "label": "a", "wait_sec": 1}])).await;
    let run = client.run(&workflow, json!({"browser_session_id": id})).await;
    eventually("three wait", async || {
        let waiters = client.look(&id).await["occupancy"]["waiters"].as_array().unwrap().len();
        (waiters == 3).then_some(())
    })
    .await;

    client.close(&id).await.ok();
    bob.await.unwrap().problem(410, "session_closed");
    cyd.await.unwrap().problem(410, "session_closed");
    let ended = client.run_once(&run, "failed").await;
    assert_eq!(ended["failure"]["code"], "session_ended", "{ended:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_sends_its_waiters_away_at_once() {
    let mut server = Setup::fakes().set("stop.grace_seconds", "20").start().await;
    let client = server.client.clone();
    let id = client.session_id().await;
    let ann = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let bob = waits(&client, &id, "bob");
    queue_is(&client, &id, &["bob"]).await;

    let began = Instant::now();
    server.signal(Signal::TERM);
    bob.await.unwrap().problem(503, "server_stopping");
    assert!(began.elapsed().as_secs() < 5, "it was kept waiting: {:?}", began.elapsed());
    assert_eq!(client.look(&id).await["runnable_id"], "ann", "the holder keeps it");
    client.release(&id, &ann).await.ok();
    server.ended_clean().await;
    server.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_says_for_whom_and_can_be_called_off() {
    let server = Setup::fakes().set("sessions.max_waiters", "2").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let begun = client.begin(&id, "ann", 60).await.ok();
    let workflow =
        client.workflow(json!([{"block_type": "wait", "label": "a", "wait_sec": 1}])).await;
    let run = client.run(&workflow, json!({"browser_session_id": id})).await;
    queue_is(client, &id, &[&run]).await;
    let next = client.run(&workflow, json!({"browser_session_id": id})).await;
    queue_is(client, &id, &[&run, &next]).await;
    let waiting = client.run_once(&next, "queued").await;
    assert_eq!(
        waiting["waiting_for"],
        json!({
            "browser_session_id": id, "runnable_type": "external", "runnable_id": "ann",
            "expires_at": begun["expires_at"], "place": 2,
        })
    );
    // The queue is full.
    waits(client, &id, "cyd").await.unwrap().problem(429, "queue_full");

    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
    queue_is(client, &id, &[&next]).await;
    client.release(&id, &Lease::of(&begun)).await.ok();
    let ended = client.run_once(&next, "completed").await;
    assert_eq!(ended["browser_session_id"], id);
    assert_eq!(client.run_once(&run, "canceled").await["started_at"], json!(null));
    server.stop().await;
}
