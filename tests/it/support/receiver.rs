//! A server that receives webhooks of clients, and spans as a collector does.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::eventually;

/// The response of the server.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A response with this status.
    Status(u16),
    /// A response with this status, after this delay.
    Late(Duration, u16),
    /// A redirect to this address.
    Redirect(String),
    /// No response; the connection stays open.
    Hang,
}

/// A request that it received.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
    /// The bytes as text.
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// True if the verification in Python accepts the signature with this secret.
    pub async fn is_signed_with(&self, secret: &str) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/verify_webhook.py");
        let mut python = tokio::process::Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let given = json!({"secret": secret, "headers": self.headers, "body": self.body});
        let mut input = python.stdin.take().unwrap();
        input.write_all(given.to_string().as_bytes()).await.unwrap();
        drop(input);
        python.wait().await.unwrap().success()
    }
}

#[derive(Debug, Default)]
struct State {
    replies: VecDeque<Reply>,
    received: Vec<Received>,
}

/// A server on loopback, until it is dropped. The default response has the status 200.
#[derive(Debug)]
pub struct Receiver {
    pub url: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state, task }
    }

    /// Sets the next responses, in this order.
    pub fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().replies.extend(replies);
    }

    /// All requests that it received.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().received.clone()
    }

    /// Waits for this number of requests, and returns all.
    pub async fn once(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} webhooks come"), async || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    loop {
        let received = read(&mut stream).await?;
        let reply = {
            let mut state = state.lock();
            state.received.push(received);
            state.replies.pop_front().unwrap_or(Reply::Status(200))
        };
        let (status, more) = match reply {
            Reply::Status(status) => (status, String::new()),
            Reply::Late(wait, status) => {
                sleep(wait).await;
                (status, String::new())
            }
            Reply::Redirect(place) => (302, format!("location: {place}\r\n")),
            Reply::Hang => std::future::pending().await,
        };
        let body = "x".repeat(5_000);
        let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n{more}\r\n", body.len());
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body.as_bytes()).await.ok()?;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let bytes = bytes[head + 4..head + 4 + length].to_vec();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Some(Received { path, headers, bytes, body })
}
