//! How the server ends.

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::support::client::Lease;
use crate::support::{Setup, eventually, on_both_databases};

on_both_databases! {
    async fn a_stop_lets_occupants_finish_and_takes_nothing_new(database) {
        let setup = Setup::fakes().on(database).set("stop.grace_seconds", "25");
        let mut server = setup.start().await;
        let client = server.client.clone();
        let id = client.session_id().await;
        let idle = client.session_id().await;
        let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());

        let began = Instant::now();
        server.signal(Signal::TERM);
        eventually("it drains", async || {
            (client.get("/readyz").await.status == 503).then_some(())
        })
        .await;
        client.get("/readyz").await.problem(503, "not_ready");
        assert_eq!(client.get("/healthz").await.status, 200);
        client.ask_for_session(json!({})).await.problem(503, "server_stopping");
        client.begin(&idle, "bob", 60).await.problem(503, "server_stopping");
        client.heartbeat(&id, &lease).await.ok();
        assert_eq!(client.look(&id).await["runnable_id"], "ann");
        client.release(&id, &lease).await.ok();

        server.ended_clean().await;
        assert!(began.elapsed().as_secs() < 20, "it waited for nobody");

        // What ended with it is stored.
        server.serve().await;
        for id in [&id, &idle] {
            assert_eq!(server.client.look(id).await["status"], "completed");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_occupants() {
    let mut server = Setup::fakes().set("stop.grace_seconds", "600").start().await;
    let id = server.client.session_id().await;
    server.client.begin(&id, "ann", 600).await.ok();
    server.signal(Signal::TERM);
    let client = server.client.clone();
    eventually("it drains", async || (client.get("/readyz").await.status == 503).then_some(()))
        .await;
    server.signal(Signal::INT);
    server.ended_clean().await;
    server.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_a_session_starts_calls_the_start_off() {
    let setup = Setup::fakes().fake("chromium", "never").set("desktop.stop_grace_seconds", "1");
    let mut server = setup.set("desktop.start_deadline_seconds", "60").start().await;
    let client = server.client.clone();
    let made = client.ask_for_session(json!({"wait_seconds": 0})).await.ok();
    assert_eq!(made["status"], "created");
    server.signal(Signal::TERM);
    server.ended_clean().await;
    server.gone().await;
}
