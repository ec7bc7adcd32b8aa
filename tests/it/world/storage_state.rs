//! Storage states: logins that move between a session and the browser of Playwright.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::adoption::Page;
use super::automation::{client_script, drive};
use super::{Site, installed, run};
use crate::support::client::{Lease, id_of};
use crate::support::{Client, Setup, TestServer, eventually};

/// Runs the client's script with Playwright's own browser, and returns what a page finds there.
async fn playwright(action: &str, site: &Site, file: &std::path::Path) -> Value {
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(client_script("playwright_state.py")).arg("/usr/bin/chromium");
    let printed = run(command.args([action, &site.url]).arg(file)).await;
    serde_json::from_str(&printed).unwrap()
}

/// The login that a page of the session finds.
async fn found(client: &Client, id: &str, site: &Site) -> Value {
    drive(client, id, "playwright_state.py", &[&site.url]).await
}

fn path(id: &str) -> String {
    format!("/v1/browser_sessions/{id}/storage_state")
}

/// The addresses of the tabs, and the number of other targets that are pages of the web.
async fn tabs(client: &Client, id: &str) -> (Vec<Value>, usize) {
    let mut page = Page::of(client, id).await;
    let everything = json!({ "filter": [{}] });
    let targets = page.browser_call("Target.getTargets", everything).await;
    let targets = targets["targetInfos"].as_array().unwrap();
    let of = |kind: &'static str| targets.iter().filter(move |target| target["type"] == kind);
    (of("page").map(|target| target["url"].clone()).collect(), of("other").count())
}

/// Kills the browser of a session, and waits for the next one.
async fn crash(server: &TestServer, id: &str) {
    let killed = server.program(id, "/chromium");
    TestServer::kill(killed);
    eventually("another browser runs", async || {
        let programs = server.programs_of(id);
        let is_new = |(pid, name): &(i32, String)| *pid != killed && name.contains("/chromium");
        let is_back = server.client.look(id).await["status"] == "running";
        (programs.iter().any(is_new) && is_back).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_moves_from_playwright_into_sessions_and_back() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let file = server.directory.join("state.json");
    let expected = playwright("make", &site, &file).await;
    assert_eq!((&expected["who"], &expected["version"]), (&json!("Signed in as Ann"), &json!(3)));
    let state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();

    // Into a session that runs, which a killed browser does not undo.
    let id = client.session_id().await;
    let state_path = path(&id);
    let put = |body: &Value| client.send(Method::PUT, &state_path, Some(body.clone()));
    let applied = put(&state).await.ok();
    let counted = json!({ "browser_session_id": id, "cookies": 2, "origins": 1 });
    assert_eq!(applied, counted);
    assert_eq!(tabs(client, &id).await, (vec![json!("about:blank")], 0));
    crash(&server, &id).await;
    assert_eq!(found(client, &id, &site).await, expected);
    // Again while a tab shows the site: in place, and the browser stores it when it likes.
    assert_eq!(put(&state).await.ok()["origins"], 1);

    // Out of it, into Playwright's browser.
    let read = client.get(&path(&id)).await.ok();
    assert!(read.get("warning").is_none(), "{read:#}");
    let back = server.directory.join("back.json");
    std::fs::write(&back, read.to_string()).unwrap();
    assert_eq!(playwright("use", &site, &back).await, expected);
    let nothing = client.get(&format!("{}?origins=https://a.example", path(&id))).await.ok();
    assert_eq!(nothing, json!({ "cookies": [], "origins": [] }));
    let brief = client.get(&format!("{}?indexed_db=false", path(&id))).await.ok();
    assert!(brief["origins"][0].get("indexedDB").is_none(), "{brief:#}");

    // With the start of a session: its first page is logged in.
    let start = site.page("index.html");
    let asked = json!({ "start_url": start, "storage_state": read });
    let other = id_of(&client.session_of(asked).await);
    let mut page = Page::of(client, &other).await;
    page.loaded(&start).await;
    let who = "document.querySelector('#who').textContent";
    assert_eq!(page.evaluate(who).await, "Signed in as Ann");
    assert_eq!(page.evaluate("history.length").await, 1, "no page was before it");
    crash(&server, &other).await;
    assert_eq!(found(client, &other, &site).await["who"], "Signed in as Ann");

    // In place of everything else, by the holder.
    let lease = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    let proof = format!("generation={}&lease_token={}", lease.generation, lease.token);
    let replace = format!("{}?replace=true&{proof}", path(&id));
    let only = json!({ "cookies": [], "origins": [{
        "origin": "https://shop.example",
        "localStorage": [{ "name": "cart", "value": "3" }],
    }] });
    client.send(Method::PUT, &replace, Some(only)).await.ok();
    let left = client.get(&path(&id)).await.ok();
    assert_eq!(left["cookies"], json!([]), "{left:#}");
    let origins = left["origins"].as_array().unwrap();
    assert_eq!(origins.len(), 1, "{left:#}");
    assert_eq!(origins[0]["localStorage"], json!([{ "name": "cart", "value": "3" }]));
    server.stop().await;
}
