//! Lists that are followed by cursors, while rows are added.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, id_of};
use crate::support::{Client, Setup};

const NEXT: &str = "x-next-cursor";

/// The cursor of the next part.
fn next(answer: &Answer) -> Option<String> {
    answer.headers.get(NEXT).map(|cursor| cursor.to_str().unwrap().to_owned())
}

fn ids(answer: Answer, id: &str) -> Vec<String> {
    let body = answer.ok();
    body.as_array().unwrap().iter().map(|item| item[id].as_str().unwrap().to_owned()).collect()
}

/// The ids in a list, part by part, where `add` adds a row after the first part.
async fn followed(client: &Client, path: &str, id: &str, add: impl AsyncFnOnce()) -> Vec<String> {
    let first = client.get(path).await;
    let mut cursor = next(&first);
    assert!(cursor.is_some(), "{path} has more than one part");
    let mut found = ids(first, id);
    add().await;
    while let Some(after) = cursor {
        let part = client.get(&format!("{path}&cursor={after}")).await;
        cursor = next(&part);
        found.extend(ids(part, id));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_followed_has_each_row_once_while_others_are_added() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }]);
    let mut workflows = Vec::new();
    for _ in 0..5 {
        workflows.push(client.workflow(blocks.clone()).await);
    }
    workflows.reverse();
    let add = async || drop(client.workflow(blocks.clone()).await);
    let found = followed(client, "/v1/workflows?page_size=2", "workflow_permanent_id", add).await;
    assert_eq!(found, workflows);
    let query = "/v1/workflows?page_size=3&only_workflows=true";
    let all = followed(client, query, "workflow_permanent_id", async || ()).await;
    assert_eq!((all.len(), &all[1..]), (6, &workflows[..]));

    let profile = async |name: usize| {
        let asked = json!({ "name": name.to_string() });
        let made = client.post("/v1/browser_profiles", asked).await.ok();
        made["browser_profile_id"].as_str().unwrap().to_owned()
    };
    let mut profiles = Vec::new();
    for name in 0..4 {
        profiles.push(profile(name).await);
    }
    profiles.reverse();
    let add = async || drop(profile(9).await);
    let path = "/v1/browser_profiles?page_size=2";
    assert_eq!(followed(client, path, "browser_profile_id", add).await, profiles);

    // Sessions that live, those that have ended too, and the runs that drive two of them.
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(client.session_id().await);
    }
    let mut runs = Vec::new();
    for session in &sessions[..2] {
        let asked = json!({ "browser_session_id": session });
        runs.push(client.run(&workflows[0], asked).await);
    }
    runs.reverse();
    let newest_first: Vec<String> = sessions.iter().rev().cloned().collect();
    let live = "/v1/browser_sessions?page_size=1";
    let add = async || drop(client.session_id().await);
    assert_eq!(followed(client, live, "browser_session_id", add).await, newest_first);
    assert_eq!(client.list().await.len(), 4, "without a size, it is whole");
    client.close(&sessions[2]).await.ok();
    let history = "/v1/browser_sessions/history?page_size=1";
    let found = followed(client, history, "browser_session_id", async || ()).await;
    assert_eq!(found.len(), 4);
    assert_eq!(found[1..], [sessions[1].clone(), sessions[0].clone(), sessions[2].clone()]);
    let of_workflow = format!("/v1/workflows/{}/runs?page_size=1", workflows[0]);
    for path in ["/v1/runs?page_size=1", "/v1/workflows/runs?page_size=1", of_workflow.as_str()] {
        let id = if path.starts_with("/v1/runs") { "run_id" } else { "workflow_run_id" };
        assert_eq!(followed(client, path, id, async || ()).await, runs, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_list_is_refused_and_events_have_one_too() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_of(json!({})).await;
    client.close(&id_of(&session)).await.ok();
    for name in ["a", "b"] {
        client.post("/v1/browser_profiles", json!({ "name": name })).await.ok();
    }
    let cursor = next(&client.get("/v1/browser_profiles?page_size=1").await).unwrap();
    let beside = client.get(&format!("/v1/browser_profiles?page=2&cursor={cursor}")).await;
    assert!(beside.wrong_fields().contains_key("query.page"));
    let run = "/v1/runs/wr_1/webhook_messages";
    client.get(&format!("{run}?cursor=x")).await.problem(404, "run_unknown");
    for path in [
        "/v1/browser_sessions",
        "/v1/browser_sessions/history",
        "/v1/runs",
        "/v1/workflows",
        "/v1/workflows/runs",
    ] {
        for wrong in [&*cursor, "x"] {
            let refused = client.get(&format!("{path}?cursor={wrong}")).await;
            refused.problem(422, "cursor_invalid");
        }
    }

    let accept = [("accept", "application/json")];
    let page = async |query: &str| {
        let path = format!("/v1/events?limit=2{query}");
        client.send_with(Method::GET, &path, None, &accept).await.unwrap()
    };
    let mut seen: Vec<Value> = Vec::new();
    let mut query = String::new();
    loop {
        let answer = page(&query).await;
        query = format!("&cursor={}", next(&answer).unwrap());
        let events = answer.ok()["events"].as_array().unwrap().clone();
        if events.is_empty() {
            break;
        }
        seen.extend(events.into_iter().map(|event| event["seq"].clone()));
    }
    let all: Vec<Value> = (1..=seen.len()).map(|seq| json!(seq)).collect();
    assert!(seen.len() > 2 && seen == all, "{seen:?}");
    page(&format!("&cursor={cursor}")).await.problem(422, "cursor_invalid");
    server.stop().await;
}
