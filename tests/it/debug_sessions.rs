//! Debug sessions: one live session for one person and one workflow, whatever happens to it.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::channel::Channel;
use crate::support::client::Lease;
use crate::support::viewer::Viewer;
use crate::support::{Client, Setup, TestServer, eventually, on_both_databases};

fn path(workflow: &str) -> String {
    format!("/v1/debug-session/{workflow}")
}

async fn debug(client: &Client, workflow: &str) -> Value {
    client.get(&path(workflow)).await.ok()
}

async fn workflow(client: &Client) -> String {
    client.workflow(json!([{"block_type": "wait", "label": "a", "wait_sec": 1}])).await
}

fn session_of(debug: &Value) -> String {
    debug["browser_session_id"].as_str().unwrap().to_owned()
}

/// Asserts that this is a new, working debug session that names the one that it replaced.
async fn replaces(client: &Client, before: &Value, after: &Value, reason: &str) {
    assert_ne!(after["debug_session_id"], before["debug_session_id"], "{after:#}");
    assert_eq!(after["replaced"], true, "{after:#}");
    assert_eq!(after["replaced_reason"], reason, "{after:#}");
    assert_eq!(after["replaced_browser_session_id"], before["browser_session_id"]);
    works(client, after).await;
}

/// Asserts that the browser runs when it is used.
async fn works(client: &Client, debug: &Value) {
    let session = session_of(debug);
    let held = client.begin(&session, "somebody", 60).await.ok();
    assert_eq!(client.look(&session).await["status"], "running");
    client.release(&session, &Lease::of(&held)).await.ok();
}

