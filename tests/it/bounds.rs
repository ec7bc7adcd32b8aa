//! Bounds of the resources that clients use: each bound is exceeded from outside, while the memory and the
//! descriptors of the server are measured.

use std::fs;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{PATIENCE, Setup, TestServer, eventually};

/// The memory that the server holds, in KiB.
fn memory(server: &TestServer) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The open sockets of the server. Files are not among them: its database opens some when it is first used.
fn open_sockets(server: &TestServer) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let targets = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// The files that the server has open.
fn descriptors(server: &TestServer) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

async fn connect(server: &TestServer) -> TcpStream {
    let address = server.client.base.strip_prefix("http://").unwrap().to_owned();
    TcpStream::connect(address).await.unwrap()
}

/// The answer up to the end of the connection.
async fn rest(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    // A reset is an end as well.
    let _ = timeout(PATIENCE, read).await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_to_their_end_hold_neither_memory_nor_connections() {
    const EACH: usize = 1 << 20;
    let server = Setup::fakes()
        .set("http.max_body_bytes", EACH.to_string())
        .set("http.max_bodies_bytes", (4 * EACH).to_string())
        .set("http.body_seconds", "3")
        .start()
        .await;
    server.client.get("/v1/browser_sessions").await.ok();
    let (memory_before, descriptors_before) = (memory(&server), descriptors(&server));

    let sends = (0..60).map(|_| async {
        let mut socket = connect(&server).await;
        let head = format!(
            "POST /v1/browser_sessions HTTP/1.1\r\nHost: a\r\nx-api-key: {}\r\n\
             Content-Length: {EACH}\r\n\r\n",
            server.client.key()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        // All but the end. A request that is refused meanwhile accepts no more.
        let _ = timeout(Duration::from_secs(1), socket.write_all(&vec![b' '; EACH - 1])).await;
        socket
    });
    let sockets = futures_util::future::join_all(sends).await;
    // A short body is read in any case.
    server.client.post("/v1/browser_sessions", json!({"widht": 1})).await.wrong_fields();
    let held = memory(&server).saturating_sub(memory_before);
    assert!(held < 40 * 1024, "{held} KiB are held by bodies");

    let answers = futures_util::future::join_all(sockets.into_iter().map(rest)).await;
    let count = |code: &str| answers.iter().filter(|answer| answer.contains(code)).count();
    assert!(count("body_too_slow") >= 1, "{:?}", answers.first());
    assert!(count("too_many_bodies") >= 1, "{:?}", answers.first());
    eventually("the connections are closed", async || {
        (descriptors(&server) <= descriptors_before + 4).then_some(())
    })
    .await;
    let large = json!({"browser_type": "x".repeat(EACH / 2)});
    let answer = server.client.post("/v1/browser_sessions", large).await;
    assert_ne!(answer.status, 429, "the room is given back");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_heads_that_do_not_come_end() {
    const MOST: usize = 16;
    let server = Setup::fakes().set("http.max_connections", MOST.to_string()).start().await;
    let before = open_sockets(&server);
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let mut socket = connect(&server).await;
        socket.write_all(b"GET /v1/browser_sessions HTTP/1.1\r\nHost:").await.unwrap();
        sockets.push(socket);
    }
    eventually("some are accepted", async || (open_sockets(&server) > before).then_some(())).await;
    // Two sockets for each connection, and one worker's share may be rounded up.
    let most = before + 2 * (MOST + 8);
    let accepted = open_sockets(&server);
    assert!(accepted <= most, "{accepted} sockets, {before} before");
    // Accepted connections without a head are closed, which makes room for others.
    let first = sockets.remove(0);
    let answer = rest(first).await;
    assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    assert!(open_sockets(&server) <= most);
    drop(sockets);
    eventually("another client is served", async || {
        (server.client.get("/healthz").await.status == 200).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_60_kb_is_a_short_log_line_and_nonsense_is_no_error() {
    let server = Setup::fakes().start().await;
    let before = server.log().len();
    let long = format!("/v1/{}", "x".repeat(60_000));
    let status = server.client.get(&long).await.status;
    assert!((400..500).contains(&status), "{status}");
    for nonsense in ["\u{0}\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  HTTP/1.1\r\n\r\n"] {
        let mut socket = connect(&server).await;
        socket.write_all(nonsense.as_bytes()).await.unwrap();
        rest(socket).await;
    }
    let log = server.log().split_off(before);
    assert!(log.lines().all(|line| line.len() < 2_000), "a long line");
    assert!(!log.contains("ERROR"), "{log}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_leave_behind_is_refused_beyond_its_bound() {
    let server = Setup::fakes()
        .set("sessions.max_tickets", "2")
        .set("webhooks.max_webhooks", "2")
        .set("webhooks.allow_private_targets", "true")
        .start()
        .await;
    let client = &server.client;
    let id = client.session_id().await;
    let viewers = format!("/v1/browser_sessions/{id}/viewers");
    let hook = json!({"url": "http://127.0.0.1:9/"});
    for _ in 0..2 {
        client.post(&viewers, json!({"role": "watch"})).await.ok();
        client.post("/v1/webhooks", hook.clone()).await.ok();
    }
    let before = (memory(&server), descriptors(&server));
    for _ in 0..200 {
        client.post(&viewers, json!({"role": "watch"})).await.problem(429, "too_many_tickets");
        client.post("/v1/webhooks", hook.clone()).await.problem(429, "too_many_webhooks");
    }
    // A message that is too long closes its channel. The channels are tried one after the other.
    for page in 0..5 {
        let who = format!("apikey={}&client_id=page{page}", client.key());
        let path = format!("/v1/stream/messages/browser_session/{id}?{who}");
        let (socket, _) = connect_async(client.socket_url(&path)).await.unwrap();
        let (mut out, mut back) = socket.split();
        let long = json!({"kind": "clipboard-paste", "text": "x".repeat(7 << 20)}).to_string();
        let closed = async {
            loop {
                match back.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|it| u16::from(it.code)),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        // It is closed during the send, so the code may not arrive.
        let both = async { tokio::join!(out.send(Message::text(long)), closed).1 };
        let code = timeout(PATIENCE, both).await.expect("it stays open");
        assert!(code.is_none_or(|code| code == 1009), "{code:?}");
    }
    let held = memory(&server).saturating_sub(before.0);
    assert!(held < 60 * 1024, "{held} KiB more");
    eventually("the channels are closed", async || {
        (descriptors(&server) <= before.1 + 4).then_some(())
    })
    .await;
    server.stop().await;
}
