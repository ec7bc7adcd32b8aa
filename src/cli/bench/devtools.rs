//! A connection to the DevTools of a browser: that of a session, or the browser's own.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::client::WebSocket;
use crate::cli::client::text_of;

/// The longest time that a browser may take for one command.
const ANSWERS: Duration = Duration::from_secs(30);

/// A connection to the DevTools of a session.
#[derive(Debug)]
pub(super) struct Devtools {
    socket: WebSocket,
    last: u64,
    /// The DevTools session of the page, once it is attached to.
    page: Option<String>,
}

impl Devtools {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self { socket, last: 0, page: None }
    }

    /// Asks for the version of the browser, which shows that the browser answers.
    pub(super) async fn version(&mut self) -> anyhow::Result<()> {
        self.call(None, "Browser.getVersion", json!({})).await.map(drop)
    }

    /// Attaches to the first tab.
    async fn attach(&mut self) -> anyhow::Result<String> {
        if let Some(page) = &self.page {
            return Ok(page.clone());
        }
        let targets = self.call(None, "Target.getTargets", json!({})).await?;
        let targets = targets.get("targetInfos").and_then(Value::as_array);
        let page = targets.into_iter().flatten().find(|it| text_of(it, "type") == Some("page"));
        let page = page.and_then(|page| text_of(page, "targetId")).context("there is no page")?;
        let attach = json!({ "targetId": page, "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach).await?;
        let page = text_of(&attached, "sessionId").context("the page was not attached to")?;
        self.call(Some(page), "Page.enable", json!({})).await?;
        self.page = Some(page.to_owned());
        Ok(page.to_owned())
    }

    /// Opens a page in the first tab, and waits until it is loaded.
    pub(super) async fn open_page(&mut self, url: &str) -> anyhow::Result<()> {
        let session = self.attach().await?;
        let id = self.send(Some(&session), "Page.navigate", json!({ "url": url })).await?;
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

    /// Evaluates an expression in the page of the first tab.
    pub(super) async fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let session = self.attach().await?;
        let params = json!({ "expression": expression, "returnByValue": true });
        let result = self.call(Some(&session), "Runtime.evaluate", params).await?;
        Ok(result.pointer("/result/value").cloned().unwrap_or_default())
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
