//! A DevTools client that needs only an address.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;

/// A DevTools client that is connected to a session.
pub struct Driver(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Driver {
    /// Connects, or returns the status and code of the refusal.
    pub async fn dial(url: &str) -> Result<Self, (u16, String)> {
        match connect_async(url).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => {
                let body: Value =
                    serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
                Err((answer.status().as_u16(), body["code"].as_str().unwrap().to_owned()))
            }
            Err(cause) => panic!("{url}: {cause}"),
        }
    }

    /// Connects, and panics on a refusal.
    pub async fn at(url: &str) -> Self {
        Self::dial(url).await.unwrap_or_else(|refused| panic!("{url}: {refused:?}"))
    }

    /// The status and the code with which a client at this address is refused.
    pub async fn refused(url: &str) -> (u16, String) {
        Self::dial(url).await.err().unwrap_or_else(|| panic!("{url}: it was admitted"))
    }

    /// Sends a command to the browser, and asserts that it answers.
    pub async fn asks(&mut self) {
        let asked = json!({ "id": 1, "method": "Browser.getVersion" });
        self.0.send(Message::text(asked.to_string())).await.unwrap();
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("silence");
            match message.expect("an end").unwrap() {
                Message::Text(text) if text.contains("product") => return,
                Message::Close(frame) => panic!("closed: {frame:?}"),
                Message::Text(_)
                | Message::Binary(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Frame(_) => {}
            }
        }
    }

    /// The reason with which the server closes the connection.
    pub async fn closed(&mut self) -> String {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("it is not closed");
            if let Message::Close(frame) = message.expect("closed without a word").unwrap() {
                return frame.expect("closed without a code").reason.to_string();
            }
        }
    }
}
