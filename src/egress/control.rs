//! The control socket: one line of the key and a command, one line of JSON as the answer.
//!
//! `reload` reads the policy again and answers with its state, `state` does not read it; `status` answers with the whole
//! status; `check {…}` tries a URL; `watch` answers with the status now and after each change, at most
//! once a second, until the client leaves.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Shared;
use super::check::check;
use super::files::Key;

/// A `check` may carry a whole policy.
const LONGEST_LINE: u64 = 1 << 20;

/// Answers until the process ends.
pub async fn serve(listener: UnixListener, key: Key, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (key, shared) = (key.clone(), shared.clone());
                tokio::spawn(async move { Box::pin(answer(client, &key, &shared)).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(mut client: UnixStream, key: &Key, shared: &Arc<Shared>) -> Option<()> {
    let (reader, mut writer) = client.split();
    let mut reader = BufReader::with_capacity(1024, reader);
    loop {
        let mut line = String::new();
        (&mut reader)
            .take(LONGEST_LINE)
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        let line = key.opens(line.trim())?;
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        if command == "watch" {
            return watch(&mut reader, &mut writer, shared).await;
        }
        let mut answer = match command {
            "reload" => {
                shared.reload();
                json(&shared.policy.state())
            }
            "state" => json(&shared.policy.state()),
            "status" => {
                shared.reload();
                json(&shared.usage.status(shared.policy.state()))
            }
            "check" => json(&check(shared, rest).await),
            _ => "{\"error\":\"unknown command; use reload, state, status, check or watch\"}"
                .to_owned(),
        };
        answer.push('\n');
        writer.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Writes the status after each change.
async fn watch(
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
    shared: &Arc<Shared>,
) -> Option<()> {
    let mut changes = shared.usage.watch();
    loop {
        let mut line = json(&shared.usage.status(shared.policy.state()));
        line.push('\n');
        writer.write_all(line.as_bytes()).await.ok()?;
        tokio::select! {
            changed = changes.changed() => changed.ok()?,
            // Nothing more is expected of the client: it has left.
            _ = reader.read_u8() => return None,
        }
    }
}

/// The values have no maps with keys that are not texts, so that this does not fail.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
