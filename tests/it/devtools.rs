//! The DevTools proxy: the answers to a driver, its restrictions, and the bounds of the memory that it can
//! make the server use.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::channel::Channel;
use crate::support::client::id_of;
use crate::support::{Client, PATIENCE, Setup, TestServer, eventually};

/// A driver of a session that sends the key in a header.
struct Driver(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Driver {
    async fn dial(client: &Client, id: &str) -> Result<Self, Box<Error>> {
        let url = client.socket_url(&format!("/v1/browser_sessions/{id}/cdp"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("x-api-key", client.key().parse().unwrap());
        Ok(Self(connect_async(request).await.map_err(Box::new)?.0))
    }

    async fn connect(client: &Client, id: &str) -> Self {
        Self::dial(client, id).await.unwrap_or_else(|cause| panic!("{cause}"))
    }

    async fn send(&mut self, command: &Value) {
        self.0.send(Message::text(command.to_string())).await.unwrap();
    }

    /// The next message that is not a ping of the server.
    async fn hears(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("silence");
            let message = message.expect("an end").unwrap();
            if !message.is_ping() {
                return message;
            }
        }
    }

    /// The next answer; none if a pong arrives first.
    async fn answer(&mut self) -> Option<Value> {
        match self.hears().await {
            Message::Text(text) => Some(serde_json::from_str(&text).unwrap()),
            Message::Pong(_) => None,
            other @ (Message::Binary(_)
            | Message::Ping(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?}"),
        }
    }

    async fn asks(&mut self, command: &Value) -> Value {
        self.send(command).await;
        self.answer().await.expect("a pong")
    }

    async fn ping(&mut self) {
        self.0.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    }
}

/// A driver that sends raw bytes after the handshake.
async fn raw(client: &Client, id: &str) -> TcpStream {
    let address = client.base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /v1/browser_sessions/{id}/cdp HTTP/1.1\r\nHost: {address}\r\nx-api-key: {}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
        client.key()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    socket
}

/// A short text frame, as a client sends it.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

fn memory(server: &TestServer) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// The processor time that the server has used, in seconds.
fn processor(server: &TestServer) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u32 = [fields[11], fields[12]].iter().map(|it| it.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

fn types(id: i64) -> Value {
    json!({ "id": id, "method": "Input.insertText", "params": { "text": "x" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_closes_the_browser_is_answered_and_disconnected_and_the_browser_stays() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    for rule in ["hold", "share"] {
        let session = client.session_of(json!({ "on_takeover": rule })).await;
        let id = id_of(&session);
        let browser = server.program(&id, "chromium");
        let mut other = Driver::connect(client, &id).await;
        let mut driver = Driver::connect(client, &id).await;
        let close = json!({ "id": 7, "method": "Browser.close", "sessionId": "S" });
        let done = json!({ "id": 7, "result": {}, "sessionId": "S" });
        assert_eq!(driver.asks(&close).await, done);
        let Message::Close(Some(end)) = driver.hears().await else { panic!("not closed") };
        assert_eq!((u16::from(end.code), end.reason.as_str()), (1000, "detached"));

        let version = other.asks(&json!({ "id": 1, "method": "Browser.getVersion" })).await;
        assert_eq!(version["result"]["product"], "Stand-in/0", "the other driver stays connected");
        assert_eq!(server.program(&id, "chromium"), browser, "the same browser");
        assert_eq!(client.look(&id).await["status"], "running");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_drivers_than_the_setting_allows_are_refused_until_one_leaves() {
    let server = Setup::fakes().set("sessions.max_drivers", "2").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let first = Driver::connect(client, &id).await;
    let _second = Driver::connect(client, &id).await;
    let refused = Driver::dial(client, &id).await.err().expect("it was admitted");
    let Error::Http(answer) = *refused else { panic!("{refused}") };
    assert_eq!(answer.status(), 429);
    let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
    assert_eq!(body["code"], "too_many_drivers", "{body}");
    assert!(body["detail"].to_string().contains("sessions.max_drivers"), "{body}");

    // Each session has its own limit.
    let other = client.session_id().await;
    let _third = Driver::connect(client, &other).await;
    drop(first);
    eventually("the next driver is admitted", async || Driver::dial(client, &id).await.ok()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_acts_waits_for_the_person_and_what_reads_goes_on_without_a_gesture() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut driver = Driver::connect(client, &id).await;
    let call = |id: i64| {
        let params = json!({ "functionDeclaration": "f", "userGesture": true });
        json!({ "id": id, "method": "Runtime.callFunctionOn", "params": params })
    };
    // The fake answers with the parameters that it received.
    let params = |answer: &Value| answer["result"]["result"]["value"].clone();
    let before = driver.asks(&call(1)).await;
    assert_eq!(params(&before)["userGesture"], true, "{before}");

    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    for (id, method) in (2..).zip(["Input.insertText", "Fetch.enable", "Storage.clearCookies"]) {
        driver.send(&json!({ "id": id, "method": method })).await;
    }
    let meanwhile = driver.asks(&call(5)).await;
    assert_eq!(
        (&meanwhile["id"], params(&meanwhile)),
        (&json!(5), json!({ "functionDeclaration": "f" }))
    );

    person.say(json!({ "kind": "cede-control" })).await;
    for id in 2..5 {
        assert_eq!(driver.answer().await, Some(json!({ "id": id, "result": {} })));
    }
    assert_eq!(params(&driver.asks(&call(6)).await)["userGesture"], true, "as before");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_with_more_than_may_be_held_back_is_refused_the_rest_and_its_pings_are_answered() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut driver = Driver::connect(client, &id).await;
    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    let before = memory(&server);
    let text = "x".repeat(1 << 20);
    for id in 0..24 {
        let params = json!({ "text": text });
        driver.send(&json!({ "id": id, "method": "Input.insertText", "params": params })).await;
    }
    driver.ping().await;
    let mut refused = Vec::new();
    while let Some(answer) = driver.answer().await {
        assert!(answer["error"]["message"].to_string().contains("16 MiB"), "{answer}");
        refused.push(answer["id"].as_i64().unwrap());
    }
    // A pong may precede the last refusals, which another task sends.
    assert!(refused.iter().all(|id| *id >= 15), "{refused:?}");
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more for 24 MiB of commands", grown >> 20);

    person.say(json!({ "kind": "cede-control" })).await;
    let mut done = Vec::new();
    while done.len() < 15 {
        let answer = driver.answer().await.expect("a pong");
        match answer["result"].is_object() {
            true => done.push(answer["id"].as_i64().unwrap()),
            false => assert!(answer["error"].is_object(), "{answer}"),
        }
    }
    assert_eq!(done, (0..15).collect::<Vec<_>>(), "in their order");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_does_not_read_its_refusals_is_not_read_either() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = id_of(&client.session_of(json!({ "on_takeover": "refuse" })).await);
    let mut driver = raw(client, &id).await;
    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    let before = memory(&server);
    let commands = frame(&types(1).to_string()).repeat(1000);
    let most = (256 << 20) / commands.len();
    let flood = async {
        for sent in 0..most {
            // A second without a byte accepted: the peer does not read.
            if timeout(Duration::from_secs(1), driver.write_all(&commands)).await.is_err() {
                return Some(sent);
            }
        }
        None
    };
    let sent = timeout(PATIENCE * 2, flood).await.expect("it never ends");
    assert!(sent.is_some(), "256 MiB of commands were taken from a driver that does not read");
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more for refusals that nobody reads", grown >> 20);
    drop(driver);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_ping_keeps_what_is_held_back_waiting_without_work() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut driver = raw(client, &id).await;
    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    driver.write_all(&frame(&types(1).to_string())).await.unwrap();
    let ping = [0x89, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    let (half, rest) = ping.split_at(8);
    driver.write_all(half).await.unwrap();
    person.say(json!({ "kind": "cede-control" })).await;
    person.hears(|said| said["kind"] == "control" && said["by"] == "agent").await;

    // The measured work is that of a period.
    let before = processor(&server);
    sleep(Duration::from_secs(2)).await;
    let used = processor(&server) - before;
    assert!(used < 1.0, "{used} s of 2 s while half a ping has come");

    driver.write_all(rest).await.unwrap();
    let mut came = Vec::new();
    let answered = async {
        while !came.windows(7).any(|it| it == b"\"id\": 1") {
            came.push(driver.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, answered).await.expect("what was held back is never sent");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_too_long_to_be_judged_ends_the_connection_with_a_word() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut driver = raw(client, &id).await;
    let mut person = Channel::of(client, &id, "tab").await;
    person.take_control().await;
    let mut long = vec![0x81, 0xff];
    long.extend((101_u64 << 20).to_be_bytes());
    long.extend([0; 4]);
    long.extend(b"{\"");
    driver.write_all(&long).await.unwrap();
    let mut said = Vec::new();
    let ended = timeout(PATIENCE, driver.read_to_end(&mut said)).await;
    ended.expect("it is not closed").unwrap();
    assert_eq!(said.get(..4).map(|it| (it[0], it[2], it[3])), Some((0x88, 0x03, 0xf1)), "1009");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_names_the_version_and_an_address_that_opens_by_itself() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let path = format!("/v1/browser_sessions/{id}/cdp/json/version");
    let by_header = client.get(&path).await.ok();
    assert_eq!(by_header["Browser"], "Stand-in/0");
    let plain = client.socket_url(&format!("/v1/browser_sessions/{id}/cdp"));
    assert_eq!(by_header["webSocketDebuggerUrl"], plain.as_str(), "a header is sent again");

    let page = client.post("/v1/ui-session", json!({})).await.ok();
    let token = page["token"].as_str().unwrap();
    for query in [format!("apikey={}", client.key()), format!("token={token}")] {
        let found = server.stranger().get(&format!("{path}?{query}")).await.ok();
        let address = found["webSocketDebuggerUrl"].as_str().unwrap();
        connect_async(address).await.unwrap_or_else(|cause| panic!("{query}: {cause}"));
    }
    server.stop().await;
}
/// A frame that is not the last of its message, or not the first.
fn fragment(first: u8, text: &str) -> Vec<u8> {
    let mut frame = frame(text);
    frame[0] = first;
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_past_the_page_is_refused_in_any_form_and_spared_by_its_setting() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mut driver = Driver::connect(client, &id).await;
    let spared = |answer: &Value, method: &str| {
        let said = answer["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(&format!("isolation.devtools_allow = [\"{method}\"]")), "{answer}");
    };
    let load = json!({ "id": 3, "method": "Extensions.loadUnpacked", "params": { "path": "/x" } });
    spared(&driver.asks(&load).await, "Extensions.loadUnpacked");
    let inner = json!({ "sessionId": "S", "message": load.to_string() });
    let outer = json!({ "id": 4, "method": "Target.sendMessageToTarget", "params": inner });
    let answer = driver.asks(&outer).await;
    assert_eq!(answer["id"], 4);
    spared(&answer, "Extensions.loadUnpacked");
    let unlisted = driver.asks(&json!({ "id": 5, "method": "Nobody.knows" })).await;
    assert_eq!(unlisted["error"]["code"], -32601);
    spared(&unlisted, "Nobody.knows");
    for url in ["file:///etc/passwd", "view-source:file:///etc/passwd", "chrome://settings"] {
        let tab = json!({ "id": 6, "method": "Target.createTarget", "params": { "url": url } });
        spared(&driver.asks(&tab).await, "Target.createTarget");
    }
    let binary = Message::binary(load.to_string().into_bytes());
    driver.0.send(binary).await.unwrap();
    spared(&driver.answer().await.expect("a pong"), "Extensions.loadUnpacked");
    let twice = r#"{"id":7,"method":"Page.enable","meth\u006fd":"Extensions.loadUnpacked"}"#;
    driver.0.send(Message::text(twice)).await.unwrap();
    assert!(driver.answer().await.expect("a pong")["error"].is_object());

    // In pieces, with a ping between them.
    let mut pieces = raw(client, &id).await;
    let stream = [
        fragment(0x01, r#"{"id":8,"method":"Extensions."#),
        vec![0x89, 0x80, 0, 0, 0, 0],
        fragment(0x80, r#"loadUnpacked"}"#),
    ];
    pieces.write_all(&stream.concat()).await.unwrap();
    let mut came = Vec::new();
    let answered = async {
        while !String::from_utf8_lossy(&came).contains("devtools_allow") {
            came.push(pieces.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, answered).await.expect("it was not refused");
    server.stop().await;

    let allowed = r#"["Extensions.*", "Nobody.knows"]"#;
    let server = Setup::fakes().set("isolation.devtools_allow", allowed).start().await;
    let id = server.client.session_id().await;
    let mut driver = Driver::connect(&server.client, &id).await;
    assert!(driver.asks(&load).await["result"].is_object());
    assert!(driver.asks(&json!({ "id": 5, "method": "Nobody.knows" })).await["result"].is_object());
    assert!(driver.asks(&json!({ "id": 6, "method": "Tracing.start" })).await["error"].is_object());
    server.stop().await;

    let server = Setup::fakes().set("isolation.devtools_rules", "false").start().await;
    let id = server.client.session_id().await;
    let mut driver = Driver::connect(&server.client, &id).await;
    assert!(
        driver.asks(&json!({ "id": 6, "method": "Tracing.start" })).await["result"].is_object()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_commands_of_all_drivers_together_take_no_more_than_their_bound() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let before = memory(&server);
    let length = 99_usize << 20;
    let mut head = vec![0x81, 0xff];
    head.extend(u64::try_from(length).unwrap().to_be_bytes());
    head.extend([0; 4]);
    let piece = vec![b' '; 1 << 20];
    let mut drivers = Vec::new();
    let mut taken = 0_usize;
    for _ in 0..4 {
        let mut driver = raw(client, &id).await;
        driver.write_all(&head).await.unwrap();
        for _ in 0..90 {
            // A second without a byte accepted: the peer does not read.
            if timeout(Duration::from_secs(1), driver.write_all(&piece)).await.is_err() {
                break;
            }
            taken += piece.len();
        }
        drivers.push(driver);
    }
    let most = (256 << 20) + (4 << 20) + (32 << 20); // And the buffers of sockets.
    assert!(taken < most, "{} MiB were taken", taken >> 20);
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 512 << 20, "{} MiB more", grown >> 20);
    // Small commands need no share.
    let mut small = Driver::connect(client, &id).await;
    let version = small.asks(&json!({ "id": 1, "method": "Browser.getVersion" })).await;
    assert_eq!(version["result"]["product"], "Stand-in/0");
    drop(drivers);
    server.stop().await;
}
