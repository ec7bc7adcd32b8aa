//! Agents over MCP, with fake desktops: admission, the protocol, handles and their queues.

use serde_json::{Value, json};

use crate::support::Setup;
use crate::support::agent::Agent;
use crate::support::client::Lease;

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_speaks_every_revision_and_needs_a_credential() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let agent = Agent::of(client);
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let hello = json!({
            "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
        });
        let welcome = agent.request("initialize", hello).await;
        assert_eq!(welcome["protocolVersion"], revision);
        assert_eq!(welcome["serverInfo"]["name"], "greenroom");
        assert!(welcome["instructions"].as_str().unwrap().contains("session_create"));
    }
    let (status, _) =
        agent.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    assert_eq!(status, 202);
    let tools = agent.tools().await;
    for tool in ["session_create", "navigate", "snapshot", "click", "ask_person", "evaluate"] {
        assert!(tools.iter().any(|it| it == tool), "{tool} is missing of {tools:?}");
    }

    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let address = format!("{}/mcp", client.base);
    for key in [None, Some("gr_wrong".to_owned())] {
        let (status, body) = Agent::at(address.clone(), key).send(&list).await;
        assert_eq!((status, &body["code"]), (403, &json!("credentials_invalid")), "{body}");
    }
    let unknown =
        json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "x" } });
    let (_, answer) = agent.send(&unknown).await;
    assert_eq!((&answer["id"], answer["error"]["code"].as_i64()), (&json!(7), Some(-32602)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_narrows_the_tools_and_a_setting_forbids_scripts() {
    let server = Setup::fakes().set("mcp.evaluate", "false").start().await;
    let client = &server.client;
    let key = || Some(client.key().to_owned());
    let all = Agent::of(client).tools().await;
    assert!(!all.iter().any(|tool| tool == "evaluate"), "{all:?}");
    let reading = Agent::at(format!("{}/mcp?tools=read", client.base), key());
    let tools = reading.tools().await;
    assert!(
        tools.iter().any(|it| it == "snapshot") && !tools.iter().any(|it| it == "click"),
        "{tools:?}"
    );
    let click = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "click", "arguments": {} },
    });
    let (_, answer) = reading.send(&click).await;
    assert_eq!(answer["error"]["code"], -32602, "what is not offered cannot be called: {answer}");
    let (status, body) =
        Agent::at(format!("{}/mcp?tools=write", client.base), key()).send(&click).await;
    assert_eq!((status, &body["code"]), (422, &json!("invalid_request")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_a_lease_that_no_other_agent_shares() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let agent = Agent::of(client);
    let created =
        agent.call("session_create", json!({ "name": "shop", "agent": "ann" })).await.ok();
    let (browser, id) = (created.field("browser"), created.field("browser_session_id"));
    assert!(browser.starts_with(&format!("{id}.")), "{browser}");
    let shown = client.get(&format!("/v1/browser_sessions/{id}")).await.ok();
    assert_eq!(shown["runnable_type"], "external");
    assert!(shown["runnable_id"].as_str().unwrap().starts_with("ann."), "{shown}");

    // Another agent learns by whom it is held; so does a client of the API.
    let refused = agent.call("session_open", json!({ "browser": id, "agent": "bob" })).await;
    assert!(refused.text().contains("ann."), "{}", refused.text());
    refused.fails("session_occupied");
    client.begin(&id, "bob", 60).await.problem(409, "session_occupied");
    let listed = agent.call("session_list", json!({ "name": "shop" })).await.ok();
    assert!(listed.text().contains("held by ann."), "{}", listed.text());

    // Handles that were never given, of nobody, or of another organization.
    let other = Agent::of(&server.another_organization().await);
    other.call("session_show", json!({ "browser": browser })).await.fails("session_unknown");
    other.call("tabs", json!({ "browser": browser })).await.fails("session_unknown");
    let guessed = format!("{id}.bcdfghjk");
    agent.call("tabs", json!({ "browser": guessed })).await.fails("handle_lapsed");
    agent.call("tabs", json!({ "browser": "tab 1" })).await.fails("handle_invalid");

    agent.call("session_release", json!({ "browser": browser })).await.ok();
    agent.call("session_release", json!({ "browser": browser })).await.fails("handle_lapsed");
    let begun = client.begin(&id, "bob", 60).await.ok();
    agent.call("session_open", json!({ "browser": browser })).await.fails("session_occupied");
    client.release(&id, &Lease::of(&begun)).await.ok();
    agent.call("session_open", json!({ "browser": browser })).await.ok();
    agent.call("session_close", json!({ "browser": browser })).await.ok();
    agent.call("session_open", json!({ "browser": id })).await.fails("session_closed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_keeps_its_place_in_the_queue_between_calls() {
    let server = Setup::fakes().set("mcp.call_seconds", "6").start().await;
    let client = &server.client;
    let (agent, id) = (Agent::of(client), client.session_id().await);
    let begun = client.begin(&id, "ann", 60).await.ok();
    let asked = json!({ "browser": id, "wait_seconds": 60, "agent": "bob" });
    let waits = agent.call("session_open", asked).await.ok();
    assert_eq!(waits.field("status"), "pending");
    let browser = waits.field("browser");
    let shown = client.get(&format!("/v1/browser_sessions/{id}")).await.ok();
    assert_eq!(shown["occupancy"]["waiters"].as_array().map(Vec::len), Some(1), "{shown}");

    client.release(&id, &Lease::of(&begun)).await.ok();
    let again = json!({ "browser": browser, "wait_seconds": 60, "agent": "bob" });
    assert_eq!(agent.call("session_open", again).await.ok().field("status"), "held");
    client.begin(&id, "cid", 60).await.problem(409, "session_occupied");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_lapses_without_calls_and_leaves_nothing() {
    let server =
        Setup::fakes().set("mcp.idle_seconds", "12").set("mcp.call_seconds", "10").start().await;
    let client = &server.client;
    let agent = Agent::of(client);
    let created = agent.call("session_create", json!({})).await.ok();
    let (browser, id) = (created.field("browser"), created.field("browser_session_id"));
    let free = async || {
        let shown = client.get(&format!("/v1/browser_sessions/{id}")).await.ok();
        shown["runnable_id"].is_null().then_some(())
    };
    crate::support::eventually("the handle lapses", free).await;
    agent.call("session_release", json!({ "browser": browser })).await.fails("handle_lapsed");
    let shown = client.get(&format!("/v1/browser_sessions/{id}")).await.ok();
    assert_eq!(shown["status"], "running", "the browser stays");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_outlive_a_killed_server() {
    let mut server = Setup::fakes().start().await;
    let agent_of = |server: &crate::support::server::TestServer| Agent::of(&server.client);
    let browser = agent_of(&server).browser().await;
    TestKill::kill(&mut server).await;
    let agent = agent_of(&server);
    let id = browser.split('.').next().unwrap().to_owned();
    agent.call("session_open", json!({ "browser": id })).await.fails("session_occupied");
    agent.call("session_release", json!({ "browser": browser })).await.ok();
    server.stop().await;
}

/// Kills a server and starts the next one on its data.
struct TestKill;

impl TestKill {
    async fn kill(server: &mut crate::support::server::TestServer) {
        server.signal(rustix::process::Signal::KILL);
        server.ended().await;
        server.serve().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_named_and_cost_nothing() {
    let server = Setup::fakes().start().await;
    let agent = Agent::of(&server.client);
    let wrong: [(&str, Value, &str); 6] = [
        ("session_create", json!({ "nmae": "x" }), "nmae"),
        ("session_create", json!({ "tags": "x".repeat(65) }), "tags"),
        ("navigate", json!({ "browser": "pbs_1.bcdfghjk", "url": "file:///etc/passwd" }), "url"),
        ("press", json!({ "browser": "pbs_1.bcdfghjk", "keys": ["Nokey"] }), "keys[0]"),
        ("wait", json!({ "browser": "pbs_1.bcdfghjk" }), "target"),
        ("click", json!({ "browser": 7, "target": "e1" }), "browser"),
    ];
    for (tool, arguments, field) in wrong {
        let refused = agent.call(tool, arguments).await;
        assert!(refused.text().contains(field), "{tool}: {}", refused.text());
        refused.fails("invalid_request");
    }
    let live = server.client.get("/v1/browser_sessions").await.ok();
    assert_eq!(live, json!([]), "nothing was made");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_the_endpoint_of_its_session_alone() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let (id, other) = (client.session_id().await, client.session_id().await);
    let asked = json!({ "role": "drive" });
    let ticket = client.post(&format!("/v1/browser_sessions/{id}/viewers"), asked).await.ok();
    let secret = ticket["ticket"].as_str().unwrap();
    let at = |id: &str| {
        Agent::at(format!("{}/v1/browser_sessions/{id}/mcp?ticket={secret}", client.base), None)
    };
    let agent = at(&id);
    let held = agent.call("session_open", json!({ "browser": id })).await.ok();
    let browser = held.field("browser");
    agent.call("session_open", json!({ "browser": other })).await.fails("session_unknown");
    agent.call("session_create", json!({})).await.fails("key_insufficient");
    agent
        .call("ask_person", json!({ "browser": browser, "message": "x" }))
        .await
        .fails("ticket_insufficient");
    agent.call("session_release", json!({ "browser": browser })).await.ok();
    let (status, _) =
        at(&other).send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await;
    assert_eq!(status, 403);
    server.stop().await;
}
