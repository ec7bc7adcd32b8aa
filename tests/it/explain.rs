//! Explanations of sessions and runs: the cause comes first, in words, and nobody sees more than they may.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::client::Lease;
use crate::support::{Client, OPERATOR, Setup, TestServer, eventually};

async fn explained(client: &Client, id: &str) -> Value {
    let kind = if id.starts_with("wr_") { "runs" } else { "browser_sessions" };
    client.get(&format!("/v1/{kind}/{id}/explain")).await.ok()
}

/// Waits until the cause of a state is this one.
pub async fn explained_as(client: &Client, id: &str, cause: &str) -> Value {
    eventually(&format!("the cause of {id} is {cause}"), async || {
        let explanation = explained(client, id).await;
        (explanation["cause"] == cause).then_some(explanation)
    })
    .await
}

/// Stops the browser of a session with `SIGSTOP`, and checks the explanations that an operator and its
/// organization get.
pub async fn a_stopped_browser_is_named(server: &TestServer, id: &str) {
    let pid = server.program(id, "chromium");
    let signal = |signal| kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let shown = explained_as(&server.operator(), id, "program_stopped").await;
    let summary = shown["summary"].as_str().unwrap();
    let start = format!("Chromium (pid {pid}) has been stopped (SIGSTOP)");
    assert!(summary.starts_with(&start), "{shown:#}");
    assert!(shown["waiting_for"]["what"].as_str().unwrap().contains("signal"), "{shown:#}");
    let programs = shown["programs"].as_array().unwrap();
    let chromium = programs.iter().find(|it| it["pid"] == pid).unwrap();
    assert_eq!((&chromium["name"], &chromium["state"]), (&json!("chromium"), &json!("T")));
    assert!(chromium["memory_bytes"].as_u64().unwrap() > 1_000_000, "{shown:#}");
    assert!(chromium["log_tail"].is_array(), "{shown:#}");
    assert!(programs.iter().any(|it| it["name"] == "xvfb" && it["state"] != "T"), "{shown:#}");

    let shown = explained(&server.client, id).await;
    let summary = shown["summary"].as_str().unwrap();
    assert!(summary.starts_with("Chromium has been stopped (SIGSTOP)"), "{shown:#}");
    assert!(!shown["details"].to_string().contains("kill -CONT"), "{shown:#}");
    for program in shown["programs"].as_array().unwrap() {
        assert_eq!((&program["pid"], &program["log_tail"]), (&Value::Null, &Value::Null));
    }
    signal(Signal::CONT);
    let shown = explained_as(&server.client, id, "free").await;
    assert_eq!(shown["well"], true, "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_browser_is_the_cause_that_is_named_first() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    a_stopped_browser_is_named(&server, &id).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_session_with_three_waiters_names_its_holder_its_queue_and_its_lease() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let lease = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    let mut waiting = Vec::new();
    for who in ["bob", "cem", "dan"] {
        let (client, path) = (client.clone(), format!("/v1/browser_sessions/{id}/begin"));
        let body = json!({"runnable_id": who, "ttl_seconds": 60, "wait_seconds": 600});
        waiting.push(tokio::spawn(async move { client.post(&path, body).await }));
    }
    let shown = eventually("three callers wait", async || {
        let shown = explained(client, &id).await;
        shown["summary"].as_str()?.contains("3 callers wait").then_some(shown)
    })
    .await;
    let summary = shown["summary"].as_str().unwrap();
    assert!(summary.starts_with("The session has been held by client ann for "), "{shown:#}");
    assert!(summary.contains("the lease ends in "), "{shown:#}");
    assert_eq!((&shown["cause"], &shown["well"]), (&json!("held"), &json!(false)));
    assert_eq!(shown["occupancy"]["waiters"].as_array().unwrap().len(), 3);
    assert_eq!(shown["next_deadline"]["kind"], "occupancy");
    let begins = shown["messages"].as_array().unwrap().iter().filter(|it| it["kind"] == "begin");
    assert_eq!(begins.count(), 4, "{shown:#}");
    for secret in [lease.token.as_str(), client.key(), OPERATOR] {
        assert!(!shown.to_string().contains(secret), "a secret is shown");
        let operators = explained(&server.operator(), &id).await.to_string();
        assert!(!operators.contains(secret), "a secret is shown");
    }
    let foreign = server.another_organization().await;
    let path = format!("/v1/browser_sessions/{id}/explain");
    foreign.get(&path).await.problem(404, "session_unknown");
    client.close(&id).await.ok();
    for begin in waiting {
        begin.await.unwrap();
    }
    let shown = explained(client, &id).await;
    assert_eq!((&shown["cause"], &shown["programs"]), (&json!("closed"), &json!([])));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_names_the_missing_program_and_its_package() {
    let server = Setup::fakes().set("desktop.chromium", "/nowhere/program").start().await;
    server.client.ask_for_session(json!({})).await.problem(424, "chromium_missing");
    let ended = server.client.get("/v1/browser_sessions/history").await.ok();
    let id = ended[0]["browser_session_id"].as_str().unwrap().to_owned();
    let shown = explained(&server.client, &id).await;
    let summary = shown["summary"].as_str().unwrap();
    let start = "The start failed: the program /nowhere/program is missing; install the Debian package `chromium`";
    assert!(summary.starts_with(start), "{shown:#}");
    assert_eq!((&shown["cause"], &shown["status"]), (&json!("start_failed"), &json!("failed")));
    assert_eq!(shown["last_error"]["code"], "chromium_missing");
    // An operator may name a session of any organization, also after its end.
    assert_eq!(explained(&server.operator(), &id).await["cause"], "start_failed");
    let said = server.greenroom(&["explain", &id]).await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.starts_with(start), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_names_the_holder_of_its_session() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    client.begin(&id, "ann", 60).await.ok();
    let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    let shown = explained_as(client, &run, "waits_for_holder").await;
    let summary = shown["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("for session {id}, which external ann holds")), "{shown:#}");
    assert_eq!(shown["browser_session"]["cause"], "held");
    assert_eq!(explained(&server.operator(), &run).await["cause"], "waits_for_holder");
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
    assert_eq!(explained_as(client, &run, "canceled").await["well"], true);
    server.stop().await;
}