on_both_databases! {
    async fn fifty_first_calls_at_once_give_one_row_and_one_session(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let workflow = workflow(client).await;
        let answers = join_all((0..50).map(|_| debug(client, &workflow))).await;
        let first = &answers[0];
        for answer in &answers {
            assert_eq!(answer["debug_session_id"], first["debug_session_id"]);
            assert_eq!(answer["browser_session_id"], first["browser_session_id"]);
            assert_eq!(answer["replaced"], false);
        }
        assert_eq!(client.list().await.len(), 1);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_closed_or_has_failed_is_replaced_at_the_next_call() {
    let server = Setup::fakes().set("sessions.max_recoveries", "0").start().await;
    let client = &server.client;
    let workflow = workflow(client).await;
    let first = debug(client, &workflow).await;
    assert_eq!(first["replaced"], false);
    client.close(&session_of(&first)).await.ok();
    let second = debug(client, &workflow).await;
    replaces(client, &first, &second, "session_closed").await;

    // It runs because it was used.
    TestServer::kill(server.program(&session_of(&second), "chromium"));
    client.once(&session_of(&second), "failed").await;
    let third = debug(client, &workflow).await;
    replaces(client, &second, &third, "session_failed").await;
    assert_eq!(debug(client, &workflow).await["debug_session_id"], third["debug_session_id"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_expired_is_replaced_and_each_use_puts_that_off() {
    let server = Setup::fakes().set("sessions.debug_session_seconds", "3").start().await;
    let client = &server.client;
    let workflow = workflow(client).await;
    let first = debug(client, &workflow).await;
    let again = debug(client, &workflow).await;
    assert_eq!(again["debug_session_id"], first["debug_session_id"]);
    assert!(again["expires_at"].as_str() >= first["expires_at"].as_str());
    let session = client.look(&session_of(&first)).await;
    assert!(session["expires_at"].as_str() >= again["expires_at"].as_str(), "{session:#}");

    client.once(&session_of(&first), "timeout").await;
    let second = debug(client, &workflow).await;
    let reason = second["replaced_reason"].as_str().unwrap().to_owned();
    assert!(["expired", "session_timed_out"].contains(&reason.as_str()), "{reason}");
    replaces(client, &first, &second, &reason).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_uses_is_closed_and_one_that_is_held_is_not() {
    let server = Setup::fakes().set("sessions.debug_session_unused_seconds", "3").start().await;
    let client = &server.client;
    let (left, watched) = (workflow(client).await, workflow(client).await);
    let unused = debug(client, &workflow(client).await).await;
    let before = session_of(&debug(client, &watched).await);
    let held = client.begin(&before, "somebody", 60).await;
    let lease = Lease::of(&held.ok());
    let used = debug(client, &left).await;
    let session = session_of(&used);
    works(client, &used).await;
    client.once(&session, "completed").await;
    server.nothing_runs_of(&session).await;
    assert_eq!(client.look(&before).await["status"], "running");
    client.release(&before, &lease).await.ok();
    client.once(&before, "completed").await;
    let after = debug(client, &left).await;
    assert_ne!(session_of(&after), session);
    works(client, &after).await;
    // Without a browser it costs nothing.
    assert_eq!(client.look(&session_of(&unused)).await["status"], "created");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_one_takes_the_place_of_the_present_one_but_not_of_one_just_made() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let workflow = workflow(client).await;
    let first = client.post(&format!("{}/new", path(&workflow)), json!({})).await.ok();
    let at_once = client.post(&format!("{}/new", path(&workflow)), json!({})).await.ok();
    assert_eq!(at_once["debug_session_id"], first["debug_session_id"], "a page that opens twice");

    client.send(Method::DELETE, &path(&workflow), None).await.ok();
    let session = session_of(&first);
    assert_eq!(client.once(&session, "completed").await["status"], "completed");
    server.nothing_runs_of(&session).await;
    client.send(Method::DELETE, &path(&workflow), None).await.problem(404, "debug_session_unknown");
    let second = debug(client, &workflow).await;
    assert_eq!((&second["replaced"], &second["status"]), (&json!(false), &json!("created")));
    assert_ne!(session_of(&second), session);
    works(client, &second).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_each_workflow_and_each_organization_has_its_own() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let (one, two) = (workflow(client).await, workflow(client).await);
    let of = async |workflow: &str, person: &str| -> String {
        let headers = [("x-greenroom-user", person)];
        let asked = client.send_with(Method::GET, &path(workflow), None, &headers).await.unwrap();
        session_of(&asked.ok())
    };
    let all = [of(&one, "ann").await, of(&one, "bob").await, of(&two, "ann").await];
    assert_eq!(of(&one, "ann").await, all[0]);
    assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2], "{all:?}");
    let stranger = server.another_organization().await;
    stranger.get(&path(&one)).await.problem(404, "workflow_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_debug_session_drives_its_session_and_is_listed_with_it() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let workflow = workflow(client).await;
    let debug = debug(client, &workflow).await;
    let id = debug["debug_session_id"].as_str().unwrap();
    let body = json!({"workflow_id": workflow, "block_labels": ["a"], "debug_session_id": id});
    let run = client.post("/v1/run/workflows/blocks", body).await.ok();
    let ended = client.run_once(run["run_id"].as_str().unwrap(), "completed").await;
    assert_eq!(ended["debug_session_id"], id);
    assert_eq!(ended["browser_session_id"], debug["browser_session_id"]);

    let listed = client.get(&format!("{}/runs", path(id))).await.ok();
    assert_eq!(listed["debug_session"]["debug_session_id"], id);
    assert_eq!(listed["runs"][0]["workflow_run_id"], run["run_id"]);
    assert_eq!(listed["runs"][0]["block_label"], "a");
    let outputs = client.get(&format!("{}/block-outputs", path(&workflow))).await.ok();
    assert_eq!(outputs["a"]["success"], true, "{outputs:#}");

    client.close(&session_of(&debug)).await.ok();
    let body = json!({"workflow_id": workflow, "block_labels": ["a"], "debug_session_id": id});
    client.post("/v1/run/workflows/blocks", body).await.problem(410, "session_closed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debug_session_outlives_its_server() {
    let mut server = Setup::fakes().start().await;
    let workflow = workflow(&server.client).await;
    let before = debug(&server.client, &workflow).await;
    TestServer::kill(server.pid());
    server.ended().await;
    server.serve().await;
    let client = &server.client;
    let after = eventually("it answers", async || {
        let answer = client.get(&path(&workflow)).await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!(after["debug_session_id"], before["debug_session_id"]);
    assert_eq!(after["replaced"], false, "{after:#}");
    let session = session_of(&after);
    assert_eq!(server.programs_of(&session), []);
    assert_eq!(client.look(&session).await["status"], "created");
    works(client, &after).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_uses_at_once_are_all_answered_after_one_start() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = session_of(&debug(client, &workflow(client).await).await);
    let begins =
        ["ann", "bob", "cem", "dan", "eve", "fay"].map(|who| client.begin(&session, who, 60));
    let answers = futures_util::future::join_all(begins).await;
    let (begun, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|it| it.status == 200);
    assert_eq!(begun.len(), 1);
    for answer in refused {
        answer.problem(409, "session_occupied");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_starts_at_the_first_use_of_its_debug_session() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let mut unused = Vec::new();
    for _ in 0..5 {
        unused.push(session_of(&debug(client, &workflow(client).await).await));
    }
    for session in &unused {
        let shown = client.look(session).await;
        assert_eq!(shown["status"], "created", "{shown:#}");
        // This informs pages that they may open their streams.
        assert!(shown["browser_address"].is_string(), "{shown:#}");
        assert_eq!(server.programs_of(session), []);
    }
    // Reads and new tickets do not count as use.
    let path = |session: &str, what: &str| format!("/v1/browser_sessions/{session}/{what}");
    client.get(&path(&unused[0], "viewers")).await.ok();
    client.post(&path(&unused[0], "viewers"), json!({ "role": "watch" })).await.ok();
    assert_eq!(client.look(&unused[0]).await["status"], "created");

    for (at, session) in unused.iter().enumerate() {
        match at {
            0 => drop(client.begin(session, "somebody", 60).await.ok()),
            // A fake has no picture; its display runs.
            1 => drop(client.get(&path(session, "screenshot")).await),
            2 => drop(client.get(&path(session, "cdp/json/version")).await),
            3 => drop(Viewer::of(client, session).await),
            _ => drop(Channel::of(client, session, "page").await),
        }
        assert_eq!(client.look(session).await["status"], "running", "use {at}");
        for other in &unused[at + 1..] {
            assert_eq!(client.look(other).await["status"], "created", "use {at}");
        }
        client.close(session).await.ok();
        server.nothing_runs_of(session).await;
    }
    server.stop().await;
}
