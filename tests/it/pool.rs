//! Desktops that run before a session asks for one, with fake programs.

use reqwest::Method;
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

/// The pools with these names, each with its origin, numbers and desktops.
fn shown(pool: &Value) -> Vec<String> {
    let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    let shapes = pool["shapes"].as_array().unwrap().iter();
    let line = |it: &Value| {
        let (name, source) = (text(it, "name"), text(it, "source"));
        format!(
            "{name} {source} {}-{} {}x{}",
            it["minimum"], it["maximum"], it["width"], it["height"]
        )
    };
    shapes.map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_pools_that_outlive_the_server() {
    let mut server = pooled(1).set("pool.maximum", "2").start().await;
    let operator = server.operator();
    let put = async |name: &str, body: Value| {
        operator.send(Method::PUT, &format!("/admin/pool/{name}"), Some(body)).await
    };
    let small = json!({ "ready": 1, "maximum": 3, "width": 800, "height": 600 });
    let made = put("small", small.clone()).await.ok();
    let both = ["default settings 1-2 1920x1080", "small api 1-3 800x600"];
    assert_eq!(shown(&made), both);
    let ready = async |server: &TestServer| {
        let operator = server.operator();
        eventually("both pools are filled", async || {
            let pool = operator.get("/admin/pool").await.ok();
            let shapes = pool["shapes"].as_array().unwrap();
            shapes.iter().all(|it| it["ready"] == it["wanted"]).then_some(pool)
        })
        .await
    };
    ready(&server).await;
    let audited = eventually("the change is in the audit trail", async || {
        let found = operator.get("/admin/audit?key=operator").await.ok();
        let events = found["events"].as_array().unwrap().clone();
        events.into_iter().find(|it| it["kind"] == "put_pool")
    })
    .await;
    assert_eq!(audited["outcome"], "done", "{audited:#}");
    assert!(audited.to_string().contains("small"), "{audited:#}");

    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    server.serve().await;
    let pool = ready(&server).await;
    assert_eq!(shown(&pool), both);
    assert_eq!((&pool["adopted"], &pool["started"]), (&json!(2), &json!(0)), "{pool:#}");
    let session = server.client.session_of(json!({ "width": 800, "height": 600 })).await;
    assert_eq!(session["start"], "warm", "{session:#}");

    // The numbers of the settings come back.
    let operator = server.operator();
    let changed = operator.send(Method::PUT, "/admin/pool/default", Some(json!({ "ready": 0 })));
    assert_eq!(shown(&changed.await.ok())[0], "default api 0-0 1920x1080");
    let delete = async |name: &str| {
        operator.send(Method::DELETE, &format!("/admin/pool/{name}"), None).await
    };
    delete("small").await.ok();
    let pool = delete("default").await.ok();
    assert_eq!(shown(&pool), ["default settings 1-2 1920x1080"]);
    let id = session["browser_session_id"].as_str().unwrap();
    assert_eq!(server.client.look(id).await["status"], "running", "it is left alone");
    delete("small").await.problem(404, "pool_unknown");
    delete("default").await.problem(409, "pool_in_settings");
    server.stop().await; // It checks that nothing runs and nothing is left.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_be_is_refused_with_its_fields() {
    let server = Setup::fakes().start().await;
    let operator = server.operator();
    let put = async |name: &str, body: Value| {
        operator.send(Method::PUT, &format!("/admin/pool/{name}"), Some(body)).await
    };
    let wrong = async |name: &str, body: Value| {
        put(name, body).await.wrong_fields().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(wrong("a", json!({})).await, ["body.ready"]);
    let body = json!({ "ready": 3, "maximum": 2, "width": 1, "executable": "none" });
    let expected = ["body.executable", "body.maximum", "body.width"];
    assert_eq!(wrong("a", body).await, expected);
    assert_eq!(wrong("a", json!({ "ready": 1, "size": 5 })).await, ["body.size"]);
    assert_eq!(wrong("a", json!({ "ready": 1001 })).await, ["body.ready"]);
    assert_eq!(wrong("a%20b", json!({ "ready": 1, "width": 900 })).await, ["path.name"]);
    assert_eq!(wrong("-a", json!({ "ready": 1, "width": 900 })).await, ["path.name"]);
    assert_eq!(wrong("default", json!({ "ready": 1, "width": 900 })).await, ["body.width"]);
    let taken = put("b", json!({ "ready": 1 })).await.problem(409, "pool_shape_taken");
    assert!(taken["detail"].as_str().unwrap().contains("`default`"), "{taken:#}");
    server.client.get("/admin/pool").await.problem(403, "key_insufficient");
    let path = "/admin/pool/default";
    let refused = server.client.send(Method::PUT, path, Some(json!({ "ready": 9 }))).await;
    refused.problem(403, "key_insufficient");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_follows_the_demand_shows_it_in_the_metrics() {
    let server = pooled(1).set("pool.maximum", "2").start().await;
    filled(&server, 1).await;
    let (first, second) =
        tokio::join!(server.client.session_of(json!({})), server.client.session_of(json!({})),);
    let starts = [&first["start"], &second["start"]];
    assert!(starts.contains(&&json!("warm")) && starts.contains(&&json!("cold")), "{starts:?}");
    let pool = filled(&server, 2).await;
    let shape = &pool["shapes"][0];
    assert_eq!(
        (&shape["wanted"], &shape["missed"], &shape["taken"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert!(shape["fill_seconds"]["median"].as_f64().unwrap() > 0.0, "{shape:#}");
    assert!(shape["waited_seconds"]["p95"].as_f64().is_some(), "{shape:#}");
    let text = server.operator().get("/metrics").await.text();
    for line in [
        "greenroom_pool_missing{pool=\"default\"} 0",
        "greenroom_pool_browsers{pool=\"default\",state=\"wanted\"} 2",
        "greenroom_pool_browsers{pool=\"default\",state=\"maximum\"} 2",
        "greenroom_pool_sessions_total{pool=\"default\",outcome=\"missed\"} 1",
        "greenroom_pool_fill_seconds_count{pool=\"default\"} 3",
        "greenroom_pool_waited_seconds_count{pool=\"default\"} 1",
        "greenroom_pool_misses_total{reason=\"empty\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in:\n{text}");
    }
    server.stop().await;
}
