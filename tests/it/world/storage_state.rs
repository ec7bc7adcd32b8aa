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
        let is_new =
            |(pid, arguments): &(i32, String)| *pid != killed && TestServer::is_browser(arguments);
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

/// The items of an origin, by name.
fn items(state: &Value, origin: &str) -> std::collections::BTreeMap<String, Value> {
    let origins = state["origins"].as_array().unwrap();
    let of = origins.iter().find(|it| it["origin"] == origin);
    let items = of.and_then(|it| it["localStorage"].as_array().cloned()).unwrap_or_default();
    items.iter().map(|it| (it["name"].as_str().unwrap().to_owned(), it["value"].clone())).collect()
}

/// The values of cookies, by name.
fn cookies(state: &Value) -> std::collections::BTreeMap<String, Value> {
    let all = state["cookies"].as_array().unwrap().iter();
    all.map(|it| (it["name"].as_str().unwrap().to_owned(), it["value"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_moves_from_playwright_into_a_profile_and_out_of_it_without_a_browser() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let file = server.directory.join("state.json");
    let expected = playwright("make", &site, &file).await;
    let state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();

    // Into a profile, which no browser has used yet.
    let asked = json!({ "name": "Shop", "storage_state": state });
    let profile = client.post("/v1/browser_profiles", asked).await.ok();
    assert_eq!((&profile["version"], &profile["browser_version"]), (&json!(1), &json!(null)));
    let id = profile["browser_profile_id"].clone();
    let of_profile = format!("/v1/browser_profiles/{}/storage_state", id.as_str().unwrap());
    let read = client.get(&of_profile).await.ok();
    assert_eq!(cookies(&read), cookies(&state));
    assert_eq!(items(&read, &site.url), items(&state, &site.url));
    assert_eq!(read["origins"][0]["indexedDB"], state["origins"][0]["indexedDB"]);

    // The first page of a session has all of it.
    let start = site.page("index.html");
    let from = json!({ "browser_profile_id": id, "start_url": start });
    let session = id_of(&client.session_of(from.clone()).await);
    let mut page = Page::of(client, &session).await;
    page.loaded(&start).await;
    assert_eq!(page.evaluate("document.querySelector('#who').textContent").await, expected["who"]);
    assert_eq!(found(client, &session, &site).await, expected);
    let held = client.send(Method::PUT, &of_profile, Some(state.clone())).await;
    assert_eq!(held.problem(409, "profile_in_use")["writer"], json!(session));
    assert_eq!(page.evaluate("localStorage.later = 'yes'").await, "yes");
    client.close(&session).await.ok();

    // Out of the files that its browser has written, without another browser.
    let mut local = items(&state, &site.url);
    local.insert("later".to_owned(), json!("yes"));
    let read = client.get(&of_profile).await.ok();
    assert_eq!(cookies(&read), cookies(&state), "{read:#}");
    assert_eq!(items(&read, &site.url), local);
    let left_out = read["warning"].as_str().unwrap();
    assert!(left_out.contains(&format!("IndexedDB of {}", site.url)), "{left_out}");
    assert_eq!(client.get(&format!("{of_profile}?version=1")).await.ok()["warning"], json!(null));

    // In place of everything else.
    let origin = json!({ "origin": site.url, "localStorage": [{ "name": "only", "value": "3" }] });
    let only = json!({ "cookies": [], "origins": [origin] });
    let replace = format!("{of_profile}?replace=true");
    assert_eq!(client.send(Method::PUT, &replace, Some(only.clone())).await.ok()["version"], 3);
    let read = client.get(&of_profile).await.ok();
    assert_eq!(read, only);
    let session = id_of(&client.session_of(from).await);
    let left = found(client, &session, &site).await;
    assert_eq!(left["local"], json!({ "only": "3" }), "{left:#}");
    assert_eq!(left.get("version"), None, "{left:#}");
    assert!(!left["cookies"].to_string().contains("passing"), "{left:#}");
    server.stop().await;
}
