//! A headless Chromium with a DevTools client. It ends when it is dropped.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

#[derive(Debug)]
pub struct Chromium {
    child: Child,
    folder: PathBuf,
    address: String,
}

impl Chromium {
    /// Starts a browser with a profile of its own.
    #[expect(clippy::disallowed_methods, reason = "the test's own browser, ended when dropped")]
    pub async fn start() -> Self {
        let folder =
            std::env::temp_dir().join(format!("greenroom-page-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        let child = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run"])
            .args(["--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"])
            .args(["--site-per-process", "--window-size=1000,700"])
            .args(["--host-resolver-rules=MAP *.example 127.0.0.1"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium is installed; scripts/setup installs it");
        let mut chromium = Self { child, folder, address: String::new() };
        let file = chromium.folder.join("DevToolsActivePort");
        let deadline = Instant::now() + Duration::from_secs(30);
        chromium.address = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some((port, path)) =
                text.split_once('\n').filter(|(_port, path)| !path.is_empty())
            {
                break format!("ws://127.0.0.1:{port}{path}");
            }
            assert!(Instant::now() < deadline, "chromium did not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        chromium
    }

    /// Returns the directory for files that the browser reads or writes.
    pub fn folder(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Opens another DevTools connection.
    pub async fn connect(&self) -> Arc<dyn Devtools> {
        Arc::new(Connection::open(&self.address).await)
    }

    /// Kills the process, as in a crash.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

type Waiting = HashMap<u64, (String, oneshot::Sender<Result<Value, DevtoolsError>>)>;

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Option<Waiting>>,
    listeners: Mutex<Vec<mpsc::Sender<DevtoolsEvent>>>,
}

#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    out: mpsc::UnboundedSender<Message>,
    next: AtomicU64,
}

impl Connection {
    async fn open(address: &str) -> Self {
        let (socket, _response) = tokio_tungstenite::connect_async(address).await.unwrap();
        let (mut sink, mut stream) = socket.split();
        let (out, mut commands) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        *shared.waiting.lock() = Some(HashMap::new());
        let reader = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(message) = commands.recv().await {
                if sink.send(message).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message {
                    reader.take_up(serde_json::from_str(&text).unwrap());
                }
            }
            reader.waiting.lock().take();
            reader.listeners.lock().clear();
        });
        Self { shared, out, next: AtomicU64::new(1) }
    }
}

impl Shared {
    fn take_up(&self, message: Value) {
        let Some(id) = message["id"].as_u64() else {
            let event = DevtoolsEvent {
                session: message["sessionId"].as_str().map(str::to_owned),
                method: message["method"].as_str().unwrap().to_owned(),
                params: message["params"].clone(),
            };
            self.listeners.lock().retain(|listener| listener.try_send(event.clone()).is_ok());
            return;
        };
        let waiting = self.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
        let Some((method, answer)) = waiting else { return };
        let _ = answer.send(match message.get("error") {
            None => Ok(message["result"].clone()),
            Some(error) => Err(DevtoolsError::Refused {
                method,
                code: error["code"].as_i64().unwrap(),
                message: error["message"].as_str().unwrap().to_owned(),
            }),
        });
    }
}

impl Devtools for Connection {
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        if let Some(waiting) = self.shared.waiting.lock().as_mut() {
            waiting.insert(id, (method.to_owned(), answer));
        }
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let _ = self.out.send(Message::text(message.to_string()));
        Box::pin(async move { answered.await.unwrap_or(Err(DevtoolsError::Disconnected)) })
    }

    fn events(&self) -> mpsc::Receiver<DevtoolsEvent> {
        let (sender, receiver) = mpsc::channel(4096);
        if self.shared.waiting.lock().is_some() {
            self.shared.listeners.lock().push(sender);
        }
        receiver
    }
}
