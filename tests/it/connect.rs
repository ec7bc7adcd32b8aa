//! `WS /v1/connect`: one address that makes or joins a session, drives it, and releases it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::client::{Client, Lease, id_of};
use crate::support::driver::Driver;
use crate::support::{PATIENCE, Setup, eventually, on_both_databases};

/// The address with this query and the key.
fn address(client: &Client, query: &str) -> String {
    client.socket_url(&format!("/v1/connect?apikey={}&{query}", client.key()))
}

/// The live session of a name.
async fn named(client: &Client, name: &str) -> Option<Value> {
    let sessions = client.list().await;
    let mut found = sessions.into_iter().filter(|session| session["name"] == name);
    let first = found.next();
    assert!(found.next().is_none(), "two sessions have the name {name}");
    first
}

async fn held_by_a_client(client: &Client, name: &str) -> String {
    let session = eventually("a client holds the session", async || {
        named(client, name).await.filter(|session| session["runnable_id"].is_string())
    })
    .await;
    let holder = session["runnable_id"].as_str().unwrap();
    assert!(holder.starts_with("connect-"), "{session}");
    assert_eq!(session["runnable_type"], "external");
    id_of(&session)
}

async fn vacant(client: &Client, id: &str) {
    eventually("the session is vacant", async || {
        let session = client.look(id).await;
        (session["status"] == "running" && session["runnable_id"].is_null()).then_some(())
    })
    .await;
}

/// Sends a handshake and does not wait for its answer.
async fn half(client: &Client, query: &str) -> TcpStream {
    let host = client.base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET /v1/connect?{query} HTTP/1.1\r\nHost: {host}\r\nx-api-key: {}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
        client.key()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_made_driven_and_closed_with_its_socket_unless_it_is_kept() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let query = "name=one&tags=a,%20b&start_url=https://a.example/&timeout_seconds=600";
    let mut driver = Driver::at(&address(client, query)).await;
    driver.asks().await;
    let id = held_by_a_client(client, "one").await;
    let session = client.look(&id).await;
    assert_eq!(session["tags"], json!(["a", "b"]), "{session}");
    drop(driver);
    client.once(&id, "completed").await;

    let kept = address(client, "name=kept&keep=true");
    let mut request = kept.as_str().into_client_request().unwrap();
    let offers = "greenroom.ticket.eA, devtools".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", offers);
    let (socket, answer) = connect_async(request).await.unwrap();
    let id = held_by_a_client(client, "kept").await;
    assert_eq!(answer.headers()["x-greenroom-session"], id.as_str());
    assert_eq!(answer.headers()["sec-websocket-protocol"], "devtools");
    drop(socket);
    vacant(client, &id).await;
    Driver::at(&kept).await.asks().await;
    vacant(client, &id).await;
    assert_eq!(named(client, "kept").await.map(|it| id_of(&it)), Some(id), "the same session");

    // Without a name, each client has a session of its own.
    let (one, two) =
        (Driver::at(&address(client, "")).await, Driver::at(&address(client, "")).await);
    assert_eq!(client.list().await.len(), 3);
    drop((one, two));
    eventually("both are closed", async || (client.list().await.len() == 1).then_some(())).await;
    server.stop().await;
}

