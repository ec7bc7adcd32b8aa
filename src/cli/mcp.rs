//! The command `greenroom mcp`: connects a host that starts MCP servers as programs to a server.
//!
//! The stdio transport of the Model Context Protocol is one JSON-RPC message on each line of standard input and
//! output. Each message is passed to the endpoint `/mcp` of the server, and its answer is written back; nothing is
//! kept between two messages, so the server may be restarted meanwhile.

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;
use std::thread;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Ending;
use super::client::{Client, Server};
use super::output::note;

const HELP: &str = "\
Hosts start this command themselves. For Claude Code:
  claude mcp add greenroom -e GREENROOM_API_KEY=gr_… -- greenroom mcp
As JSON, for hosts with a file:
  {\"mcpServers\": {\"greenroom\": {\"command\": \"greenroom\", \"args\": [\"mcp\"],
    \"env\": {\"GREENROOM_URL\": \"http://127.0.0.1:8787\", \"GREENROOM_API_KEY\": \"gr_…\"}}}}

Hosts that speak Streamable HTTP need no command: their address is http://HOST:PORT/mcp, with the key in the
header x-api-key.";

/// The most messages that are being answered at once.
const AT_ONCE: usize = 64;

/// The error code of JSON-RPC 2.0 for text that is not JSON.
const PARSE_ERROR: i64 = -32700;

/// The error code of JSON-RPC 2.0 for what is no request.
const INVALID_REQUEST: i64 = -32600;

/// The first of the error codes that JSON-RPC 2.0 leaves to implementations.
const SERVER_ERROR: i64 = -32000;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// The sets of tools to offer, separated by commas: `sessions`, `read`, `act`, `more`. All of them by default.
    #[arg(long, value_name = "SETS")]
    tools: Option<String>,
}

/// Runs the command given by the flags, until standard input ends.
pub(super) async fn mcp(arguments: Arguments) -> anyhow::Result<Ending> {
    let Arguments { server, tools } = arguments;
    let client = Arc::new(Client::new(&server)?);
    let path = match tools {
        Some(tools) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            Arc::from(format!("/mcp?{}", query.append_pair("tools", &tools).finish()))
        }
        None => Arc::<str>::from("/mcp"),
    };
    if client.key().is_none() {
        note("warning: GREENROOM_API_KEY is not set; the server will refuse every message");
    }
    let mut lines = input();
    let (output, written) = output();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut answering = JoinSet::new();
    while let Some(line) = lines.recv().await {
        let line = line?;
        while answering.try_join_next().is_some() {}
        if line.trim().is_empty() {
            continue;
        }
        let permit = Arc::clone(&room).acquire_owned().await?;
        let (client, path, output) = (Arc::clone(&client), Arc::clone(&path), output.clone());
        answering.spawn(async move {
            if let Some(answer) = answer(&client, &path, &line).await {
                // A host that does not read any more has ended, and with it standard input.
                let _gone = output.send(answer).await;
            }
            drop(permit);
        });
    }
    while answering.join_next().await.is_some() {}
    drop(output);
    let _last = tokio::task::spawn_blocking(|| written.join()).await; // The last answers are written.
    Ok(Ending::Done)
}

/// Reads the lines of standard input on a thread of its own, because reading blocks.
fn input() -> mpsc::Receiver<io::Result<String>> {
    let (send, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let failed = line.is_err();
            if send.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    lines
}

/// Writes messages to standard output, one on each line. A host that reads slowly holds up nothing else.
fn output() -> (mpsc::Sender<Value>, thread::JoinHandle<()>) {
    let (send, mut answers) = mpsc::channel::<Value>(AT_ONCE);
    let writes = thread::spawn(move || {
        while let Some(answer) = answers.blocking_recv() {
            let mut out = io::stdout().lock();
            if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    });
    (send, writes)
}

/// Returns the answer to a message; none to a notification.
async fn answer(client: &Client, path: &str, line: &str) -> Option<Value> {
    let failure = |id: &Value, code: i64, message: String| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    let message: Value = match serde_json::from_str(line) {
        Ok(message) => message,
        Err(cause) => {
            return Some(failure(&Value::Null, PARSE_ERROR, format!("this is not JSON: {cause}")));
        }
    };
    if message.is_array() {
        return Some(failure(
            &Value::Null,
            INVALID_REQUEST,
            "send one message on each line".to_owned(),
        ));
    }
    let id = message.get("id").cloned();
    match client.post_mcp(path, &message, &headers(&message)).await {
        Ok(Value::Null) => None,
        Ok(answer) => Some(answer),
        Err(cause) => Some(failure(&id?, SERVER_ERROR, format!("Greenroom: {cause}"))),
    }
}

/// The headers that repeat parts of a message, as revision 2026-07-28 of the protocol demands.
fn headers(message: &Value) -> Vec<(&'static str, String)> {
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let version = text("/params/_meta/io.modelcontextprotocol~1protocolVersion");
    let version = version.map(|version| ("mcp-protocol-version", version));
    let method = text("/method").map(|method| ("mcp-method", method));
    let name = text("/params/name").or_else(|| text("/params/uri"));
    let name = name.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
    [version, method, name.map(|name| ("mcp-name", name))].into_iter().flatten().collect()
}
