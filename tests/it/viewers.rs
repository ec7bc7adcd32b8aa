//! Viewers: tickets, limits, disconnection, and credentials in place of a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::channel::Channel;
use crate::support::client::Client;
use crate::support::viewer::{Viewer, refusal};
use crate::support::{PATIENCE, Setup, TestServer, eventually};

fn sight(client: &Client, id: &str, who: &str) -> String {
    client.socket_url(&format!("/v1/stream/vnc/browser_session/{id}?{who}"))
}

async fn invite(client: &Client, id: &str, body: Value) -> Value {
    client.post(&format!("/v1/browser_sessions/{id}/viewers"), body).await.ok()
}

async fn show_out(client: &Client, id: &str, viewer: &Value) {
    let path = format!("/v1/browser_sessions/{id}/viewers/{}", viewer.as_str().unwrap());
    assert_eq!(client.send(Method::DELETE, &path, None).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_for_one_page_is_the_first_pages_alone() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let made = invite(client, &id, json!({ "role": "watch", "uses": "single" })).await;
    let ticket = made["ticket"].as_str().unwrap();
    let as_page = |page: &str| sight(client, &id, &format!("ticket={ticket}{page}"));
    assert_eq!(refusal(&as_page("")).await, 1002, "a page without a name");
    let first = Viewer::at(&as_page("&client_id=first")).await;
    assert_eq!(refusal(&as_page("&client_id=second")).await, 1002);
    drop(first);
    Viewer::at(&as_page("&client_id=first")).await;
    assert_eq!(refusal(&as_page("&client_id=second")).await, 1002, "the first has only left");

    let many = invite(client, &id, json!({ "role": "watch" })).await;
    for page in ["one", "two"] {
        let who = format!("ticket={}&client_id={page}", many["ticket"].as_str().unwrap());
        Viewer::at(&sight(client, &id, &who)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_shown_out_one_by_one_or_with_their_ticket() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let made = invite(client, &id, json!({ "role": "control", "label": "Ann" })).await;
    let who = |page: &str| format!("ticket={}&client_id={page}", made["ticket"].as_str().unwrap());
    let mut one = Viewer::at(&sight(client, &id, &who("one"))).await;
    let mut two = Viewer::at(&sight(client, &id, &who("two"))).await;
    let messages = format!("/v1/stream/messages/browser_session/{id}?{}", who("one"));
    let mut channel = Channel::open(client, &messages).await;
    channel.say(json!({ "kind": "take-control" })).await;
    channel.hears(|said| said["you"] == true).await;

    let path = format!("/v1/browser_sessions/{id}/viewers");
    let listed = client.get(&path).await.ok();
    let connected = listed["connected"].as_array().unwrap();
    assert_eq!(connected.len(), 3, "{listed:#}");
    let first = connected.iter().find(|it| it["client_id"] == "one" && it["kind"] == "vnc");
    show_out(client, &id, &first.expect("the first page")["viewer_id"]).await;
    // All sockets of the page, and its control.
    assert_eq!((one.closed().await, channel.closed().await), (1008, 1008));
    assert_eq!(client.look(&id).await["control"]["by"], "agent");

    show_out(client, &id, &made["viewer_id"]).await;
    assert_eq!(two.closed().await, 1008);
    assert_eq!(refusal(&sight(client, &id, &who("two"))).await, 1002, "it is revoked");
    let unknown = format!("{path}/{}", made["viewer_id"].as_str().unwrap());
    client.send(Method::DELETE, &unknown, None).await.problem(404, "viewer_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_viewers_than_a_session_or_an_organization_may_have_are_refused() {
    let server = Setup::fakes()
        .set("sessions.max_viewers", "2")
        .set("sessions.max_viewers_of_organization", "3")
        .start()
        .await;
    let client = &server.client;
    let (one, two) = (client.session_id().await, client.session_id().await);
    let who = format!("apikey={}", client.key());
    let (at_one, at_two) = (sight(client, &one, &who), sight(client, &two, &who));
    let first = Viewer::at(&at_one).await;
    let _second = Viewer::at(&at_one).await;
    assert_eq!(refusal(&at_one).await, 1013, "a third of the session");
    let _third = Viewer::at(&at_two).await;
    assert_eq!(refusal(&at_two).await, 1013, "a fourth of the organization");
    drop(first);
    eventually("the place is given back", async || {
        (client.look(&one).await["viewers"] == 1).then_some(())
    })
    .await;
    Viewer::at(&at_two).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_ones_own_is_told_where_the_vnc_server_is_and_a_ticket_does_not_do() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let path = format!("/v1/browser_sessions/{id}/vnc");
    let told = client.get(&path).await;
    assert_eq!(told.headers["cache-control"], "no-store");
    let told = told.ok();
    assert_eq!(told["host"], "127.0.0.1");
    assert_eq!(told["port"], client.look(&id).await["vnc_port"]);
    assert_eq!(told["password"].as_str().unwrap().len(), 8);
    assert!(told["tunnel"].as_str().unwrap().starts_with("ssh -N -L "), "{told}");
    let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("the VNC server waits");
    // A repeated request has no effect.
    client.get(&path).await.ok();
    eventually("one seat is enough", async || {
        (client.look(&id).await["viewers"] == 1).then_some(())
    })
    .await;

    let ticket = invite(client, &id, json!({ "role": "control" })).await["ticket"].clone();
    let headers = [("x-greenroom-ticket", ticket.as_str().unwrap())];
    let stranger = server.stranger();
    let refused = stranger.send_with(Method::GET, &path, None, &headers).await.unwrap();
    refused.problem(403, "credentials_invalid");
    let other = server.another_organization().await;
    other.get(&path).await.problem(404, "session_unknown");
    let wrong = client.get(&format!("{path}?wait_seconds=0")).await.wrong_fields();
    assert_eq!(wrong.into_keys().collect::<Vec<_>>(), ["query.wait_seconds"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pages_token_stands_in_for_its_key_and_ends_with_it() {
    let server: TestServer = Setup::fakes().start().await;
    for path in ["/v1/ui-session", "/api/v1/ui-session"] {
        let opened = server.client.post(path, json!({})).await;
        assert_eq!(opened.headers["cache-control"], "no-store");
        let opened = opened.ok();
        assert!(opened["expires_at"].is_i64(), "{opened}");
        let token = opened["token"].as_str().unwrap().to_owned();
        let page = server.client.with_key(Some(&token));
        assert_eq!(page.get("/v1/browser_sessions").await.ok(), json!([]));
        let bearer = format!("/v1/browser_sessions?token=Bearer%20{token}");
        assert_eq!(server.stranger().get(&bearer).await.ok(), json!([]));
        page.post(path, json!({})).await.problem(403, "credentials_invalid");
        let forged = server.client.with_key(Some(&format!("{token}0")));
        forged.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
    }
    server.stranger().post("/v1/ui-session", json!({})).await.problem(403, "credentials_invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_gives_its_credential_as_a_subprotocol_which_no_log_of_addresses_has() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let made = invite(client, &id, json!({ "role": "watch" })).await;
    let ticket = made["ticket"].as_str().unwrap();
    let url = sight(client, &id, "client_id=page");
    // The selected protocol, or the close code of a viewer that is turned away.
    let dial = async |kind: &str, value: &str| {
        let mut request = url.as_str().into_client_request().unwrap();
        let offer = format!("binary, greenroom.{kind}.{}", URL_SAFE_NO_PAD.encode(value));
        request.headers_mut().insert("sec-websocket-protocol", offer.parse().unwrap());
        let (mut socket, answer) = connect_async(request).await.unwrap();
        let taken = answer.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
        assert_eq!(taken, "binary");
        match timeout(PATIENCE, socket.next()).await.unwrap() {
            Some(Ok(Message::Binary(version))) => String::from_utf8(version.to_vec()).unwrap(),
            Some(Ok(Message::Close(Some(frame)))) => u16::from(frame.code).to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(dial("apikey", client.key()).await, "RFB 003.008\n");
    assert_eq!(dial("ticket", ticket).await, "RFB 003.008\n");
    for (kind, value) in [("apikey", ticket), ("ticket", client.key()), ("apikey", "wrong")] {
        assert_eq!(dial(kind, value).await, "1002", "{kind} {value}");
    }
    server.stop().await;
}
