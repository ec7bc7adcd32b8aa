//! Tickets and rotation with real programs: Playwright, x11vnc, Xtigervnc.

use std::process::Stdio;
use std::time::Duration;

use greenroom::domain::rfb::vnc_authentication;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::automation::client_script;
use super::{Site, installed};
use crate::support::viewer::{Viewer, stream_url};
use crate::support::{PATIENCE, Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn playwright_drives_by_the_address_of_a_ticket_until_that_is_revoked() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let viewers = format!("/v1/browser_sessions/{id}/viewers");
    for single_use in [false, true] {
        let asked = json!({ "role": "drive", "single_use": single_use });
        let made = client.post(&viewers, asked).await.ok();
        let address = made["cdp_url"].as_str().unwrap();
        let mut command = Command::new(installed(".venv/bin/python"));
        command.arg(client_script("playwright_hold.py")).args([address, &site.url]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut driver = command.spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut said = async || -> Value {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing");
            serde_json::from_str(&line.unwrap().expect("it has ended")).unwrap()
        };
        assert_eq!(said().await, json!({ "typed": "lamp" }));
        let one = format!("{viewers}/{}", made["viewer_id"].as_str().unwrap());
        let since = Instant::now();
        assert_eq!(client.send(Method::DELETE, &one, None).await.status, 204);
        let cut = said().await;
        assert_eq!(cut["connected"], false, "{cut}");
        assert!(since.elapsed() < Duration::from_secs(5), "after {:?}", since.elapsed());
        assert!(driver.wait().await.unwrap().success());
    }
    assert_eq!(client.look(&id).await["status"], "running");
    server.stop().await;
}

/// A native VNC client, without the bridge. None if the password is wrong.
async fn native(port: u16, password: &str) -> Option<TcpStream> {
    let shaking = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.read_exact(&mut [0; 12]).await.unwrap();
        socket.write_all(b"RFB 003.008\n").await.unwrap();
        let count = socket.read_u8().await.unwrap();
        socket.read_exact(&mut vec![0; count.into()]).await.unwrap();
        socket.write_all(&[2]).await.unwrap();
        let mut challenge = [0; 16];
        socket.read_exact(&mut challenge).await.unwrap();
        socket.write_all(&vnc_authentication(challenge, password.as_bytes())).await.unwrap();
        let result = socket.read_u32().await.unwrap();
        if result != 0 {
            return None;
        }
        socket.write_all(&[1]).await.unwrap();
        socket.read_exact(&mut [0; 24]).await.unwrap();
        Some(socket)
    };
    timeout(PATIENCE, shaking).await.expect("the VNC server is silent")
}

async fn vnc(server: &str, display: &str) {
    let server = Setup::real().set("desktop.vnc_server", server).start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let path = |what: &str| format!("/v1/browser_sessions/{id}/{what}");
    let told = client.get(&path("vnc")).await.ok();
    let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
    let former = told["password"].as_str().unwrap().to_owned();
    let programs = || (server.program(&id, display), server.program(&id, "/chromium"));
    let before = programs();

    // Viewers of the bridge are not disconnected.
    let mut viewer = Viewer::at(&stream_url(client, &id, client.key())).await;
    viewer.look().await;
    let first = client.post(&path("rotate"), json!({})).await.ok();
    viewer.look().await;
    let first = first["vnc_password"].as_str().unwrap().to_owned();
    assert!(native(port, &former).await.is_none(), "the former password opens it");
    let mut connected = native(port, &first).await.expect("the new password is refused");

    // A native client is disconnected.
    let since = Instant::now();
    let second = client.post(&path("rotate"), json!({})).await.ok();
    let mut rest = Vec::new();
    let cut = timeout(Duration::from_secs(1), connected.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "it is not cut");
    assert!(since.elapsed() < Duration::from_secs(5), "after {:?}", since.elapsed());
    let second = second["vnc_password"].as_str().unwrap();
    client.get(&path("vnc")).await.ok();
    assert!(native(port, &first).await.is_none(), "the former password opens it");
    let mut connected = native(port, second).await.expect("the new password is refused");

    // The revocation of a key that has read the password also replaces the password.
    let made = client.post("/v1/api_keys", json!({ "label": "lost" })).await.ok();
    let lost = client.with_key(made["key"].as_str());
    assert_eq!(lost.get(&path("vnc")).await.ok()["password"], second);
    let key = format!("/v1/api_keys/{}", made["api_key_id"].as_str().unwrap());
    client.send(Method::DELETE, &key, None).await.ok();
    let cut = timeout(Duration::from_secs(2), connected.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "it is not cut");
    let third = eventually("the password is replaced", async || {
        let told = client.get(&path("vnc")).await.ok();
        (told["password"] != second).then(|| told["password"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(native(port, second).await.is_none(), "the former password opens it");
    native(port, &third).await.expect("the new password is refused");
    // A viewer with a key reconnects, and the browser is unaffected.
    let mut viewer = Viewer::at(&stream_url(client, &id, client.key())).await;
    viewer.look().await;
    assert_eq!(programs(), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x11vnc_takes_another_password_and_cuts_those_that_came_with_the_former_one() {
    vnc("x11vnc", "/Xvfb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xtigervnc_takes_another_password_and_cuts_those_that_came_with_the_former_one() {
    vnc("tigervnc", "/Xtigervnc").await;
}
