//! Discovery of DevTools below the path of a session, at its host name, and at a port of it.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::channel::Channel;
use crate::support::client::{Client, Lease, id_of};
use crate::support::driver::Driver;
use crate::support::{PATIENCE, Setup, TestServer, eventually};

fn below(id: &str, path: &str) -> String {
    format!("/v1/browser_sessions/{id}/cdp{path}")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

async fn put(client: &Client, path: &str) -> crate::support::client::Answer {
    client.send(Method::PUT, path, None).await
}

/// The status and the body of the answer to a request as it stands.
async fn raw(address: &str, request: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("silence").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.get(9..12).and_then(|it| it.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), body.to_owned())
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_listed_opened_activated_and_closed_with_addresses_that_open_by_themselves() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let key = format!("apikey={}", client.key());
    let listed = client.get(&below(&id, "/json/list")).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(client.get(&below(&id, "/json")).await.ok(), listed);
    assert_eq!(client.get(&below(&id, "/json/")).await.ok(), listed);
    let first = text(&listed[0], "id").to_owned();
    let plain = client.socket_url(&below(&id, &format!("/devtools/page/{first}")));
    assert_eq!(text(&listed[0], "webSocketDebuggerUrl"), plain, "a header is sent again");

    let stranger = server.stranger();
    let address = "https://a.example/?a=1&ticket=x";
    let same = format!("/json/new?{key}&https://a.example/?a=1&apikey=x");
    // A key in the address would be another key, so it is escaped.
    put(&stranger, &below(&id, &same)).await.problem(403, "credentials_invalid");
    let escaped = "https%3A%2F%2Fa.example%2F%3Fa%3D1%26ticket%3Dx";
    let opened = put(&stranger, &below(&id, &format!("/json/new?{key}&{escaped}"))).await.ok();
    assert_eq!((text(&opened, "url"), text(&opened, "type")), (address, "page"));
    let second = text(&opened, "id").to_owned();
    let mut driver = Driver::at(text(&opened, "webSocketDebuggerUrl")).await;
    driver.asks().await;
    let plain = put(client, &below(&id, &format!("/json/new?{address}"))).await.ok();
    assert_eq!(text(&plain, "url"), address, "a key in the header comes first");
    let blank = put(client, &below(&id, "/json/new")).await.ok();
    assert_eq!(text(&blank, "url"), "about:blank");

    let listed = client.get(&below(&id, "/json/list")).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 4, "the worker is no page: {listed}");
    let activated = client.get(&below(&id, &format!("/json/activate/{second}"))).await;
    assert_eq!((activated.status, activated.text()), (200, "Target activated".to_owned()));
    let closed = client.get(&below(&id, &format!("/json/close/{second}"))).await;
    assert_eq!((closed.status, closed.text()), (200, "Target is closing".to_owned()));
    for path in ["close", "activate"] {
        for unknown in [second.as_str(), "0", "a%20b"] {
            let path = below(&id, &format!("/json/{path}/{unknown}"));
            client.get(&path).await.problem(404, "target_unknown");
        }
    }
    client.get(&below(&id, "/json/new")).await.problem(405, "method_not_allowed");
    let protocol = client.get(&below(&id, "/json/protocol")).await;
    assert!(protocol.bytes.len() > 200_000);
    assert_eq!(protocol.ok()["domains"].as_array().unwrap().len(), 4000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_page_leads_to_that_page_under_the_rules_of_every_driver() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let listed = client.get(&below(&id, &format!("/json?apikey={}", client.key()))).await.ok();
    let page = text(&listed[0], "id");
    let key = format!("?apikey={}", client.key());
    let at = |path: &str| below(&id, &format!("/devtools/{path}{key}"));
    let mut socket = Channel::open(client, &at(&format!("page/{page}"))).await;
    let ask = |id: i64, method: &str| json!({ "id": id, "method": method });
    socket.say(ask(1, "Target.getTargetInfo")).await;
    let said = socket.next().await.unwrap();
    assert_eq!(said["result"]["targetInfo"]["targetId"], page, "{said}");
    socket.say(ask(2, "Tracing.start")).await;
    let said = socket.next().await.unwrap()["error"].to_string();
    assert!(said.contains("isolation.devtools_allow"), "{said}");

    // Discovery does what a driver may do.
    for url in ["file:///etc/passwd", "chrome://settings", "view-source:file:///etc/passwd"] {
        let refused = put(client, &below(&id, &format!("/json/new?{url}"))).await;
        let refused = refused.problem(403, "command_refused");
        assert!(refused["detail"].to_string().contains("Target.createTarget"), "{refused}");
    }

    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    socket.say(ask(3, "Input.insertText")).await;
    socket.say(ask(4, "Target.getTargetInfo")).await;
    assert_eq!(socket.next().await.unwrap()["id"], 4, "what acts waits");
    let opening = {
        let (client, path) = (client.clone(), below(&id, "/json/new?about:blank"));
        tokio::spawn(async move { put(&client, &path).await })
    };
    eventually("the command counts as a driver", async || {
        let view = client.look(&id).await;
        (view["drivers"].as_u64() == Some(2) || view.get("drivers").is_none()).then_some(())
    })
    .await;
    let listed = client.get(&below(&id, "/json")).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 1, "it waits too");
    person.say(json!({ "kind": "cede-control" })).await;
    assert_eq!(socket.next().await.unwrap()["id"], 3);
    opening.await.unwrap().ok();

    for (path, code) in [
        ("page/0123", "target_unknown"),
        ("page/..", "target_unknown"),
        ("page/a%2Fb", "target_unknown"),
    ] {
        let url = client.socket_url(&at(path));
        let refused = Driver::refused(&url).await;
        assert!(refused.0 == 404, "{path}: {refused:?}");
        assert!(refused.1 == code || refused.1 == "route_unknown", "{path}: {refused:?}");
    }
    for path in ["browser", "browser/any-name"] {
        Driver::at(&client.socket_url(&at(path))).await.asks().await;
    }
    client.get(&below(&id, "")).await.problem(426, "websocket_expected");
    client.get(&below(&id, "/devtools/browser/x")).await.problem(426, "websocket_expected");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_discovery_is_refused_where_takeovers_refuse() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = id_of(&client.session_of(json!({ "on_takeover": "refuse" })).await);
    let listed = client.get(&below(&id, "/json")).await.ok();
    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    put(client, &below(&id, "/json/new")).await.problem(409, "control_held");
    let close = below(&id, &format!("/json/close/{}", text(&listed[0], "id")));
    client.get(&close).await.problem(409, "control_held");
    client.get(&below(&id, "/json")).await.ok();
    person.say(json!({ "kind": "cede-control" })).await;
    eventually("the agent has control", async || {
        (put(client, &below(&id, "/json/new")).await.status == 200).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_admits_leases_and_tickets_and_nobody_of_another_organization() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let listed = client.get(&below(&id, "/json")).await.ok();
    let page = text(&listed[0], "id").to_owned();
    let other = server.another_organization().await;
    for path in ["", "/list", "/version", "/protocol", "/close/0", "/activate/0"] {
        let path = below(&id, &format!("/json{path}"));
        other.get(&path).await.problem(404, "session_unknown");
        server.stranger().get(&path).await.problem(403, "credentials_invalid");
    }
    put(&other, &below(&id, "/json/new")).await.problem(404, "session_unknown");
    let foreign = format!("/devtools/page/{page}?apikey={}", other.key());
    let refused = Driver::refused(&client.socket_url(&below(&id, &foreign))).await;
    assert_eq!(refused, (404, "session_unknown".to_owned()));

    let begun = client.begin(&id, "ann", 60).await.ok();
    let lease = Lease::of(&begun);
    let query = format!("generation={}&lease_token={}", lease.generation, lease.token);
    let stranger = server.stranger();
    let listed = stranger.get(&below(&id, &format!("/json?{query}"))).await.ok();
    let address = text(&listed[0], "webSocketDebuggerUrl");
    assert!(address.ends_with(&query), "{address}");
    let mut driver = Driver::at(address).await;
    driver.asks().await;
    put(&stranger, &below(&id, &format!("/json/new?{query}&about:blank"))).await.ok();
    client.release(&id, &lease).await.ok();
    let after = stranger.get(&below(&id, &format!("/json?{query}"))).await;
    after.problem(409, "occupancy_lost");
    assert_eq!(Driver::refused(address).await, (409, "occupancy_lost".to_owned()));

    let viewers = format!("/v1/browser_sessions/{id}/viewers");
    let single = json!({ "role": "drive", "single_use": true });
    let ticket = client.post(&viewers, single).await.ok();
    let query = format!("ticket={}", text(&ticket, "ticket"));
    stranger.get(&below(&id, &format!("/json?{query}"))).await.ok();
    let refused = put(&stranger, &below(&id, &format!("/json/new?{query}"))).await;
    refused.problem(403, "ticket_insufficient");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_a_host_name_that_needs_a_credential_and_takes_no_page() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let address = client.base.strip_prefix("http://").unwrap();
    let port = address.split(':').next_back().unwrap();
    let host = format!("{}.localhost:{port}", id.replace('_', "-").to_uppercase());
    let get = async |path: &str, more: &str| {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
        raw(address, &head).await
    };
    let key = format!("x-api-key: {}\r\n", client.key());
    let (status, body) = get("/json/version", &key).await;
    assert_eq!(status, 200, "{body}");
    let found = json_of(&body);
    let start = format!("ws://{host}/devtools/browser/");
    assert!(text(&found, "webSocketDebuggerUrl").starts_with(&start), "{found}");
    let (status, body) = get(&format!("/json/list?apikey={}", client.key()), "").await;
    assert_eq!(status, 200, "{body}");
    let listed = json_of(&body);
    let page = text(&listed[0], "webSocketDebuggerUrl");
    assert!(page.starts_with(&format!("ws://{host}/devtools/page/")), "{page}");
    assert!(page.ends_with(&format!("?apikey={}", client.key())), "{page}");
    let path = page.split_once(&host).unwrap().1;
    let shake = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n";
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n{shake}\r\n");
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");

    assert_eq!(get("/json/version", "").await.0, 403);
    for origin in ["https://evil.example", "null", &format!("http://{host}")] {
        let (status, body) = get("/json/version", &format!("{key}Origin: {origin}\r\n")).await;
        assert_eq!((status, text(&json_of(&body), "code")), (403, "origin_refused"));
    }
    // The rest of the server is not at this name.
    for path in ["/v1/browser_sessions", "/healthz", "/console", "/../../healthz"] {
        assert_eq!(get(path, &key).await.0, 404, "{path}");
    }
    assert_eq!(get("/", &key).await.0, 426);
    server.stop().await;
}

/// Opens a port of the session, and returns its address.
async fn port(client: &Client, id: &str, query: &str) -> String {
    let opened = client.post(&below(id, &format!("/port{query}")), json!({})).await.ok();
    assert_eq!(text(&opened, "url"), format!("http://{}", text(&opened, "address")));
    text(&opened, "address").to_owned()
}

async fn with_ports() -> TestServer {
    Setup::fakes().set("isolation.devtools_ports", "true").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_a_session_needs_no_credential_and_ends_with_the_lease_it_was_opened_with() {
    let server = with_ports().await;
    let client = &server.client;
    let id = client.session_id().await;
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let query = format!("?generation={}&lease_token={}", lease.generation, lease.token);
    let address = port(&server.stranger(), &id, &query).await;
    let at = Client::new(&format!("http://{address}"), None);
    let found = at.get("/json/version").await.ok();
    let socket = text(&found, "webSocketDebuggerUrl").to_owned();
    assert!(socket.starts_with(&format!("ws://{address}/devtools/browser/")), "{socket}");
    assert!(!found.to_string().contains(&lease.token), "{found}");
    Driver::at(&socket).await.asks().await;
    let page = text(&at.get("/json/list").await.ok()[0], "webSocketDebuggerUrl").to_owned();
    let mut driver = Driver::at(&page).await;
    driver.asks().await;
    put(&at, "/json/new?file:///etc/passwd").await.problem(403, "command_refused");
    let opened = put(&at, "/json/new?https://a.example/?b=1&apikey=c").await.ok();
    assert_eq!(text(&opened, "url"), "https://a.example/?b=1&apikey=c");
    // The secret of the port stays between the port and the server.
    assert!(!server.log().contains("dp_"), "{}", server.log());

    client.release(&id, &lease).await.ok();
    eventually("the port is closed", async || {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_takes_neither_pages_nor_other_names_nor_what_leads_elsewhere() {
    let server = with_ports().await;
    let client = &server.client;
    let id = client.session_id().await;
    let address = port(client, &id, "").await;
    let number = address.split(':').next_back().unwrap();
    let ask = async |line: &str, host: &str, more: &str| {
        let (status, body) =
            raw(&address, &format!("{line} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).await;
        let code = serde_json::from_str::<Value>(&body).unwrap_or_default()["code"].clone();
        (status, code.as_str().unwrap_or_default().to_owned())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(ask("GET /json/version", &address, "").await, refused(200, ""));
    let local = format!("localhost:{number}");
    assert_eq!(ask("GET /json/version", &local, "").await, refused(200, ""));
    for more in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let answer = ask("GET /json/version", &address, more).await;
        assert_eq!(answer, refused(403, "origin_refused"), "{more}");
    }
    for host in ["evil.example", &format!("evil.example:{number}"), "127.0.0.1:1"] {
        let answer = ask("GET /json/version", host, "").await;
        assert_eq!(answer, refused(403, "host_refused"), "{host}");
    }
    assert_eq!(ask("POST /json/new", &address, "").await, refused(400, "bad_request"));
    let length = "Content-Length: 2\r\n";
    assert_eq!(ask("PUT /json/new", &address, length).await, refused(400, "bad_request"));
    for path in ["/v1/browser_sessions", "/../../../v1/browser_sessions", "/healthz"] {
        assert_eq!(ask(&format!("GET {path}"), &address, "").await.0, 404, "{path}");
    }
    // Without its secret, the header of a port opens nothing.
    let guessed = [("x-greenroom-port", "dp_x"), ("x-greenroom-peer", "127.0.0.1:1")];
    let path = below(&id, "/json/version");
    let answer = server.stranger().send_with(Method::GET, &path, None, &guessed).await.unwrap();
    answer.problem(403, "credentials_invalid");

    client.close(&id).await.ok();
    eventually("the port is closed", async || {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_opened_where_the_operator_permits_it_for_a_client_of_this_machine() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    let path = below(&id, "/port");
    server.client.post(&path, json!({})).await.problem(403, "ports_off");
    server.stop().await;

    let server = with_ports().await;
    let client = &server.client;
    let id = client.session_id().await;
    let path = below(&id, "/port");
    let forwarded = [("x-forwarded-for", "198.51.100.7")];
    let answer = client.send_with(Method::POST, &path, None, &forwarded).await.unwrap();
    answer.problem(403, "client_not_local");
    server
        .another_organization()
        .await
        .post(&path, json!({}))
        .await
        .problem(404, "session_unknown");
    let wrong = client.post(&format!("{path}?ttl_seconds=0"), json!({})).await.wrong_fields();
    assert!(wrong.contains_key("query.ttl_seconds"), "{wrong:?}");
    let short = port(client, &id, "?ttl_seconds=1").await;
    eventually("its time is over", async || {
        TcpStream::connect(&short).await.is_err().then_some(())
    })
    .await;
    for _ in 0..8 {
        port(client, &id, "").await;
    }
    let more = client.post(&path, json!({})).await;
    assert!(more.headers.contains_key("retry-after"));
    more.problem(429, "too_many_ports");
    server.stop().await;
}
