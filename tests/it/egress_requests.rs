//! The egress policy of sessions in the API: set, changed, shown, and refused where it cannot be enforced.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, id_of};
use crate::support::{Client, Setup, on_both_databases};

async fn patch(client: &Client, id: &str, egress: Value) -> Answer {
    let path = format!("/v1/browser_sessions/{id}");
    client.send(Method::PATCH, &path, Some(json!({ "egress": egress }))).await
}

async fn put(client: &Client, lists: Value) -> Answer {
    client.send(Method::PUT, "/v1/egress", Some(lists)).await
}

/// A session whose browser waits for its first use.
async fn dormant(client: &Client, settings: Value) -> String {
    let mut definition = json!({
        "title": "Egress",
        "workflow_definition": {
            "parameters": [],
            "blocks": [{ "block_type": "wait", "label": "w", "wait_sec": 1 }],
        },
    });
    definition.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let made = client.post("/v1/workflows", json!({ "json_definition": definition })).await.ok();
    let workflow = made["workflow_permanent_id"].as_str().unwrap();
    let debug = client.get(&format!("/v1/debug-session/{workflow}")).await.ok();
    debug["browser_session_id"].as_str().unwrap().to_owned()
}

on_both_databases! {
    async fn a_session_keeps_its_lists_and_its_proxy_and_shows_no_password(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let asked = json!({
            "allow": ["*.example:443", "10.0.0.0/8:80,8000-8999"],
            "upstream": "http://ann:hunter2@proxy.example:3128",
        });
        let id = dormant(client, json!({ "egress": asked })).await;
        let shown = client.look(&id).await;
        assert_eq!(shown["egress"]["allow"], asked["allow"], "{shown:#}");
        assert_eq!(shown["egress"]["upstream"], "http://ann:***@proxy.example:3128/");
        assert_eq!(shown["isolation"], Value::Null, "nothing of it runs");

        // A mask that is sent back keeps the password, and missing fields stay unchanged.
        let same = json!({ "deny": ["evil.example"], "upstream": shown["egress"]["upstream"] });
        let changed = patch(client, &id, same).await.ok();
        assert_eq!(changed["egress"]["allow"], asked["allow"]);
        assert_eq!(changed["egress"]["deny"], json!(["evil.example"]));
        assert_eq!(changed["egress"]["upstream"], shown["egress"]["upstream"]);
        let masked = json!({ "upstream": "http://bob:***@proxy.example:3128/" });
        patch(client, &id, masked).await.problem(422, "invalid_request");
        let none = patch(client, &id, json!({ "allow": null, "upstream": null })).await.ok();
        assert_eq!((&none["egress"]["allow"], &none["egress"]["upstream"]), (&json!([]), &Value::Null));
        assert_eq!(none["proxy_location"], Value::Null);
        let kinds: Vec<Value> = crate::support::eventually("the events are stored", async || {
            let path = format!("/v1/browser_sessions/{id}/events?limit=100");
            let headers = [("accept", "application/json")];
            let page = client.send_with(Method::GET, &path, None, &headers).await.unwrap().ok();
            let events = page["events"].as_array().unwrap().iter();
            let changes: Vec<Value> = events
                .filter(|event| event["kind"] == "session.egress_changed")
                .map(|event| event["data"]["by"].clone())
                .collect();
            (changes.len() == 2).then_some(changes)
        })
        .await;
        assert_eq!(kinds, ["session", "session"]);
        assert!(!server.log().contains("hunter2"));
        server.stop().await;
    }
}

