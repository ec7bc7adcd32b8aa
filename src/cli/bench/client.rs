//! The client of a measurement: it remembers the sessions that it has created.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::MOST_SESSIONS;
use super::devtools::Devtools;
use crate::cli::client::{Client, RequestError, Server, text_of};

/// A WebSocket of a server or of a browser.
pub(super) type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The longest time in seconds that a page of events waits for the first one.
const EVENTS_WAIT: u64 = 20;

/// Sends the requests of a measurement.
#[derive(Debug)]
pub(super) struct BenchClient {
    pub(super) api: Client,
    /// The seed of everything that is random in the measurement.
    pub(super) seed: u64,
    sessions: Mutex<Vec<String>>,
}

impl BenchClient {
    /// Creates a client of the server given by the flags.
    pub(super) fn new(server: &Server, seed: u64) -> anyhow::Result<Self> {
        Ok(Self { api: Client::new(server)?, seed, sessions: Mutex::default() })
    }

    /// Returns the random numbers of the measurement, which the seed determines.
    pub(super) fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }

    /// Creates a session and waits until its browser runs.
    pub(super) async fn create(&self) -> anyhow::Result<Created> {
        self.create_of(&json!({})).await
    }

    /// Creates a session by this request, and waits until its browser runs.
    pub(super) async fn create_of(&self, request: &Value) -> anyhow::Result<Created> {
        let began = Instant::now();
        let session = self.api.post("/v1/browser_sessions", request).await?;
        let took = began.elapsed();
        let id = text_of(&session, "browser_session_id").context("the answer has no session")?;
        self.sessions.lock().push(id.to_owned());
        let status = text_of(&session, "status").unwrap_or_default();
        ensure!(status == "running", "session {id} is {status}");
        let is_warm = text_of(&session, "start") == Some("warm");
        Ok(Created { id: id.to_owned(), is_warm, took })
    }

    /// Creates this many sessions, one after the other.
    pub(super) async fn create_all(&self, count: u64) -> anyhow::Result<Vec<String>> {
        check_count(count)?;
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(self.create().await?.id);
        }
        Ok(sessions)
    }

    pub(super) async fn close(&self, session: &str) -> Result<(), RequestError> {
        self.api.post(&format!("/v1/browser_sessions/{session}/close"), &json!({})).await?;
        self.sessions.lock().retain(|open| open != session);
        Ok(())
    }

    /// Closes every session that is still open.
    pub(super) async fn close_all(&self) {
        let open = std::mem::take(&mut *self.sessions.lock());
        join_all(open.iter().map(|session| async move {
            if let Err(cause) = self.close(session).await {
                tracing::warn!("session {session} is not closed: {cause}");
            }
        }))
        .await;
    }

    /// Returns the data of the first event of this kind that a session has, once the event is stored.
    pub(super) async fn event(&self, session: &str, kind: &str) -> anyhow::Result<Value> {
        let mut after = Value::from(0);
        loop {
            let query = format!("after={after}&wait_seconds={EVENTS_WAIT}&limit=1000");
            let path = format!("/v1/browser_sessions/{session}/events?{query}");
            let mut page = self.api.get(&path).await?;
            let events = page.get_mut("events").and_then(Value::as_array_mut);
            let events = events.context("the answer has no events")?;
            ensure!(!events.is_empty(), "session {session} has no event {kind}");
            let found = events.iter_mut().find(|event| text_of(event, "kind") == Some(kind));
            if let Some(data) = found.and_then(|event| event.get_mut("data")) {
                return Ok(data.take());
            }
            after = page.get("next").cloned().context("the page of events has no end")?;
        }
    }

    /// Opens a WebSocket of the server.
    pub(super) async fn open(&self, path: &str) -> anyhow::Result<WebSocket> {
        let url = self.api.link(path).replacen("http", "ws", 1);
        let key = self.api.key().map(str::parse::<HeaderValue>).transpose();
        connect(&url, key.context("the API key is not one for a header")?).await
    }

    /// Connects to the DevTools of a session.
    pub(super) async fn connect(&self, session: &str) -> anyhow::Result<Devtools> {
        let socket = self.open(&format!("/v1/browser_sessions/{session}/cdp")).await;
        Ok(Devtools::new(socket.context("no connection to DevTools")?))
    }
}

/// Connects to a WebSocket, with the key of an organization.
pub(super) async fn connect(url: &str, key: Option<HeaderValue>) -> anyhow::Result<WebSocket> {
    let mut request = url.into_client_request()?;
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key);
    }
    let (mut socket, _) = connect_async(request).await?;
    // As browsers do: a small message does not wait for the acknowledgement of the one before.
    if let MaybeTlsStream::Plain(stream) = socket.get_mut() {
        stream.set_nodelay(true)?;
    }
    Ok(socket)
}

/// Refuses more sessions than a measurement may create.
pub(super) fn check_count(count: u64) -> anyhow::Result<()> {
    ensure!((1..=MOST_SESSIONS).contains(&count), "expected 1 to {MOST_SESSIONS} sessions");
    Ok(())
}

/// A session that was created.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) id: String,
    pub(super) is_warm: bool,
    pub(super) took: Duration,
}
