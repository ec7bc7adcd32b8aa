//! DevTools connections with a lease last as long as the lease.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::client::Lease;
use crate::support::{Client, PATIENCE, Setup, eventually};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn address(begun: &Value) -> &str {
    begun["browser_address"].as_str().expect("an address")
}

async fn dial(address: &str) -> Socket {
    connect_async(address).await.unwrap_or_else(|cause| panic!("{address}: {cause}")).0
}

/// Status and code of the refusal of a connection.
async fn refused(address: &str) -> (u16, String) {
    let Err(Error::Http(answer)) = connect_async(address).await else {
        panic!("{address}: admitted")
    };
    let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
    (answer.status().as_u16(), body["code"].as_str().unwrap().to_owned())
}

async fn asks(socket: &mut Socket) {
    let command = json!({"id": 7, "method": "Browser.getVersion"}).to_string();
    socket.send(Message::Text(command.into())).await.unwrap();
    let answer = timeout(PATIENCE, socket.next()).await.expect("silence").unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("Stand-in"), "{answer}");
}

/// The code and the word that a connection is closed with.
async fn closed(socket: &mut Socket) -> (u16, String) {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("it is not closed") {
            Some(Ok(Message::Close(Some(close)))) => {
                return (close.code.into(), close.reason.to_string());
            }
            Some(Ok(_)) => {}
            other => panic!("closed without a word: {other:?}"),
        }
    }
}

async fn vacant(client: &Client, id: &str) {
    eventually("it is vacant", async || {
        (client.look(id).await["occupancy"]["state"] == "vacant").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_lease_needs_no_key_and_is_closed_with_a_reason_when_it_is_released() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let begun = client.begin(&id, "ann", 60).await.ok();
    let lease = Lease::of(&begun);
    assert!(!address(&begun).contains(client.key()));
    let mut driver = dial(address(&begun)).await;
    asks(&mut driver).await;
    client.heartbeat(&id, &lease).await.ok();
    asks(&mut driver).await;

    client.release(&id, &lease).await.ok();
    assert_eq!(closed(&mut driver).await, (4412, "occupancy-lost".to_owned()));
    assert_eq!(client.look(&id).await["status"], "running", "the browser stays");
    assert!(!server.log().contains(&lease.token), "the secret is logged");

    // Late connections with the old lease, with and without a key.
    assert_eq!(refused(address(&begun)).await, (409, "occupancy_lost".to_owned()));
    let keyed = format!("{}&apikey={}", address(&begun), client.key());
    assert_eq!(refused(&keyed).await, (409, "occupancy_lost".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_whose_lease_lapses_is_cut_off_and_the_next_one_drives() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let ann = client.begin(&id, "ann", 1).await.ok();
    let mut silent = dial(address(&ann)).await;
    asks(&mut silent).await;
    assert_eq!(closed(&mut silent).await, (4412, "occupancy-lost".to_owned()));
    vacant(client, &id).await;

    let bob = client.begin(&id, "bob", 60).await.ok();
    let mut next = dial(address(&bob)).await;
    asks(&mut next).await;
    // A second begin gives a new lease, and the former lease has ended.
    let body = json!({"runnable_id": "bob", "lease_token": bob["lease_token"]});
    let again = client.post(&format!("/v1/browser_sessions/{id}/begin"), body).await.ok();
    assert_eq!(closed(&mut next).await, (4412, "occupancy-lost".to_owned()));
    let mut last = dial(address(&again)).await;
    asks(&mut last).await;
    client.close(&id).await.ok();
    assert_eq!(closed(&mut last).await, (1000, "browser-closed".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_opens_its_own_session_and_only_with_its_own_secret() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let (id, other) = (client.session_id().await, client.session_id().await);
    let begun = client.begin(&id, "ann", 60).await.ok();
    client.begin(&other, "eve", 60).await.ok();
    let lost = || (409, "occupancy_lost".to_owned());
    assert_eq!(refused(&address(&begun).replace(&id, &other)).await, lost());
    assert_eq!(refused(&address(&begun).replace("generation=1", "generation=2")).await, lost());
    assert_eq!(refused(&address(&begun).replace(&id, "pbs_1")).await, lost());
    let half = address(&begun).split('&').next().unwrap().to_owned();
    assert_eq!(refused(&half).await, (422, "invalid_request".to_owned()));
    let bare = half.split('?').next().unwrap().to_owned();
    assert_eq!(refused(&bare).await, (403, "credentials_invalid".to_owned()));

    // An `http` address, from which Playwright first requests the WebSocket's address.
    let http = address(&begun).replacen("ws", "http", 1).replace("/cdp?", "/cdp/json/version/?");
    let path = http.strip_prefix(&client.base).unwrap();
    let version = server.stranger().get(path).await.ok();
    assert_eq!(version["webSocketDebuggerUrl"], address(&begun));
    server.stop().await;
}
