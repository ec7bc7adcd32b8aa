//! Storage states of profiles with programs that are fakes: versions, refusals and secrets.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, id_of};
use crate::support::{Client, Setup, TestServer};

const PROFILES: &str = "/v1/browser_profiles";

fn path(profile: &Value) -> String {
    format!("{PROFILES}/{}/storage_state", profile["browser_profile_id"].as_str().unwrap())
}

async fn put(client: &Client, profile: &Value, query: &str, state: Value) -> Answer {
    client.send(Method::PUT, &format!("{}{query}", path(profile)), Some(state)).await
}

fn cookie(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value, "domain": "shop.example", "path": "/", "expires": -1,
        "httpOnly": true, "secure": true, "sameSite": "Lax" })
}

fn origin(origin: &str, name: &str, value: &str) -> Value {
    json!({ "origin": origin, "localStorage": [{ "name": name, "value": value }] })
}

fn state(cookies: &[Value], origins: &[Value]) -> Value {
    json!({ "cookies": cookies, "origins": origins })
}

/// The files in transit, of which none may be left.
fn in_transit(server: &TestServer) -> usize {
    std::fs::read_dir(server.directory.join("d/transit")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_made_from_a_state_and_each_write_makes_a_version() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let first = state(&[cookie("a", "hush1")], &[origin("https://shop.example", "t", "hush2")]);
    let asked = json!({ "name": "Shop", "tags": ["eu"], "storage_state": first });
    let profile = client.post(PROFILES, asked.clone()).await.ok();
    assert_eq!((&profile["version"], &profile["tags"]), (&json!(1), &json!(["eu"])));
    client.post(PROFILES, asked).await.problem(409, "name_taken");
    assert_eq!(client.get(&path(&profile)).await.ok(), first);

    // Merged, and in place of everything.
    let more = state(
        &[cookie("a", "hush3"), cookie("b", "hush4")],
        &[origin("https://shop.example", "u", "hush5"), origin("http://b.example:80/", "x", "1")],
    );
    let put_more = put(client, &profile, "", more).await.ok();
    let id = &profile["browser_profile_id"];
    let expected = json!({ "browser_profile_id": id, "version": 2, "cookies": 2, "origins": 2 });
    assert_eq!(put_more, expected);
    let merged = client.get(&path(&profile)).await.ok();
    assert_eq!(merged["cookies"], json!([cookie("a", "hush3"), cookie("b", "hush4")]));
    let items = json!([{ "name": "t", "value": "hush2" }, { "name": "u", "value": "hush5" }]);
    assert_eq!(merged["origins"][0]["localStorage"], items);
    assert_eq!(merged["origins"][1], origin("http://b.example", "x", "1"));
    let narrow = format!("{}?origins=http://b.example", path(&profile));
    let narrow = client.get(&narrow).await.ok();
    assert_eq!(narrow, state(&[], &[origin("http://b.example", "x", "1")]));
    let only = state(&[cookie("c", "hush6")], &[]);
    put(client, &profile, "?replace=true", only.clone()).await.ok();
    assert_eq!(client.get(&path(&profile)).await.ok(), only);
    assert_eq!(client.get(&format!("{}?version=1", path(&profile))).await.ok(), first);
    let unknown = client.get(&format!("{}?version=9", path(&profile))).await;
    unknown.problem(404, "profile_version_unknown");
    let versions = format!("{PROFILES}/{}/versions", id.as_str().unwrap());
    let versions = client.get(&versions).await.ok();
    assert_eq!(versions[0]["origin"], "storage_state", "{versions:#}");
    assert_eq!(versions.as_array().unwrap().len(), 3);

    // An empty profile, and one of another organization.
    let empty = client.post(PROFILES, json!({ "name": "Empty" })).await.ok();
    assert_eq!(client.get(&path(&empty)).await.ok(), state(&[], &[]));
    assert_eq!(put(client, &empty, "", only.clone()).await.ok()["version"], 1);
    let stranger = server.another_organization().await;
    stranger.get(&path(&profile)).await.problem(404, "browser_profile_unknown");
    put(&stranger, &profile, "", only).await.problem(404, "browser_profile_unknown");

    // The event has no value, and neither has the log.
    let events = client.events("/v1/events").await;
    let stored = events.to_string();
    assert!(stored.contains("profile.stored") && !stored.contains("hush"), "{events:#}");
    assert_eq!(in_transit(&server), 0);
    assert!(!server.log().contains("hush"), "a value is in the log");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_not_written_under_a_session_that_may_write_to_the_profile() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let login = state(&[cookie("a", "hush")], &[]);
    let asked = json!({ "name": "Shop", "storage_state": login });
    let profile = client.post(PROFILES, asked).await.ok();
    let from = json!({ "browser_profile_id": profile["browser_profile_id"] });
    let writer = client.session_of(from.clone()).await;
    assert_eq!(writer["browser_profile_version"], 1, "it starts from a state without files");
    let refused = put(client, &profile, "", login.clone()).await.problem(409, "profile_in_use");
    assert_eq!(refused["writer"], writer["browser_session_id"]);
    let copy = json!({ "browser_profile_access": "copy",
        "browser_profile_id": profile["browser_profile_id"] });
    let reader = client.session_of(copy).await;
    client.close(&id_of(&writer)).await.ok();
    // The next session that ends stores the files of a browser, beside which a state is kept.
    assert_eq!(put(client, &profile, "", login.clone()).await.ok()["version"], 3);
    let read = client.get(&path(&profile)).await.ok();
    assert_eq!(read["cookies"], login["cookies"], "{read:#}");
    client.close(&id_of(&reader)).await.ok();
    assert_eq!(client.session_of(from).await["browser_profile_version"], 3);
    assert!(!server.log().contains("hush"), "a value is in the log");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_invalid_or_too_large_is_refused_and_repeats_no_value() {
    let server = Setup::fakes().set("http.max_body_bytes", "4096").start().await;
    let client = &server.client;
    let wrong = state(
        &[json!({ "name": "a", "value": "hush", "domain": "a.example", "path": "x" })],
        &[json!({ "origin": "chrome://settings", "localStorage": [] })],
    );
    let refused = client.post(PROFILES, json!({ "name": "n", "storage_state": wrong })).await;
    assert!(!refused.text().contains("hush"), "{}", refused.text());
    let fields: Vec<String> = refused.wrong_fields().into_keys().collect();
    let expected = ["body.storage_state.cookies.0.path", "body.storage_state.origins.0.origin"];
    assert_eq!(fields, expected);
    let both = json!({ "name": "n", "storage_state": state(&[], &[]), "workflow_run_id": "wr_1" });
    let refused = client.post(PROFILES, both).await.wrong_fields();
    assert!(refused.contains_key("body.storage_state"), "{refused:?}");
    let profile = client.post(PROFILES, json!({ "name": "n" })).await.ok();
    let refused = put(client, &profile, "", wrong).await;
    assert!(!refused.text().contains("hush"), "{}", refused.text());
    assert!(refused.wrong_fields().contains_key("body.cookies.0.path"));
    let unknown = json!({ "cookies": [{ "name": "a", "value": "hush", "hostOnly": "hush" }] });
    let refused = put(client, &profile, "", unknown).await;
    assert!(!refused.text().contains("hush"), "{}", refused.text());
    assert!(refused.wrong_fields().contains_key("body.cookies.0.hostOnly"));
    let faults = client.get(&format!("{}?origins=about:blank", path(&profile))).await;
    assert!(faults.wrong_fields().contains_key("query.origins"));

    // Two states that fit do not fit together.
    let many = |from: usize| {
        let cookies: Vec<Value> =
            (from..from + 6000).map(|number| cookie(&number.to_string(), "v")).collect();
        state(&cookies, &[])
    };
    put(client, &profile, "", many(0)).await.ok();
    let refused = put(client, &profile, "", many(6000)).await;
    refused.problem(422, "storage_state_too_large");
    put(client, &profile, "?replace=true", many(6000)).await.ok();
    assert_eq!(in_transit(&server), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_named_and_can_be_replaced_only_by_a_rollback() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let asked = json!({ "name": "Shop", "storage_state": state(&[cookie("a", "1")], &[]) });
    let profile = client.post(PROFILES, asked).await.ok();
    let folder =
        server.directory.join("d/profiles").join(profile["organization_id"].as_str().unwrap());
    let folder = folder.join(profile["browser_profile_id"].as_str().unwrap());
    let archives = || {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|it| it.extension().is_some_and(|it| it == "zst")).collect::<Vec<_>>()
    };
    let archive = archives().pop().unwrap();
    let mut bytes = std::fs::read(&archive).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    client.get(&path(&profile)).await.problem(424, "profile_archive_damaged");
    let refused = put(client, &profile, "", state(&[], &[])).await;
    refused.problem(424, "profile_archive_damaged");
    assert_eq!(archives().len(), 1, "nothing is added");
    std::fs::remove_file(&archive).unwrap();
    client.get(&path(&profile)).await.problem(424, "profile_lost");
    put(client, &profile, "", state(&[], &[])).await.problem(424, "profile_lost");
    assert_eq!(in_transit(&server), 0);
    server.stop().await;
}
