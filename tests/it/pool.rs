//! Desktops that run before a session asks for one, with fake programs.

use serde_json::{Value, json};

use crate::support::client::Lease;
use crate::support::server::{Setup, TestServer};
use crate::support::{eventually, left};

fn pooled(ready: usize) -> Setup {
    Setup::fakes().set("pool.ready", ready.to_string())
}

/// Waits until this many desktops are ready, and returns the state of the pool.
async fn filled(server: &TestServer, ready: u64) -> Value {
    let operator = server.operator();
    eventually(&format!("{ready} desktops are ready"), async || {
        let pool = operator.get("/admin/pool").await.ok();
        let is_filled = pool["shapes"][0]["ready"] == ready && pool["starting"] == 0;
        is_filled.then_some(pool)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_starts_warm_and_says_so() {
    let server = pooled(1).start().await;
    filled(&server, 1).await;
    let session = server.client.session_of(json!({})).await;
    assert_eq!(session["start"], "warm", "{session:#}");
    assert_eq!(session["status"], "running");
    let id = session["browser_session_id"].as_str().unwrap();
    // It is a session like any other: held, released, shown, recovered, closed.
    let lease = Lease::of(&server.client.begin(id, "ann", 60).await.ok());
    server.client.release(id, &lease).await.ok();
    let killed = server.program(id, "chromium");
    TestServer::kill(killed);
    eventually("it was recovered", async || {
        let recovered = format!("/admin/messages?session={id}&kind=recovered");
        let recovered = server.operator().get(&recovered).await.ok();
        recovered["messages"].as_array().is_some_and(|found| !found.is_empty()).then_some(())
    })
    .await;
    assert_ne!(server.program(id, "chromium"), killed);
    server.client.close(id).await.ok();
    server.nothing_runs_of(id).await;
    let cold = server.client.session_of(json!({"width": 800, "height": 600})).await;
    assert_eq!(cold["start"], "cold");
    let pool = filled(&server, 1).await;
    assert_eq!((&pool["warm"], &pool["cold"]), (&json!(1), &json!({"other_shape": 1})));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn desktops_that_wait_are_no_leaks_and_end_with_the_server() {
    let server = pooled(2).start().await;
    filled(&server, 2).await;
    let operator = server.operator();
    let leaks = operator.get("/admin/leaks").await.ok();
    assert_eq!(leaks["leaks"], json!([]), "{leaks:#}");
    assert_eq!(server.client.list().await, Vec::<Value>::new());
    server.stop().await; // It checks that nothing runs and nothing is left.
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_next_server_has_them() {
    let mut server = pooled(1).start().await;
    filled(&server, 1).await;
    let taken = server.client.session_of(json!({})).await;
    let taken = taken["browser_session_id"].as_str().unwrap().to_owned();
    filled(&server, 1).await;
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    server.serve().await;
    let pool = filled(&server, 1).await;
    assert_eq!((&pool["adopted"], &pool["started"]), (&json!(1), &json!(0)), "{pool:#}");
    let former = server.client.once(&taken, "running").await;
    assert_eq!(former["start"], "warm", "a session that had one keeps it");
    let session = server.client.session_of(json!({})).await;
    assert_eq!(session["start"], "warm");
    assert_ne!(session["browser_session_id"], json!(taken));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_other_settings_starts_its_own() {
    let mut server = pooled(1).start().await;
    filled(&server, 1).await;
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    server.set_variable("GREENROOM_LIMITS__SESSION_TASKS", "4000");
    server.serve().await;
    let pool = filled(&server, 1).await;
    assert_eq!((&pool["adopted"], &pool["started"]), (&json!(0), &json!(1)), "{pool:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hands_over_leaves_them_to_the_next_one() {
    let mut server = pooled(1).argument("--keep-sessions").start().await;
    filled(&server, 1).await;
    server.signal(rustix::process::Signal::TERM);
    assert!(server.ended().await.success());
    server.serve().await;
    let pool = filled(&server, 1).await;
    assert_eq!((&pool["adopted"], &pool["started"]), (&json!(1), &json!(0)), "{pool:#}");
    let session = server.client.session_of(json!({})).await;
    assert_eq!(session["start"], "warm");
    server.client.close(session["browser_session_id"].as_str().unwrap()).await.ok();
    // What waits is the next server's again: here, of none.
    server.set_variable("GREENROOM_POOL__READY", "0");
    server.signal(rustix::process::Signal::TERM);
    server.ended().await;
    server.serve().await;
    eventually("only the server runs", async || {
        let running = left::processes_of(&server.directory);
        running.iter().all(|(pid, _)| *pid == server.pid()).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_none_removes_those_of_the_former_one() {
    let mut server = pooled(1).start().await;
    filled(&server, 1).await;
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    server.set_variable("GREENROOM_POOL__READY", "0");
    server.serve().await;
    eventually("only the server runs", async || {
        let running = left::processes_of(&server.directory);
        running.iter().all(|(pid, _)| *pid == server.pid()).then_some(())
    })
    .await;
    server.stop().await;
}
