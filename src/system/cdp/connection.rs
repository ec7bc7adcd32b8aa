//! The connection to a browser, and the task that owns its socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;

use super::{CdpError, CdpEvent, Devtools};
use crate::traces::{Kind, Span, Value as Attribute};

/// The largest message in bytes: a full-page picture of a long page takes tens of megabytes.
const LARGEST_MESSAGE: usize = 256 * 1024 * 1024;

/// The most events that a receiver may fall behind before it is disconnected.
const EVENTS_BEHIND: usize = 8_192;

/// The most commands that may wait for a browser that does not read.
const UNSENT: usize = 1_024;

/// The most bytes that waiting commands may have in total. A single larger command is still sent.
const UNSENT_BYTES: usize = 64 * 1024 * 1024;

/// The most commands that may be unanswered.
const UNANSWERED: usize = 4_096;

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
    /// The pending calls by id, with their methods. None once the connection has ended.
    calls: Mutex<Option<HashMap<u64, (String, Answer)>>>,
    receivers: Mutex<Vec<mpsc::Sender<CdpEvent>>>,
    /// The bytes of commands that are queued and not written yet.
    unsent: AtomicUsize,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    last_id: AtomicU64,
    outgoing: mpsc::Sender<String>,
    shared: Arc<Shared>,
}

/// A connection to a browser's DevTools. Clones share the connection, which ends when the last one
/// is dropped.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

impl Connection {
    /// Connects to a browser. The connection's task runs on the caller's runtime.
    pub async fn open(devtools: &Devtools) -> Result<Self, CdpError> {
        let failed =
            |cause: &dyn std::error::Error| CdpError::NotConnected { cause: cause.to_string() };
        let stream = devtools.connect().await.map_err(|cause| failed(&cause))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE));
        let url = format!("ws://{}{}", devtools.address, devtools.path);
        let (socket, _response) =
            tokio_tungstenite::client_async_with_config(url, stream, Some(config))
                .await
                .map_err(|cause| failed(&cause))?;

        let shared =
            Arc::new(Shared { calls: Mutex::new(Some(HashMap::new())), ..Shared::default() });
        let (outgoing, commands) = mpsc::channel(UNSENT);
        tokio::spawn(serve(socket, commands, Arc::clone(&shared)));
        Ok(Self(Arc::new(Inner { last_id: AtomicU64::new(0), outgoing, shared })))
    }

    /// Sends a command immediately, not when the future is first polled, and resolves with its
    /// result. Dropping the future does not cancel the command. A command that exceeds the queue of
    /// a browser that does not keep up fails without being sent.
    pub fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> impl Future<Output = Result<Value, CdpError>> + Send + use<> {
        let answer = self.send(session, method, params);
        let span = span(method);
        async move {
            let answered = match answer {
                Ok(answer) => answer.await.unwrap_or(Err(CdpError::Disconnected)),
                Err(cause) => Err(cause),
            };
            if let Some(mut span) = span {
                if let Err(CdpError::Refused { code, .. }) = &answered {
                    span.set("rpc.cdp.error_code", Attribute::Number(*code));
                }
                span.end(answered.is_err());
            }
            answered
        }
    }

    fn send(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<oneshot::Receiver<Result<Value, CdpError>>, CdpError> {
        let id = self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let text = serde_json::to_string(&Command { id, method, params, session })
            .map_err(|_cause| CdpError::Disconnected)?;
        let busy = || CdpError::Busy { method: method.to_owned() };
        let (answer, answered) = oneshot::channel();
        let (shared, bytes) = (&self.0.shared, text.len());
        let mut calls = shared.calls.lock();
        let calls = calls.as_mut().ok_or(CdpError::Disconnected)?;
        if calls.len() >= UNANSWERED {
            // A hung page leaves calls unanswered; those whose callers gave up are dropped here.
            calls.retain(|_id, (_method, answer)| !answer.is_closed());
        }
        let unsent = shared.unsent.load(Ordering::Relaxed);
        if calls.len() >= UNANSWERED || (unsent > 0 && unsent + bytes > UNSENT_BYTES) {
            return Err(busy());
        }
        // Sent under the lock, so that commands are sent in the order of their ids.
        shared.unsent.fetch_add(bytes, Ordering::Relaxed);
        if let Err(cause) = self.0.outgoing.try_send(text) {
            shared.unsent.fetch_sub(bytes, Ordering::Relaxed);
            return Err(match cause {
                TrySendError::Full(_text) => busy(),
                TrySendError::Closed(_text) => CdpError::Disconnected,
            });
        }
        calls.insert(id, (method.to_owned(), answer));
        Ok(answered)
    }

    /// Subscribes to all events from now on, in order. The receiver closes with the connection, or
    /// when it falls more than a few thousand events behind.
    pub fn events(&self) -> mpsc::Receiver<CdpEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_BEHIND);
        // The end of the connection is decided under the lock of the calls.
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

