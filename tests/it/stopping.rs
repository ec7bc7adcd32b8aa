//! The end of the server.

use std::fs::File;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::client::Lease;
use crate::support::viewer::{Messages, Viewer};
use crate::support::{PATIENCE, Setup, TestServer, eventually, on_both_databases};

on_both_databases! {
    async fn a_stop_lets_occupants_finish_and_takes_nothing_new(database) {
        let setup = Setup::fakes().on(database).set("stop.grace_seconds", "25");
        let mut server = setup.start().await;
        let client = server.client.clone();
        let id = client.session_id().await;
        let idle = client.session_id().await;
        let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());

        let began = Instant::now();
        server.signal(Signal::TERM);
        eventually("it drains", async || {
            (client.get("/readyz").await.status == 503).then_some(())
        })
        .await;
        client.get("/readyz").await.problem(503, "not_ready");
        assert_eq!(client.get("/healthz").await.status, 200);
        client.ask_for_session(json!({})).await.problem(503, "server_stopping");
        client.begin(&idle, "bob", 60).await.problem(503, "server_stopping");
        client.heartbeat(&id, &lease).await.ok();
        assert_eq!(client.look(&id).await["runnable_id"], "ann");
        client.release(&id, &lease).await.ok();

        server.ended_clean().await;
        assert!(began.elapsed().as_secs() < 20, "it waited without a reason");

        // The ends that it caused are stored.
        server.serve().await;
        for id in [&id, &idle] {
            assert_eq!(server.client.look(id).await["status"], "completed");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_occupants() {
    let mut server = Setup::fakes().set("stop.grace_seconds", "600").start().await;
    let id = server.client.session_id().await;
    server.client.begin(&id, "ann", 600).await.ok();
    server.signal(Signal::TERM);
    let client = server.client.clone();
    eventually("it drains", async || (client.get("/readyz").await.status == 503).then_some(()))
        .await;
    server.signal(Signal::INT);
    server.ended_clean().await;
    server.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_a_session_starts_calls_the_start_off() {
    let setup = Setup::fakes().fake("chromium", "never").set("desktop.stop_grace_seconds", "1");
    let mut server = setup.set("desktop.start_deadline_seconds", "60").start().await;
    let client = server.client.clone();
    let made = client.ask_for_session(json!({"wait_seconds": 0})).await.ok();
    assert_eq!(made["status"], "created");
    server.signal(Signal::TERM);
    server.ended_clean().await;
    server.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_takes_nothing_new_tells_what_is_left_and_can_be_undone() {
    let server = Setup::fakes().start().await;
    let (client, operator) = (&server.client, server.operator());
    let (id, idle) = (client.session_id().await, client.session_id().await);
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    assert_eq!(operator.get("/admin/drain").await.ok()["state"], "open");
    let path = format!("/v1/stream/messages/browser_session/{id}");
    let mut viewer = Messages::open(client, &path).await;

    let begun = operator.post("/admin/drain", json!({"deadline_seconds": 600})).await.ok();
    assert_eq!(begun["state"], "draining");
    assert_eq!(begun["drained"], false);
    assert_eq!(begun["left"]["occupants"], 1);
    assert_eq!(begun["left"]["sessions"], 2);
    assert!(begun["since"].is_string() && begun["deadline"].is_string(), "{begun:#}");
    let warned = viewer.of_kind("server-draining").await;
    assert_eq!(warned["draining"], true);
    assert_eq!(warned["deadline"], begun["deadline"]);

    client.ask_for_session(json!({})).await.problem(503, "server_stopping");
    client.begin(&idle, "bob", 60).await.problem(503, "server_stopping");
    client.get("/readyz").await.problem(503, "not_ready");
    client.heartbeat(&id, &lease).await.ok();

    // The command waits for the occupant.
    let waiting = server.greenroom(&["drain", "--wait"]);
    let releasing = async {
        eventually("the command drains", async || {
            // It has no own deadline.
            let drain = operator.get("/admin/drain").await.ok();
            drain["deadline"].is_null().then_some(())
        })
        .await;
        client.release(&id, &lease).await.ok();
    };
    let (output, ()) = tokio::join!(waiting, releasing);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 occupants"), "{output:?}");
    assert_eq!(operator.get("/admin/drain").await.ok()["drained"], true);

    let output = server.greenroom(&["drain", "--undo"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(viewer.of_kind("server-draining").await["draining"], true, "another deadline");
    assert_eq!(viewer.of_kind("server-draining").await["draining"], false);
    assert_eq!(client.get("/readyz").await.status, 200);
    client.begin(&idle, "bob", 60).await.ok();
    client.post("/admin/drain", json!({})).await.problem(403, "key_insufficient");
    operator
        .post("/admin/drain", json!({"deadline_seconds": 1e9}))
        .await
        .problem(422, "invalid_request");
    drop(viewer);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cannot_be_undone_and_its_deadline_is_told() {
    let mut server = Setup::fakes().set("stop.grace_seconds", "600").start().await;
    let (client, operator) = (server.client.clone(), server.operator());
    let id = client.session_id().await;
    client.begin(&id, "ann", 600).await.ok();
    server.signal(Signal::TERM);
    let told = eventually("it stops", async || {
        let told = operator.get("/admin/drain").await.ok();
        (told["state"] == "stopping").then_some(told)
    })
    .await;
    assert!(told["deadline"].is_string(), "{told:#}");
    assert_eq!(told["left"]["occupants"], 1);
    operator.send(Method::DELETE, "/admin/drain", None).await.problem(503, "server_stopping");
    server.signal(Signal::TERM);
    server.ended_clean().await;
    server.gone().await;
}

/// Sends a request on a connection of its own, and returns the connection.
async fn asked(server: &TestServer, path: &str) -> TcpStream {
    let address = server.client.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nx-api-key: {}\r\n\r\n",
        server.client.key()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

/// Reads until the connection ends, and returns the number of bytes.
async fn rest(mut connection: TcpStream) -> usize {
    let mut bytes = Vec::new();
    timeout(PATIENCE, connection.read_to_end(&mut bytes)).await.expect("it does not end").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_idle_connections_at_once_and_others_after_their_answer() {
    const SIZE: usize = 24 << 20;
    let mut server = Setup::fakes().argument("--keep-sessions").start().await;
    let id = server.client.session_id().await;
    // Sparse, and larger than what the sockets of a connection hold.
    let file = File::create(server.programs(&id).join("uploads/large.bin")).unwrap();
    file.set_len(SIZE.try_into().unwrap()).unwrap();

    let mut idle = asked(&server, "/healthz").await;
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let path = format!("/v1/browser_sessions/{id}/files/uploads/large.bin");
    let mut slow = asked(&server, &path).await;
    slow.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let mut viewer = Viewer::of(&server.client, &id).await;

    server.signal(Signal::TERM);
    rest(idle).await;
    viewer.closed().await;
    assert!(rest(slow).await >= SIZE - head.len(), "the answer was cut off");
    server.ended().await;
    assert!(!server.log().contains("are cut off"), "{}", server.log());
    server.serve().await;
    server.client.close(&id).await.ok();
    server.stop().await;
}
