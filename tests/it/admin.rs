//! The operator's API: every message, every actor, no secret.

use serde_json::{Value, json};

use crate::support::client::Lease;
use crate::support::{Setup, TestServer, eventually};

async fn messages(server: &TestServer, query: &str) -> Vec<Value> {
    let answer = server.operator().get(&format!("/admin/messages?{query}")).await.ok();
    answer["messages"].as_array().unwrap().clone()
}

fn kinds(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_about_a_session_is_in_the_journal_with_its_times_and_its_outcome() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    client.begin(&id, "bob", 60).await.problem(409, "session_occupied");
    client.heartbeat(&id, &lease).await.ok();
    client.release(&id, &lease).await.ok();
    client.close(&id).await.ok();

    let mut told = messages(&server, &format!("actor={id}")).await;
    told.retain(|message| message["receiver"] == id);
    let mut in_order = kinds(&told);
    in_order.reverse();
    assert_eq!(in_order, ["begin", "begin", "heartbeat", "release", "close"]);
    for message in &told {
        assert_eq!(message["browser_session_id"], id);
        assert!(message["wait_us"].is_u64() && message["handling_us"].is_u64(), "{message:#}");
        assert!(message["cause"].is_i64(), "it came through the registry: {message:#}");
    }
    let refused = messages(&server, &format!("session={id}&kind=begin&outcome=refused")).await;
    assert_eq!(refused[0]["summary"]["occupant"]["runnable_id"], "bob");
    assert!(refused[0]["note"].as_str().unwrap().contains("ann"), "{refused:#?}");

    let text = server.operator().get("/admin/messages?limit=1000").await.text();
    let actors = server.operator().get("/admin/actors").await.text();
    for secret in [lease.token.as_str(), client.key(), crate::support::OPERATOR] {
        assert!(!text.contains(secret) && !actors.contains(secret), "a secret is shown");
        assert!(!server.log().contains(secret), "a secret is logged");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_read_page_by_page_from_the_newest() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    for _ in 0..5 {
        server.client.get(&format!("/v1/browser_sessions/{id}/screenshot")).await;
    }
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = server.operator().get(&format!("/admin/messages?{query}")).await.ok();
        let ids = page["messages"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap());
        seen.extend(ids);
        let Some(cursor) = page["next_cursor"].as_i64() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert!(seen.len() >= 6, "{seen:?}");
    assert!(seen.is_sorted_by(|one, next| one > next), "{seen:?}");

    let wrong = server.operator().get("/admin/messages?limit=0&outcome=good&session=x").await;
    let wrong: Vec<_> = wrong.wrong_fields().into_keys().collect();
    assert_eq!(wrong, ["query.limit", "query.outcome", "query.session"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_tell_what_they_are_at() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    server.client.begin(&id, "ann", 60).await.ok();
    let answer = server.operator().get("/admin/actors").await.ok();
    let actors = answer["actors"].as_array().unwrap();
    let actor = |name: &str| actors.iter().find(|actor| actor["name"] == name).unwrap();
    assert_eq!(actor("registry")["kind"], "registry");
    let session = actor(&id);
    assert_eq!(session["kind"], "session");
    assert_eq!(session["phase"], "running");
    assert_eq!(session["mailbox_depth"], 0);
    assert_eq!(session["oldest_waiting"], Value::Null);
    assert_eq!(session["in_progress"], json!([]));
    // Once the holder has stayed for a moment, the next deadline is that of its occupancy.
    eventually("the next timer is that of the occupancy", async || {
        let answer = server.operator().get("/admin/actors").await.ok();
        let mut actors = answer["actors"].as_array().unwrap().iter();
        let session = actors.find(|actor| actor["name"] == json!(id)).unwrap();
        (session["next_timer"]["kind"] == "occupancy").then_some(())
    })
    .await;

    server.client.close(&id).await.ok();
    let answer = server.operator().get("/admin/actors").await.ok();
    let names: Vec<_> =
        answer["actors"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert!(!names.contains(&json!(id)), "{names:?}");
    server.stop().await;
}