on_both_databases! {
    async fn of_two_clients_at_once_one_makes_the_session_and_the_other_joins_it(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let dial = |query: &'static str| {
            let address = address(client, query);
            tokio::spawn(async move { Driver::dial(&address).await })
        };
        let both = [dial("name=n"), dial("name=n")];
        let mut admitted = Vec::new();
        let mut refused = Vec::new();
        for dialed in both {
            match dialed.await.unwrap() {
                Ok(driver) => admitted.push(driver),
                Err(refusal) => refused.push(refusal),
            }
        }
        assert_eq!(admitted.len(), 1);
        assert_eq!(refused, [(409, "session_occupied".to_owned())]);
        let first = held_by_a_client(client, "n").await;

        // One that waits gets a session of its own when the first one is closed with its client.
        let waiting = dial("name=n&wait=30");
        eventually("it waits", async || {
            let session = client.look(&first).await;
            session["occupancy"]["waiters"].as_array().is_some_and(|it| !it.is_empty()).then_some(())
        })
        .await;
        drop(admitted);
        let mut next = waiting.await.unwrap().unwrap_or_else(|refused| panic!("{refused:?}"));
        next.asks().await;
        client.once(&first, "completed").await;
        assert_ne!(held_by_a_client(client, "n").await, first);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_joined_is_released_and_never_closed() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = id_of(&client.session_of(json!({ "name": "mine" })).await);
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let refused = Driver::refused(&address(client, "name=mine")).await;
    assert_eq!(refused, (409, "session_occupied".to_owned()));
    let foreign = server.another_organization().await;
    let mut theirs = Driver::at(&address(&foreign, "name=mine")).await;
    theirs.asks().await;
    assert_ne!(held_by_a_client(&foreign, "mine").await, id, "names are of an organization");

    let waiting = {
        let address = address(client, "name=mine&wait=30");
        tokio::spawn(async move { Driver::dial(&address).await })
    };
    eventually("it waits", async || {
        let session = client.look(&id).await;
        session["occupancy"]["waiters"].as_array().is_some_and(|it| !it.is_empty()).then_some(())
    })
    .await;
    client.release(&id, &lease).await.ok();
    let mut driver = waiting.await.unwrap().unwrap_or_else(|refused| panic!("{refused:?}"));
    driver.asks().await;
    assert_eq!(held_by_a_client(client, "mine").await, id);
    drop(driver);
    vacant(client, &id).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_lease_was_replaced_is_left_to_the_new_holder() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let mut driver = Driver::at(&address(client, "name=n")).await;
    let id = held_by_a_client(client, "n").await;
    let rotate = format!("/v1/browser_sessions/{id}/rotate");
    let rotated = client.post(&rotate, json!({})).await.ok();
    let lease = Lease::of(&rotated["lease"]);
    assert_eq!(driver.closed().await, "occupancy-lost");
    drop(driver);
    // Nothing shows that the former client's release was refused: the subject of the test is time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.heartbeat(&id, &lease).await.ok();
    assert_eq!(held_by_a_client(client, "n").await, id);
    client.release(&id, &lease).await.ok();
    client.once(&id, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_for_one_that_makes_the_session_no_longer_than_it_said() {
    // The browser never shows that it is ready.
    let server = Setup::fakes().fake("chromium", "never").start().await;
    let client = &server.client;
    let making = half(client, "name=slow").await;
    eventually("it is starting", async || named(client, "slow").await).await;
    let refused = Driver::refused(&address(client, "name=slow")).await;
    assert_eq!(refused, (409, "name_contended".to_owned()));
    drop(making);
    eventually("it is closed", async || client.list().await.is_empty().then_some(())).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_given_up_leaves_nothing() {
    let server = Setup::fakes().set("desktop.start_deadline_seconds", "60").start().await;
    let client = &server.client;
    let id = id_of(&client.session_of(json!({ "name": "busy" })).await);
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let queued = half(client, "name=busy&wait=60").await;
    let waiters = async |count: usize| {
        eventually("the queue is as expected", async || {
            let session = client.look(&id).await;
            (session["occupancy"]["waiters"].as_array().map_or(0, Vec::len) == count).then_some(())
        })
        .await;
    };
    waiters(1).await;
    drop(queued);
    waiters(0).await;
    client.release(&id, &lease).await.ok();
    vacant(client, &id).await;
    server.stop().await;

    // The browser never shows that it is ready.
    let server = Setup::fakes().fake("chromium", "never").start().await;
    let client = &server.client;
    let starting = half(client, "name=slow&keep=true").await;
    let session = eventually("it is starting", async || named(client, "slow").await).await;
    drop(starting);
    let ended = eventually("it is closed", async || {
        let session = client.look(&id_of(&session)).await;
        session["completed_at"].is_string().then_some(session)
    })
    .await;
    assert_eq!(ended["status"], "completed", "{ended}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_an_answer_before_the_upgrade() {
    let server = Setup::fakes().set("sessions.max_sessions", "1").start().await;
    let client = &server.client;
    let refused = async |query: &str| Driver::refused(&address(client, query)).await;
    let invalid = (422, "invalid_request".to_owned());
    for query in ["wait=x", "name=", "nmae=n", "start_url=ftp://a.example", "timeout=0"] {
        assert_eq!(refused(query).await, invalid, "{query}");
    }
    assert_eq!(refused("profile=bp_1").await, (404, "browser_profile_unknown".to_owned()));
    let stranger = client.socket_url("/v1/connect");
    assert_eq!(Driver::refused(&stranger).await, (403, "credentials_invalid".to_owned()));
    client.get("/v1/connect").await.problem(426, "websocket_expected");
    assert_eq!(client.list().await, Vec::<Value>::new());
    let _first = Driver::at(&address(client, "name=a")).await;
    assert_eq!(refused("name=b").await.0, 429);

    // Bytes that a client sends before the answer to its handshake belong to no protocol.
    let mut early = half(client, "name=a&wait=60").await;
    early.write_all(b"early").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, early.read_exact(&mut answer)).await.expect("silence").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    server.stop().await;

    let server = Setup::fakes().fake("chromium", "exit").start().await;
    let refused = Driver::refused(&address(&server.client, "name=broken")).await;
    assert_eq!(refused.0, 424, "{refused:?}");
    assert_eq!(server.client.list().await, Vec::<Value>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_renewed_while_the_socket_lives_and_lapses_after_the_end_of_the_server() {
    let setup = Setup::fakes().set("sessions.max_lease_seconds", "3");
    let mut server = setup.set("sessions.default_lease_seconds", "3").start().await;
    let client = server.client.clone();
    let mut driver = Driver::at(&address(&client, "name=n")).await;
    let mut kept = Driver::at(&address(&client, "name=k&keep=true")).await;
    let (id, stays) = (held_by_a_client(&client, "n").await, held_by_a_client(&client, "k").await);
    // Longer than the lease: the subject of the test is time.
    tokio::time::sleep(Duration::from_secs(4)).await;
    driver.asks().await;
    kept.asks().await;
    assert_eq!(held_by_a_client(&client, "n").await, id);

    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    let client = server.client.clone();
    client.once(&id, "completed").await;
    vacant(&client, &stays).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_closes_what_its_clients_have_made() {
    let mut server = Setup::fakes().argument("--keep-sessions").start().await;
    let client = server.client.clone();
    let _driver = Driver::at(&address(&client, "name=n")).await;
    let id = held_by_a_client(&client, "n").await;
    server.signal(Signal::TERM);
    server.ended().await;
    server.serve().await;
    eventually("it has ended", async || {
        (server.client.look(&id).await["completed_at"].is_string()).then_some(())
    })
    .await;
    server.stop().await;
}
