//! The client of a measurement: it remembers the sessions that it has created.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::MOST_SESSIONS;
use crate::cli::client::{Client, RequestError, Server, text_of};

/// The longest time that a browser may take for one command.
const ANSWERS: Duration = Duration::from_secs(30);

/// Sends the requests of a measurement.
#[derive(Debug)]
pub(super) struct BenchClient {
    pub(super) api: Client,
    sessions: Mutex<Vec<String>>,
}

impl BenchClient {
    /// Creates a client of the server given by the flags.
    pub(super) fn new(server: &Server) -> anyhow::Result<Self> {
        Ok(Self { api: Client::new(server)?, sessions: Mutex::default() })
    }

    /// Creates a session and waits until its browser runs.
    pub(super) async fn create(&self) -> anyhow::Result<Created> {
        let began = Instant::now();
        let session = self.api.post("/v1/browser_sessions", &json!({})).await?;
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

    /// Connects to the DevTools of a session.
    pub(super) async fn connect(&self, session: &str) -> anyhow::Result<Devtools> {
        let link = self.api.link(&format!("/v1/browser_sessions/{session}/cdp"));
        let mut request = link.replacen("http", "ws", 1).into_client_request()?;
        if let Some(key) = self.api.key() {
            let key = key.parse().context("the API key is not one for a header")?;
            request.headers_mut().insert("x-api-key", key);
        }
        let (socket, _) = connect_async(request).await.context("no connection to DevTools")?;
        Ok(Devtools { socket, last: 0 })
    }
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

/// A connection to the DevTools of a session.
#[derive(Debug)]
pub(super) struct Devtools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: u64,
}

impl Devtools {
    /// Opens a page in the first tab, and waits until it is loaded.
    pub(super) async fn open_page(&mut self, url: &str) -> anyhow::Result<()> {
        let targets = self.call(None, "Target.getTargets", json!({})).await?;
        let targets = targets.get("targetInfos").and_then(Value::as_array);
        let page = targets.into_iter().flatten().find(|it| text_of(it, "type") == Some("page"));
        let page = page.and_then(|page| text_of(page, "targetId")).context("there is no page")?;
        let attach = json!({ "targetId": page, "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach).await?;
        let session = text_of(&attached, "sessionId").context("the page was not attached to")?;
        self.call(Some(session), "Page.enable", json!({})).await?;
        let id = self.send(Some(session), "Page.navigate", json!({ "url": url })).await?;
        let (mut answered, mut loaded) = (false, false);
        while !(answered && loaded) {
            let message = self.next().await?;
            answered |= message.get("id").and_then(Value::as_u64) == Some(id);
            loaded |= text_of(&message, "method") == Some("Page.loadEventFired");
            let failed = message.pointer("/result/errorText").and_then(Value::as_str);
            ensure!(failed.is_none(), "{url}: {}", failed.unwrap_or_default());
            let refused = message.pointer("/error/message").and_then(Value::as_str);
            ensure!(refused.is_none(), "{url}: {}", refused.unwrap_or_default());
        }
        Ok(())
    }

    async fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Value> {
        let id = self.send(session, method, params).await?;
        loop {
            let mut message = self.next().await?;
            if message.get("id").and_then(Value::as_u64) == Some(id) {
                let result = message.get_mut("result").map(Value::take);
                return result.with_context(|| format!("{method} is refused: {message}"));
            }
        }
    }

    async fn send(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> anyhow::Result<u64> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if let (Some(session), Some(members)) = (session, command.as_object_mut()) {
            members.insert("sessionId".to_owned(), session.into());
        }
        self.socket.send(Message::text(command.to_string())).await?;
        Ok(self.last)
    }

    async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let message = timeout(ANSWERS, self.socket.next()).await;
            let message = message.context("the browser does not answer")?;
            let message = message.context("the connection to DevTools has ended")??;
            if let Message::Text(text) = message {
                return Ok(serde_json::from_str(&text)?);
            }
        }
    }
}
