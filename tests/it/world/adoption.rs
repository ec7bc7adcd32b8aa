//! Recovery without loss: the server is killed or replaced, and parts are killed, while a client fills in a
//! form.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Site;
use crate::support::client::{Lease, id_of};
use crate::support::viewer::Viewer;
use crate::support::{Client, PATIENCE, Setup, TestServer, eventually};

/// A page of a session, over DevTools.
pub(super) struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last: u64,
}

impl Page {
    /// Returns the first page of the session's browser.
    pub(super) async fn of(client: &Client, id: &str) -> Self {
        let page = Self::find(client, id, |target| target["type"] == "page").await;
        page.expect("there is no page")
    }

    /// The first target that satisfies a condition.
    pub(super) async fn find(
        client: &Client,
        id: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Option<Self> {
        let url = client.socket_url(&format!("/v1/browser_sessions/{id}/cdp"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("x-api-key", client.key().parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut page = Self { socket, session: None, last: 0 };
        let targets = page.call("Target.getTargets", json!({})).await;
        let targets = targets["targetInfos"].as_array().unwrap();
        let target = targets.iter().find(|target| is_wanted(target))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.call("Target.attachToTarget", attach).await;
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        Some(page)
    }

    /// The answer of the browser, not of the page.
    pub(super) async fn browser_call(&mut self, method: &str, params: Value) -> Value {
        let session = self.session.take();
        let answer = self.call(method, params).await;
        self.session = session;
        answer
    }

    pub(super) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        let answer = async {
            while let Some(message) = self.socket.next().await {
                let Ok(text) = message.unwrap().into_text() else { continue };
                let message: Value = serde_json::from_str(&text).unwrap_or_default();
                if message["id"] == self.last {
                    return message["result"].clone();
                }
            }
            panic!("the browser closed the connection");
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("the browser does not answer")
    }

    /// Resolves when the page at `url` has been loaded: a session runs before its page is.
    pub(super) async fn loaded(&mut self, url: &str) {
        let deadline = Instant::now() + PATIENCE;
        let script = "new Promise(done => document.readyState === 'complete' \
             ? done(location.href) : addEventListener('load', () => done(location.href)))";
        loop {
            let wait = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
            let answer = self.call("Runtime.evaluate", wait).await;
            if answer["result"]["value"] == url {
                return;
            }
            if Instant::now() > deadline {
                let text = self.evaluate("document.body?.innerText").await;
                panic!("{url} was not loaded: {answer}: {text}");
            }
        }
    }

    /// The value of a script, or of its promise.
    pub(super) async fn resolve(&mut self, script: &str) -> Value {
        let script = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        self.call("Runtime.evaluate", script).await["result"]["value"].clone()
    }

    pub(super) async fn evaluate(&mut self, script: &str) -> Value {
        let script = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        self.call("Runtime.evaluate", script).await["result"]["value"].clone()
    }
}

/// A session with text in its first page, and its holder's lease.
async fn half_filled(server: &TestServer, site: &Site) -> (String, Lease) {
    let client = &server.client;
    let url = site.page("login.html");
    let id = id_of(&client.session_of(json!({ "start_url": url.clone() })).await);
    let lease = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    let typed = "document.body.append(document.createElement('textarea')); \
                 document.querySelector('textarea').value = 'half filled'; 1";
    assert_eq!(page.evaluate(typed).await, 1);
    (id, lease)
}

async fn is_half_filled(client: &Client, id: &str) {
    let mut page = Page::of(client, id).await;
    let typed = page.evaluate("document.querySelector('textarea')?.value").await;
    assert_eq!(typed, "half filled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_session_no_occupancy_and_no_page() {
    let site = Site::start().await;
    let mut server = Setup::real().start().await;
    let (held, lease) = half_filled(&server, &site).await;
    let watched = server.client.session_id().await;
    let mut viewer = Viewer::of(&server.client, &watched).await;
    viewer.look().await;
    let mut ids = vec![held.clone(), watched];
    for _ in 0..3 {
        ids.push(server.client.session_id().await);
    }
    let before = server.client.look(&held).await;
    server.signal(Signal::KILL);
    server.ended().await;

    server.serve().await;
    let began = Instant::now();
    let client = server.client.clone();
    client.heartbeat(&held, &lease).await.ok();
    for id in &ids {
        client.once(id, "running").await;
        client.get(&format!("/v1/browser_sessions/{id}/screenshot")).await;
    }
    println!("all sessions were there {:?} after the next server listened", began.elapsed());
    let after = client.look(&held).await;
    for field in ["runnable_id", "display_number", "vnc_port", "started_at", "expires_at"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["occupancy"]["generation"], before["occupancy"]["generation"]);
    is_half_filled(&client, &held).await;
    let mut viewer = Viewer::of(&client, &ids[1]).await;
    viewer.look().await;
    client.release(&held, &lease).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_its_sessions_hands_them_to_the_next() {
    let site = Site::start().await;
    let mut server = Setup::real().argument("--keep-sessions").start().await;
    let (id, lease) = half_filled(&server, &site).await;
    let began = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.ended().await.success(), "{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for the occupant");
    assert!(!server.programs_of(&id).is_empty(), "its programs were ended");

    server.serve().await;
    server.client.heartbeat(&id, &lease).await.ok();
    is_half_filled(&server.client, &id).await;
    server.client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_chromium_and_a_killed_display_come_back_under_the_same_occupant() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let (id, lease) = half_filled(&server, &site).await;
    let before = client.look(&id).await;
    for program in ["/chromium", "/Xvfb"] {
        let killed = server.program(&id, program);
        TestServer::kill(killed);
        eventually("another one runs", async || {
            let programs = server.programs_of(&id);
            let is_new = |(pid, name): &(i32, String)| *pid != killed && name.contains(program);
            let is_back = client.look(&id).await["status"] == "running";
            (programs.iter().any(is_new) && is_back).then_some(())
        })
        .await;
        client.heartbeat(&id, &lease).await.ok();
        let after = client.look(&id).await;
        for field in ["display_number", "vnc_port", "runnable_id"] {
            assert_eq!(after[field], before[field], "{field} after {program}");
        }
        let mut page = Page::of(client, &id).await;
        page.loaded(&site.page("login.html")).await;
    }
    client.release(&id, &lease).await.ok();
    server.stop().await;
}
