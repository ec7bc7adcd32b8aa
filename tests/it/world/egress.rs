//! The egress of a real browser: changes while it runs, and refusals.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use super::Site;
use super::adoption::Page;
use crate::support::client::{Answer, id_of};
use crate::support::{Client, PATIENCE, Setup, eventually};

async fn change(client: &Client, id: &str, egress: Value) -> Answer {
    let path = format!("/v1/browser_sessions/{id}");
    client.send(Method::PATCH, &path, Some(json!({ "egress": egress }))).await
}

async fn check(client: &Client, id: &str, url: &str, egress: Value) -> Value {
    let path = format!("/v1/browser_sessions/{id}/egress/check");
    client.post(&path, json!({ "url": url, "egress": egress })).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_is_narrowed_and_widened_without_a_restart() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let url = site.page("click.html");
    let session = client.session_of(json!({ "start_url": url })).await;
    let id = id_of(&session);
    assert_ne!(session["isolation"]["network"], "none", "{session:#}");
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    let browser = server.program(&id, "chromium");
    let reaches = format!("fetch('{url}?' + Math.random()).then(it => it.status, () => 0)");
    assert_eq!(page.evaluate(&reaches).await, 200);

    let denied = json!({ "deny": ["127.0.0.0/8"] });
    assert_eq!(check(client, &id, &url, Value::Null).await["ok"], true);
    let trial = check(client, &id, &url, denied.clone()).await;
    assert_eq!((&trial["ok"], &trial["code"]), (&json!(false), &json!("host_denied")));
    assert_eq!(page.evaluate(&reaches).await, 200, "a trial changes nothing");
    change(client, &id, denied).await.ok();
    assert_eq!(page.evaluate(&reaches).await, 403);
    // A session cannot widen what the server allows.
    change(client, &id, json!({ "deny": null, "allow": ["10.0.0.0/8", "127.0.0.1"] })).await.ok();
    assert_eq!(page.evaluate(&reaches).await, 200);
    let trial = check(client, &id, "http://10.255.255.1/", Value::Null).await;
    assert_eq!(trial["code"], "address_not_public", "{trial:#}");
    // The organization narrows all of its sessions.
    let lists = json!({ "allow": [], "deny": ["127.0.0.1"] });
    let put = client.send(Method::PUT, "/v1/egress", Some(lists)).await.ok();
    assert_eq!(put["not_in_force"], json!([]));
    assert_eq!(page.evaluate(&reaches).await, 403);

    let seen = eventually("refusals and bytes are counted", async || {
        let session = client.look(&id).await;
        let refused = session["egress"]["refused"].as_array().unwrap().len();
        let received = session["usage"]["egress_bytes_received"].as_u64().unwrap_or(0);
        (refused > 0 && received > 0).then_some(session)
    })
    .await;
    assert_eq!(seen["egress"]["refused"][0]["code"], "host_denied");
    assert_eq!(server.program(&id, "chromium"), browser, "the browser was not restarted");

    // A killed egress program is restarted with the same policy, and so is a browser.
    crate::support::TestServer::kill(browser);
    client.once(&id, "running").await;
    let trial = eventually("it can be tried again", async || {
        let path = format!("/v1/browser_sessions/{id}/egress/check");
        let answer = client.post(&path, json!({ "url": url })).await;
        (answer.status == 200).then(|| answer.ok())
    })
    .await;
    assert_eq!(trial["code"], "host_denied", "{trial:#}");
    client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_page_of_https_has_its_reason_in_the_run_the_session_and_the_events() {
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let goto = json!([{ "block_type": "goto_url", "label": "g", "url": "https://10.255.255.1/" }]);
    let workflow = client.workflow(goto).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    let failed = client.run_once(&run, "failed").await;
    let reason = failed["failure_reason"].as_str().unwrap();
    assert!(reason.contains("`10.255.255.1:443`") && reason.contains("`egress.allow`"), "{reason}");
    let refused = eventually("the run shows the refusal", async || {
        let run = client.run_of(&run).await;
        run["egress_refused"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(refused["target"], "10.255.255.1:443");
    assert_eq!(refused["code"], "address_not_public");
    let why = client.get(&format!("/v1/runs/{run}/explain")).await.ok();
    assert!(why["details"].to_string().contains("refused 10.255.255.1:443"), "{why:#}");
    let events = client.events(&format!("/v1/browser_sessions/{id}/events")).await.to_string();
    assert!(events.contains("session.egress_refused"), "{events}");
    client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_has_used_up_its_traffic_is_cut_off_until_the_limit_is_higher() {
    let site = Site::start().await;
    let mut server = Setup::real().start().await;
    let url = site.page("click.html");
    let id = id_of(&server.client.session_of(json!({ "start_url": url })).await);
    let mut page = Page::of(&server.client, &id).await;
    page.loaded(&url).await;
    let organizations = server.operator().get("/admin/organizations").await.ok();
    let path = organizations[0]["organization_id"].as_str().unwrap().to_owned();
    let path = format!("/admin/organizations/{path}");
    let limit = async |server: &crate::support::TestServer, limit: Value| {
        let quotas = json!({ "quotas": { "egress_mib_per_day": limit } });
        server.operator().send(Method::PATCH, &path, Some(quotas)).await.ok()
    };
    limit(&server, json!(2)).await;
    let reaches = format!("fetch('{url}?' + Math.random()).then(it => it.status, () => 0)");
    assert_eq!(page.evaluate(&reaches).await, 200);

    // Short bodies, which are sent before the response.
    let sends = format!(
        "Promise.all(Array.from({{ length: 10 }}, () => fetch('{url}', {{ method: 'POST', \
         body: 'x'.repeat(60000) }}).then(() => 1, () => 0))).then(() => 1)"
    );
    let client = server.client.clone();
    let closed = async |client: &Client| {
        let trial = check(client, &id, &url, Value::Null).await;
        (trial["code"] == "quota_exceeded").then_some(())
    };
    let began = Instant::now();
    while closed(&client).await.is_none() {
        assert!(began.elapsed() < PATIENCE, "the egress is not closed");
        page.evaluate(&sends).await;
    }
    assert_eq!(page.evaluate(&reaches).await, 403);
    client.ask_for_session(json!({})).await.problem(429, "quota_exceeded");
    let used = client.get("/v1/quotas").await.ok()["egress_mib_per_day"].clone();
    assert!(used["used"].as_u64().unwrap() >= 2 && used["resets_at"].is_string(), "{used:#}");
    drop(page);

    // The next server has the former usage.
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    server.serve().await;
    let client = server.client.clone();
    client.once(&id, "running").await;
    client.ask_for_session(json!({})).await.problem(429, "quota_exceeded");
    eventually("the egress is still closed", async || closed(&client).await).await;
    limit(&server, json!(100)).await;
    let mut page = Page::of(&client, &id).await;
    let began = Instant::now();
    while page.evaluate(&reaches).await != 200 {
        assert!(began.elapsed() < PATIENCE, "the page is not reached again");
    }
    client.close(&id).await.ok();
    server.stop().await;
}
