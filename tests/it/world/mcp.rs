//! Agents over MCP, with the real browser: pages, people, and faults within a call.

use serde_json::json;

use super::Site;
use crate::support::agent::Agent;
use crate::support::channel::Channel;
use crate::support::server::TestServer;
use crate::support::{Setup, eventually};

/// The reference that a snapshot gives to the line with this text.
#[track_caller]
fn reference(snapshot: &str, text: &str) -> String {
    let line = snapshot.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("no {text} in {snapshot}"));
    let rest = line.split_once("[ref=").unwrap_or_else(|| panic!("no reference in {line}")).1;
    rest.split_once(']').unwrap().0.to_owned()
}

/// The id of the session of a handle.
fn session_of(browser: &str) -> &str {
    browser.split_once('.').unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_signs_in_reads_and_closes() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let agent = Agent::of(&server.client);
    let browser = agent.browser().await;
    let opened = agent.does(&browser, "navigate", json!({ "url": site.page("login.html") })).await;
    assert!(opened.starts_with("Opened, status 200."), "{opened}");
    let snapshot = agent.does(&browser, "snapshot", json!({})).await;
    let (user, password) =
        (reference(&snapshot, "textbox \"Name"), reference(&snapshot, "textbox \"Password"));
    let fields =
        json!([{ "target": user, "value": "demo" }, { "target": password, "value": "curtain" }]);
    let filled = json!({ "fields": fields, "submit": true, "snapshot": true });
    let filled = agent.does(&browser, "fill_form", filled).await;
    assert!(filled.contains("Filled 2 fields.") && !filled.contains("curtain\""), "{filled}");
    agent.does(&browser, "wait", json!({ "target": "role=button[name=\"Sign out\"]" })).await;
    agent.does(&browser, "navigate", json!({ "url": site.page("products.html") })).await;

    let products = agent.does(&browser, "snapshot", json!({})).await;
    assert!(products.contains("Lamp") || products.contains("lamp"), "{products}");
    let stale = agent.call("click", json!({ "browser": browser, "target": user })).await;
    assert!(stale.text().contains("snapshot"), "{}", stale.text());
    stale.fails("stale_reference");
    let picture = agent.call("screenshot", json!({ "browser": browser })).await.ok();
    assert_eq!(picture.body["content"][1]["type"], "image", "{:#}", picture.body);
    let title = agent.does(&browser, "evaluate", json!({ "script": "document.title" })).await;
    assert!(title.contains("content of the page"), "{title}");
    let network = agent.does(&browser, "network", json!({ "url": "products" })).await;
    assert!(network.contains("GET") && network.contains("200"), "{network}");
    agent.call("session_close", json!({ "browser": browser })).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_asked_takes_control_and_returns_it() {
    let site = Site::start().await;
    let server = Setup::real().set("mcp.call_seconds", "8").start().await;
    let client = &server.client;
    let agent = Agent::of(client);
    let browser = agent.browser().await;
    agent.does(&browser, "navigate", json!({ "url": site.page("login.html") })).await;
    let asked = json!({ "browser": browser, "message": "sign in, please" });
    let asked = agent.call("ask_person", asked).await.ok();
    let (request, link) = (asked.field("request"), asked.field("link"));
    assert!(link.contains("#ticket="), "{link}");
    let progress = async || {
        let asked = json!({ "browser": browser, "request": request });
        agent.call("ask_person", asked).await.ok().text().to_owned()
    };
    assert!(progress().await.contains("no person"));

    let mut person = Channel::of(client, session_of(&browser), "tab").await;
    person.take_control().await;
    let click = json!({ "browser": browser, "target": "role=button" });
    let refused = agent.call("click", click.clone()).await;
    refused.fails("person_has_control");
    assert!(
        agent.does(&browser, "snapshot", json!({})).await.contains("textbox"),
        "reading goes on"
    );
    assert!(progress().await.contains("has control now"));
    person.say(json!({ "kind": "cede-control" })).await;
    assert!(progress().await.starts_with("returned"));
    agent.call("click", click).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_pages_dialogs_and_a_dead_browser_are_answers_within_the_time_of_a_call() {
    let site = Site::start().await;
    let server = Setup::real().set("mcp.call_seconds", "8").start().await;
    let agent = Agent::of(&server.client);
    let browser = agent.browser().await;
    agent.does(&browser, "navigate", json!({ "url": site.page("login.html") })).await;

    // A dialog is answered, and named.
    let asks = json!({ "script": "setTimeout(() => confirm('Delete?'), 0)" });
    agent.does(&browser, "evaluate", asks).await;
    let seen = async || {
        let waited = agent.does(&browser, "wait", json!({ "seconds": 0.2 })).await;
        waited.contains("Delete?").then_some(())
    };
    eventually("the dialog is named", seen).await;

    // A page that hangs.
    let forever = json!({ "browser": browser, "script": "for (;;) {}" });
    let hung = agent.call("evaluate", forever).await;
    let code = hung.body["structuredContent"]["code"].as_str().unwrap().to_owned();
    assert!(["call_timeout", "timeout"].contains(&code.as_str()), "{}", hung.text());
    let display = json!({ "browser": browser, "of": "display" });
    agent.call("screenshot", display).await.ok();

    // A browser that dies between two calls: the next call connects again.
    let id = session_of(&browser);
    TestServer::kill(server.program(id, "chromium"));
    let back = async || {
        let opened = json!({ "browser": browser, "url": site.page("login.html") });
        let opened = agent.call("navigate", opened).await;
        (opened.body["isError"] != true).then_some(())
    };
    eventually("the browser is driven again", back).await;
    agent
        .call("click", json!({ "browser": browser, "target": "e1" }))
        .await
        .fails("stale_reference");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_agents_at_once_do_not_cross_and_calls_of_one_follow_one_another() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let agent = Agent::of(&server.client);
    let mut browsers = Vec::new();
    for _ in 0..3 {
        browsers.push(agent.browser().await);
    }
    let drives = browsers.iter().enumerate().map(async |(index, browser)| {
        agent.does(browser, "navigate", json!({ "url": site.page("login.html") })).await;
        let name = format!("agent-{index}");
        let target = "css=input";
        let typed = async |text: String| {
            let asked = json!({ "browser": browser, "target": target, "text": text });
            agent.call("type", asked).await.ok();
        };
        // Twice at once: neither fails, and the field has one of them whole.
        tokio::join!(typed(name.clone()), typed(name.clone()));
        let read = json!({ "script": "document.querySelector('input').value" });
        assert!(agent.does(browser, "evaluate", read).await.contains(&format!("\"{name}\"")));
    });
    futures_util::future::join_all(drives).await;
    server.stop().await;
}