/// The span of a command, which has its name and nothing of its parameters.
fn span(method: &str) -> Option<Span> {
    let attributes = || {
        let named = Attribute::Text(method.to_owned());
        vec![("rpc.system", Attribute::Word("cdp")), ("rpc.method", named)]
    };
    Span::begin(Kind::Client, || format!("cdp {method}").into(), attributes)
}

impl Shared {
    fn take(&self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Frame>(text) else {
            tracing::warn!(length = text.len(), "the browser sent an invalid message");
            return;
        };
        if let Some(id) = frame.id {
            let call = self.calls.lock().as_mut().and_then(|calls| calls.remove(&id));
            let Some((method, answer)) = call else { return };
            let result = match frame.error {
                Some(Refusal { code, message }) => Err(CdpError::Refused { method, code, message }),
                None => Ok(frame.result),
            };
            let _ = answer.send(result); // The caller may have left.
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

/// Ends the connection for its callers, whichever way its task ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn serve(
    socket: WebSocketStream<TcpStream>,
    mut commands: mpsc::Receiver<String>,
    shared: Arc<Shared>,
) {
    let ending = Ending(shared);
    let (mut sink, mut stream) = socket.split();
    let write = async {
        while let Some(command) = commands.recv().await {
            let bytes = command.len();
            if sink.send(Message::text(command)).await.is_err() {
                return;
            }
            ending.0.unsent.fetch_sub(bytes, Ordering::Relaxed);
        }
        let _ = sink.close().await; // The last handle was dropped.
    };
    // Reading continues while a large command is written.
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
    use futures_util::FutureExt as _;

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

    /// A connection to a browser that accepts it and then neither reads nor writes.
    async fn deaf() -> (Connection, WebSocketStream<TcpStream>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let path = "/devtools/browser/1".to_owned();
        let devtools = Devtools { address, path, inside: None };
        let accept = async {
            let (stream, _from) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (connection, browser) = tokio::join!(Connection::open(&devtools), accept);
        (connection.unwrap(), browser)
    }

    fn is_busy(call: Option<Result<Value, CdpError>>) -> bool {
        matches!(call, Some(Err(CdpError::Busy { method })) if method == "A.b")
    }

    #[tokio::test]
    async fn a_command_beyond_the_bytes_that_may_wait_is_not_sent() {
        let (connection, _browser) = deaf().await;
        let call = || connection.call(None, "A.b", Value::Null);
        connection.0.shared.unsent.store(UNSENT_BYTES, Ordering::Relaxed);
        assert!(is_busy(call().now_or_never()));
        connection.0.shared.unsent.store(0, Ordering::Relaxed);
        assert!(call().now_or_never().is_none());
    }

    #[tokio::test]
    async fn calls_without_an_answer_are_bounded_but_for_those_that_nobody_awaits() {
        let (connection, mut browser) = deaf().await;
        let call = || connection.call(None, "A.b", Value::Null);
        let mut calls = Vec::new();
        for _ in 0..UNANSWERED {
            calls.push(call());
            assert!(browser.next().await.unwrap().unwrap().is_text());
        }
        assert!(is_busy(call().now_or_never()));
        calls.pop();
        assert!(call().now_or_never().is_none());

        // The number of queued commands is bounded as well.
        calls.clear();
        for _ in 0..UNSENT {
            calls.push(call());
        }
        assert!(is_busy(call().now_or_never()));
        drop(browser);
        connection.closed().await;
        assert!(calls.pop().unwrap().await.is_err());
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
