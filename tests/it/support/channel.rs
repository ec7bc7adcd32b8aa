//! A WebSocket with JSON messages in text frames.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;
use super::client::Client;

/// A message channel of a session, or another socket that carries JSON.
#[derive(Debug)]
pub struct Channel(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Channel {
    /// Opens the socket at `path`, which has a query already.
    pub async fn open(client: &Client, path: &str) -> Self {
        let (socket, _) = connect_async(client.socket_url(path)).await.unwrap();
        Self(socket)
    }

    /// Opens the message channel of the page named `page`, with the key.
    pub async fn of(client: &Client, id: &str, page: &str) -> Self {
        let who = format!("apikey={}&client_id={page}", client.key());
        Self::open(client, &format!("/v1/stream/messages/browser_session/{id}?{who}")).await
    }

    /// Takes control, which no other viewer has.
    pub async fn take_control(&mut self) {
        self.say(json!({ "kind": "take-control" })).await;
        self.hears(|said| said["kind"] == "control" && said["you"] == true).await;
    }

    pub async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message, or the code with which the socket is closed.
    pub async fn next(&mut self) -> Result<Value, u16> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = timeout_at(deadline, self.0.next()).await.expect("silence");
            match message.expect("closed without a word").unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.expect("no code").code.into()),
                Message::Ping(_) | Message::Pong(_) => {}
                other @ (Message::Binary(_) | Message::Frame(_)) => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// The next message that satisfies a condition.
    pub async fn hears(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|code| panic!("closed with {code}"));
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The code with which it is closed, after further messages.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}
