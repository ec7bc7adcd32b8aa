//! Sessions with a browser from the pool: what they asked for is there, and stays after a crash.

use serde_json::{Value, json};

use super::Site;
use super::adoption::Page;
use crate::support::client::id_of;
use crate::support::{Client, Setup, TestServer, eventually};

/// Waits until a desktop is ready.
async fn filled(server: &TestServer) {
    let operator = server.operator();
    eventually("a desktop is ready", async || {
        let pool = operator.get("/admin/pool").await.ok();
        (pool["shapes"][0]["ready"] == 1).then_some(())
    })
    .await;
}

/// The state that a page finds.
async fn seen(client: &Client, id: &str, url: &str) -> Value {
    let mut page = Page::of(client, id).await;
    page.loaded(url).await;
    let script = "({
        kept: localStorage.getItem('kept'),
        cookie: document.cookie,
        is_dark: matchMedia('(prefers-color-scheme: dark)').matches,
        width: screen.width,
    })";
    page.resolve(script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_browser_has_the_state_the_settings_and_the_page_of_its_session() {
    let site = Site::start().await;
    let server = Setup::real().set("pool.ready", "1").start().await;
    let client = &server.client;
    filled(&server).await;
    let cookie = json!({
        "name": "who", "value": "ann", "domain": "127.0.0.1", "path": "/", "expires": -1,
        "httpOnly": false, "secure": false, "sameSite": "Lax",
    });
    let origin =
        json!({ "origin": site.url, "localStorage": [{ "name": "kept", "value": "yes" }] });
    let url = site.page("index.html");
    let session = client
        .session_of(json!({
            "url": url, "settings": { "color_scheme": "dark" },
            "storage_state": { "cookies": [cookie], "origins": [origin] },
        }))
        .await;
    assert_eq!(session["start"], "warm", "{session:#}");
    let id = id_of(&session);
    let expected = json!({
        "kept": "yes", "cookie": "who=ann", "is_dark": true, "width": 1920,
    });
    assert_eq!(seen(client, &id, &url).await, expected);

    // A recovered browser is the session's as well.
    let killed = server.program(&id, "/chromium");
    TestServer::kill(killed);
    eventually("another browser runs", async || {
        let programs = server.programs_of(&id);
        let is_new = programs.iter().any(|(pid, it)| *pid != killed && TestServer::is_browser(it));
        let runs = client.look(&id).await["status"] == "running";
        (is_new && runs).then_some(())
    })
    .await;
    assert_eq!(seen(client, &id, &url).await, expected);

    // The next one has nothing of it.
    filled(&server).await;
    let other = client.session_of(json!({ "url": url })).await;
    assert_eq!(other["start"], "warm");
    let found = seen(client, &id_of(&other), &url).await;
    assert_eq!((&found["kept"], &found["cookie"]), (&Value::Null, &json!("")), "{found:#}");
    server.stop().await;
}

const TITLE: &str = "Everything behind the curtain · Footlights";

/// The title that a session's page has at the address of the site.
async fn title(server: &TestServer, session: &Value, site: &Site) -> Value {
    let mut page = Page::of(&server.client, &id_of(session)).await;
    let url = site.page("index.html");
    page.call("Page.navigate", json!({ "url": url })).await;
    page.loaded(&url).await;
    page.resolve("document.title").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_browser_reaches_only_what_its_session_may() {
    let site = Site::start().await;
    let server = Setup::real().set("pool.ready", "1").start().await;
    filled(&server).await;
    let denied = json!({ "egress": { "deny": ["127.0.0.1"] } });
    let session = server.client.session_of(denied).await;
    assert_eq!(session["start"], "warm", "{session:#}");
    assert_ne!(title(&server, &session, &site).await, TITLE);
    filled(&server).await;
    let session = server.client.session_of(json!({})).await;
    assert_eq!(session["start"], "warm", "{session:#}");
    assert_eq!(title(&server, &session, &site).await, TITLE);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_of_sessions_are_measured_with_the_program_itself() {
    let server = Setup::real().set("pool.ready", "1").start().await;
    filled(&server).await;
    let key = server.client.key().to_owned();
    let arguments = ["bench", "lifecycle", "--rounds", "2", "--json", "--api-key", &key];
    let printed = server.greenroom(&arguments).await;
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&printed.stdout).unwrap();
    for step in ["create", "connect", "open page", "close", "all"] {
        assert_eq!(report["steps"][step]["count"], 2, "{step}");
    }
    assert!(report["figures"]["warm starts"].as_f64().unwrap() >= 1.0, "{report:#}");
    assert_eq!(server.client.list().await, Vec::<Value>::new());
    server.stop().await;
}
