//! Profiles of a real Chromium: a login is there in the next session.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::sanitizing::{LEAVE, MARK, PROBE, opened, site, with_mark};
use crate::support::client::id_of;
use crate::support::{Client, Setup, TestServer, eventually};

/// Stores data in every place that a page can use, but for the clipboard.
fn leave() -> String {
    LEAVE.replace("    await navigator.clipboard.writeText('MARK');\n", "").replace("MARK", MARK)
}

/// The login that a page finds.
async fn found(client: &Client, id: &str, url: &str) -> Value {
    let mut page = opened(client, id, url).await;
    let found = page.evaluate(PROBE).await;
    let cookies = found["cookie"].as_str().unwrap();
    let has = |name: &str| cookies.contains(&format!("{name}={MARK}"));
    json!({
        "login": has("login"), "passing": has("passing"),
        "local_storage": found["local_storage"], "indexed_db": found["indexed_db"],
        "cache_storage": found["cache_storage"], "service_workers": found["service_workers"],
    })
}

fn everything(local_storage: &Value) -> Value {
    json!({
        "login": true, "passing": true, "local_storage": local_storage, "indexed_db": [MARK],
        "cache_storage": [MARK], "service_workers": 1,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_there_in_the_next_session_of_its_profile() {
    let (origin, serving) = site().await;
    let url = format!("{origin}/");
    let mut server = Setup::real().start().await;
    let client = server.client.clone();
    let session = client.session_of(json!({"generate_browser_profile": true})).await;
    let id = id_of(&session);
    let profile = session["browser_profile_id"].as_str().unwrap();
    let path = format!("/v1/browser_profiles/{profile}");
    let mut page = opened(&client, &id, &url).await;
    assert_eq!(page.evaluate(&leave()).await, "left");

    // Chromium writes `localStorage` some seconds later.
    let folder = server.programs(&id).join("profile/Default/Local Storage");
    eventually("the login is written", async || {
        let mut written = Vec::new();
        with_mark(&folder, MARK, &mut written);
        (!written.is_empty()).then_some(())
    })
    .await;
    // Stored while it lives; its browser goes on.
    let browser = server.program(&id, "/chromium");
    let stored = client.post(&format!("/v1/browser_sessions/{id}/profile"), json!({})).await.ok();
    assert_eq!((&stored["version"], &stored["browser_profile_id"]), (&json!(1), &json!(profile)));
    assert_eq!(page.evaluate("localStorage.later = 'yes'").await, "yes");
    assert_eq!(server.program(&id, "/chromium"), browser);
    client.close(&id).await.ok();
    let shown = client.get(&path).await.ok();
    assert_eq!(shown["version"], 2, "{shown:#}");
    println!("the archive has {} bytes", shown["size"]);

    let from = json!({"browser_profile_id": profile, "start_url": url});
    let writer = client.session_of(from.clone()).await;
    assert_eq!(writer["browser_profile_version"], 2);
    let both = json!({"later": "yes", "who": MARK});
    let seen = found(&client, &id_of(&writer), &url).await;
    assert_eq!(seen, everything(&both));
    let copy = client.session_of(from).await;
    assert_eq!(copy["browser_profile_access"], "copy");
    assert!(found(&client, &id_of(&copy), &url).await["login"].as_bool().unwrap());

    // The browser dies: the login is still there.
    let killed = server.program(&id_of(&copy), "/chromium");
    TestServer::kill(killed);
    eventually("another browser runs", async || {
        let programs = server.programs_of(&id_of(&copy));
        let is_new =
            |(pid, arguments): &(i32, String)| *pid != killed && TestServer::is_browser(arguments);
        let is_back = client.look(&id_of(&copy)).await["status"] == "running";
        (programs.iter().any(is_new) && is_back).then_some(())
    })
    .await;
    assert!(found(&client, &id_of(&copy), &url).await["passing"].as_bool().unwrap());
    client.close(&id_of(&copy)).await.ok();

    // The server dies while the writer's profile is stored: the former version is intact.
    let closing = client.clone();
    let writing = id_of(&writer);
    let asked = tokio::spawn(async move { drop(closing.close(&writing).await) });
    let transit = server.directory.join("d/transit");
    // Without a pause, which could be longer than the packing.
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read_dir(&transit).ok().and_then(|mut files| files.next()).is_none() {
        assert!(Instant::now() < deadline, "the profile is not packed");
        tokio::task::yield_now().await;
    }
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    asked.abort();
    server.serve().await;
    let client = server.client.clone();
    let versions = client.get(&format!("{path}/versions")).await.ok();
    let last = versions[0]["version"].as_i64().unwrap();
    assert!((2..=3).contains(&last), "{versions:#}");
    let back = client.post(&format!("{path}/rollback"), json!({"version": 1})).await.ok();
    assert_eq!(back["version"], 1);
    let session = client
        .session_of(json!({"browser_profile_id": profile, "browser_profile_access": "copy"}))
        .await;
    let seen = found(&client, &id_of(&session), &url).await;
    assert_eq!(seen, everything(&json!({"who": MARK})));
    client.send(Method::DELETE, &path, None).await;
    serving.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_was_removed_before_a_live_store_does_not_return() {
    let (origin, serving) = site().await;
    let url = format!("{origin}/");
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut page = opened(client, &id, &url).await;
    // Two such items exceed the size of `localStorage`.
    let set = |name: &str| format!("localStorage.setItem('{name}', '{MARK}'.repeat(400000)), 1");
    assert_eq!(page.evaluate(&set("former")).await, 1);
    let folder = server.programs(&id).join("profile/Default/Local Storage");
    eventually("the item is written", async || {
        let mut written = Vec::new();
        with_mark(&folder, MARK, &mut written);
        (!written.is_empty()).then_some(())
    })
    .await;
    assert_eq!(page.evaluate(&format!("localStorage.clear(), {}", set("later"))).await, 1);
    let store = format!("/v1/browser_sessions/{id}/profile");
    let stored = client.post(&store, json!({"name": "Later"})).await.ok();
    client.close(&id).await.ok();
    let from = json!({"browser_profile_id": stored["browser_profile_id"]});
    let id = id_of(&client.session_of(from).await);
    let mut page = opened(client, &id, &url).await;
    assert_eq!(page.evaluate("Object.keys(localStorage).join()").await, "later");
    client.close(&id).await.ok();
    serving.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debug_sessions_login_outlives_its_session_and_its_server() {
    let (origin, serving) = site().await;
    let url = format!("{origin}/");
    let server = Setup::real().start().await;
    let client = &server.client;
    let cookies = json!([{"block_type": "cookies", "label": "c", "action": "get"}]);
    let blocks = json!([{"block_type": "goto_url", "label": "a", "url": url}, cookies[0]]);
    let workflow = client.workflow(blocks).await;
    let path = format!("/v1/debug-session/{workflow}");
    let first = client.get(&path).await.ok();
    assert_eq!(first["restored_profile_version"], json!(null));
    let session = first["browser_session_id"].as_str().unwrap();
    let mut page = opened(client, session, &url).await;
    assert_eq!(page.evaluate(&leave()).await, "left");

    // It ends, and is replaced.
    client.close(session).await.ok();
    let second = client.get(&path).await.ok();
    assert_eq!(second["replaced_reason"], "session_closed");
    assert_eq!(second["restored_profile_version"], 1, "{second:#}");
    let session = second["browser_session_id"].as_str().unwrap();
    assert_eq!(found(client, session, &url).await, everything(&json!({"who": MARK})));
    let profile = second["pbs_browser_profile_id"].clone();
    let named = client
        .post(&format!("/v1/browser_sessions/{session}/profile"), json!({"name": "Shop"}))
        .await
        .ok();

    // A run starts from it.
    let asked = json!({"browser_profile_id": named["browser_profile_id"]});
    let run = client.run(&workflow, asked).await;
    let ended = client.run_once(&run, "completed").await;
    assert!(ended["output"].to_string().contains(MARK), "{ended:#}");
    client.close(session).await.ok();

    // Another server has nothing but the files of the store.
    let other = Setup::real().start().await;
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(server.directory.join("d/profiles"))
        .arg(other.directory.join("d"))
        .status();
    assert!(copied.unwrap().success());
    let key = other.operator();
    let restore = async |body: Value| key.post("/admin/profiles/restore", body).await.ok();
    let refused = restore(json!({})).await;
    assert_eq!(refused["restored"], json!([]), "{refused:#}");
    assert!(refused["skipped"][0]["reason"].as_str().unwrap().contains("does not exist"));
    let organization = other.client.session_of(json!({})).await["organization_id"].clone();
    let restored = restore(json!({"organization_id": organization})).await;
    assert_eq!(restored["restored"].as_array().unwrap().len(), 2, "{restored:#}");
    for id in [&named["browser_profile_id"], &profile] {
        let session = other.client.session_of(json!({"browser_profile_id": id})).await;
        let seen = found(&other.client, &id_of(&session), &url).await;
        assert_eq!(seen, everything(&json!({"who": MARK})));
    }
    serving.abort();
    other.stop().await;
    server.stop().await;
}