on_both_databases! {
    async fn the_lists_of_an_organization_reach_its_sessions_and_no_others(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let other = server.another_organization().await;
        let (mine, theirs) = (dormant(client, json!({})).await, dormant(&other, json!({})).await);
        let none = json!({ "allow": [], "deny": [], "not_in_force": [] });
        assert_eq!(client.get("/v1/egress").await.ok(), none);
        let running = id_of(&client.session().await);

        let lists = json!({ "allow": ["*.example"], "deny": ["b.example", "10.0.0.0/8"] });
        let changed = put(client, lists.clone()).await.ok();
        assert_eq!((&changed["allow"], &changed["deny"]), (&lists["allow"], &lists["deny"]));
        let failed = changed["not_in_force"].as_array().unwrap();
        assert_eq!(failed.len(), 1, "{changed:#}");
        assert_eq!(failed[0]["browser_session_id"], running);
        assert_eq!(failed[0]["code"], "egress_unavailable");
        assert_eq!(client.get("/v1/egress").await.ok()["deny"], lists["deny"]);
        assert_eq!(client.look(&mine).await["egress"]["organization"], lists);
        assert_eq!(other.get("/v1/egress").await.ok(), none);
        let empty = json!({ "allow": [], "deny": [] });
        assert_eq!(other.look(&theirs).await["egress"]["organization"], empty);

        // A session for which they cannot be enforced is not created.
        let refused = client.ask_for_session(json!({})).await;
        refused.problem(424, "egress_unavailable");
        put(client, empty).await.ok();
        client.close(&id_of(&client.session().await)).await.ok();
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_separate_network_what_cannot_be_kept_is_refused() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session().await;
    let id = id_of(&session);
    assert_eq!(session["isolation"]["network"], "none");
    assert_eq!(session["egress"]["allow"], json!([]));
    patch(client, &id, json!({ "deny": ["a.example"] })).await.problem(409, "egress_unavailable");
    let check = json!({ "url": "https://a.example/" });
    let path = format!("/v1/browser_sessions/{id}/egress/check");
    client.post(&path, check).await.problem(409, "egress_unavailable");
    for asked in [
        json!({ "egress": { "deny": ["a.example"] } }),
        json!({ "proxy_location": { "url": "http://ann:hunter2@proxy.example:3128" } }),
    ] {
        let refused = client.ask_for_session(asked.clone()).await;
        assert!(!refused.text().contains("hunter2"));
        refused.problem(424, "egress_unavailable");
    }
    client.close(&id).await.ok();
    patch(client, &id, json!({})).await.problem(409, "session_closed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_that_is_no_rule_is_named() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let egress = json!({
        "allow": ["a.example", "http://a.example/"],
        "deny": ["a.example:0"],
        "upstream": "socks4://ann:hunter2@proxy",
    });
    let id = dormant(client, json!({})).await;
    let workflow =
        client.workflow(json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }])).await;
    let run = json!({ "workflow_id": workflow, "egress": egress });
    let path = format!("/v1/browser_sessions/{id}/egress/check");
    let check = json!({ "url": "ftp://a", "egress": egress });
    let definition = json!({
        "title": "a", "egress": egress,
        "workflow_definition": {
            "parameters": [],
            "blocks": [{ "block_type": "wait", "label": "w", "wait_sec": 1 }],
        },
    });
    let definition = json!({ "json_definition": definition });
    let places = ["body.egress.allow.1", "body.egress.deny.0", "body.egress.upstream"];
    for answer in [
        client.ask_for_session(json!({ "egress": egress })).await,
        patch(client, &id, egress.clone()).await,
        client.post("/v1/run/workflows", run).await,
        client.post(&path, check).await,
        client.post("/v1/workflows", definition).await,
    ] {
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
        let fields = answer.wrong_fields();
        let named = |place: &&str| fields.keys().any(|field| field == place);
        assert!(places.iter().all(named), "{fields:?}");
    }
    let lists = put(client, json!({ "allow": ["a b"], "deny": [] })).await;
    assert!(lists.wrong_fields().contains_key("body.allow.0"));
    put(client, json!({})).await.problem(422, "invalid_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_shows_what_it_asked_for_without_a_password() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let workflow =
        client.workflow(json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }])).await;
    let egress =
        json!({ "deny": ["a.example"], "upstream": "http://ann:hunter2@proxy.example:1/" });
    let run = json!({ "workflow_id": workflow, "egress": egress });
    let run = client.post("/v1/run/workflows", run).await.ok();
    assert_eq!(run["run_request"]["egress"]["upstream"], "http://ann:***@proxy.example:1/");
    assert_eq!(run["egress_refused"], json!([]));
    let path = format!("/v1/runs/{}", run["run_id"].as_str().unwrap());
    let ended = crate::support::eventually("the run has ended", async || {
        let run = client.get(&path).await.ok();
        run["finished_at"].is_string().then_some(run)
    })
    .await;
    let reason = ended["failure_reason"].as_str().unwrap();
    assert!(reason.contains("does not separate the network"), "{reason}");
    server.stop().await;
}
