//! The connection, and the task that owns its socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;

use super::{CdpError, CdpEvent};

/// A full-page picture of a long page is tens of megabytes.
const LARGEST_MESSAGE: usize = 256 * 1024 * 1024;

/// How many events a receiver may fall behind before it is cut off.
const EVENTS_BEHIND: usize = 8_192;

#[derive(Serialize)]
struct Command<'a> {
    id: u64,
    method: &'a str,
    params: Value,
    #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
struct Frame {
    id: Option<u64>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
    #[serde(rename = "sessionId")]
    session: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

type Answer = oneshot::Sender<Result<Value, CdpError>>;

#[derive(Debug, Default)]
struct Shared {
    /// The calls under way, by id, with their methods. None once the connection has ended.
    calls: Mutex<Option<HashMap<u64, (String, Answer)>>>,
    receivers: Mutex<Vec<mpsc::Sender<CdpEvent>>>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    last_id: AtomicU64,
    outgoing: mpsc::UnboundedSender<String>,
    shared: Arc<Shared>,
}

/// A connection to a browser's DevTools. Clones are the same connection, which ends when the
/// last one is dropped.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

impl Connection {
    /// Connects to the browser at `address`; `path` is `/devtools/browser/<uuid>`. Its task runs
    /// on the runtime of the caller.
    pub async fn open(address: SocketAddr, path: &str) -> Result<Self, CdpError> {
        let failed =
            |cause: &dyn std::error::Error| CdpError::NotConnected { cause: cause.to_string() };
        let stream = TcpStream::connect(address).await.map_err(|cause| failed(&cause))?;
        // A command is a small segment that must not wait for the answer to the one before.
        stream.set_nodelay(true).map_err(|cause| failed(&cause))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE));
        let url = format!("ws://{address}{path}");
        let (socket, _response) =
            tokio_tungstenite::client_async_with_config(url, stream, Some(config))
                .await
                .map_err(|cause| failed(&cause))?;

        let shared =
            Arc::new(Shared { calls: Mutex::new(Some(HashMap::new())), ..Shared::default() });
        let (outgoing, commands) = mpsc::unbounded_channel();
        tokio::spawn(serve(socket, commands, Arc::clone(&shared)));
        Ok(Self(Arc::new(Inner { last_id: AtomicU64::new(0), outgoing, shared })))
    }

    /// Sends a command, at once and not when the future is first polled, and resolves with its
    /// result. Dropping the future does not take the command back.
    pub fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> impl Future<Output = Result<Value, CdpError>> + Send + use<> {
        let answer = self.send(session, method, params);
        async move {
            match answer {
                Some(answer) => answer.await.unwrap_or(Err(CdpError::Disconnected)),
                None => Err(CdpError::Disconnected),
            }
        }
    }

    fn send(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Option<oneshot::Receiver<Result<Value, CdpError>>> {
        let id = self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let text = serde_json::to_string(&Command { id, method, params, session }).ok()?;
        let (answer, answered) = oneshot::channel();
        let mut calls = self.0.shared.calls.lock();
        calls.as_mut()?.insert(id, (method.to_owned(), answer));
        // Under the lock, so that commands leave in the order of their ids.
        self.0.outgoing.send(text).ok()?;
        Some(answered)
    }

    /// All events from now on, in order. Ends with the connection, or when the receiver falls
    /// more than a few thousand events behind.
    pub fn events(&self) -> mpsc::Receiver<CdpEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_BEHIND);
        // The lock of the calls is what the end of the connection is decided under.
        let calls = self.0.shared.calls.lock();
        if calls.is_some() {
            self.0.shared.receivers.lock().push(sender);
        }
        receiver
    }

    /// Resolves when the connection has ended.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.shared.closed.clone().cancelled_owned()
    }
}

impl Shared {
    fn take(&self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Frame>(text) else {
            tracing::warn!(length = text.len(), "the browser sent something that is no message");
            return;
        };
        if let Some(id) = frame.id {
            let call = self.calls.lock().as_mut().and_then(|calls| calls.remove(&id));
            let Some((method, answer)) = call else { return };
            let result = match frame.error {
                Some(Refusal { code, message }) => Err(CdpError::Refused { method, code, message }),
                None => Ok(frame.result),
            };
            let _ = answer.send(result); // A caller that left hears nothing.
        } else if let Some(method) = frame.method {
            let event = CdpEvent { session: frame.session, method, params: frame.params };
            self.receivers.lock().retain(|receiver| receiver.try_send(event.clone()).is_ok());
        }
    }

    fn end(&self) {
        self.calls.lock().take();
        self.receivers.lock().clear();
        self.closed.cancel();
    }
}

/// Ends the connection for its callers however its task ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn serve(
    socket: WebSocketStream<TcpStream>,
    mut commands: mpsc::UnboundedReceiver<String>,
    shared: Arc<Shared>,
) {
    let ending = Ending(shared);
    let (mut sink, mut stream) = socket.split();
    let write = async {
        while let Some(command) = commands.recv().await {
            if sink.send(Message::text(command)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await; // The last handle was dropped.
    };
    // Reading goes on while a large command is being written.
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(text) = message {
                ending.0.take(&text);
            }
        }
    };
    tokio::select! {
        () = write => (),
        () = read => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> (Shared, oneshot::Receiver<Result<Value, CdpError>>) {
        let (answer, answered) = oneshot::channel();
        let calls = HashMap::from([(1, ("Page.navigate".to_owned(), answer))]);
        (Shared { calls: Mutex::new(Some(calls)), ..Shared::default() }, answered)
    }

    #[test]
    fn answers_and_refusals_reach_their_calls() {
        let (shared, mut answered) = shared();
        shared.take(r#"{"id":2,"result":{}}"#);
        shared.take("nonsense");
        assert!(answered.try_recv().is_err());
        shared.take(r#"{"id":1,"error":{"code":-32000,"message":"no such page"}}"#);
        let refused = answered.try_recv().unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "Page.navigate: no such page (-32000)");
    }

    #[test]
    fn a_receiver_that_falls_behind_is_cut_off_and_the_end_reaches_all() {
        let (shared, mut answered) = shared();
        let (slow, mut slow_receiver) = mpsc::channel(1);
        let (quick, mut quick_receiver) = mpsc::channel(8);
        shared.receivers.lock().extend([slow, quick]);
        for _ in 0..3 {
            shared.take(r#"{"method":"A.b","params":{"x":1},"sessionId":"s"}"#);
        }
        assert!(slow_receiver.try_recv().is_ok());
        assert_eq!(slow_receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        let event = quick_receiver.try_recv().unwrap();
        assert_eq!((event.session.as_deref(), event.method.as_str()), (Some("s"), "A.b"));

        shared.end();
        assert!(matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(shared.closed.is_cancelled());
    }
}
