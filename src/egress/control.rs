//! The control socket. A client sends one line with the key and a command, and reads one line of JSON.
//!
//! `reload` reads the policy again and answers with its state; `state` answers without reading it.
//! `status` answers with the whole status. `check {…}` tries a URL. `watch` answers with the
//! current status and again after each change, at most once a second, until the client disconnects.
//! A line without the key closes the connection.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Shared;
use super::check::check;
use super::files::Key;

/// The most concurrent clients; only the server has the key.
const MOST_CLIENTS: usize = 64;

/// The longest wait for a client's key.
const KEY_DEADLINE: Duration = Duration::from_secs(15);

/// The longest line in bytes: a `check` may carry a whole policy.
const LONGEST_LINE: u64 = 1 << 20;

/// Accepts and answers clients until the process ends.
pub async fn serve(listener: UnixListener, key: Key, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (key, shared) = (key.clone(), shared.clone());
        tokio::spawn(async move {
            Box::pin(answer(client, &key, &shared)).await;
            drop(place);
        });
    }
}

async fn answer(mut client: UnixStream, key: &Key, shared: &Arc<Shared>) -> Option<()> {
    let (reader, mut writer) = client.split();
    let mut reader = BufReader::with_capacity(1024, reader);
    let mut is_known = false;
    loop {
        let opened = opened(&mut reader, key);
        match is_known {
            true => opened.await?,
            false => tokio::time::timeout(KEY_DEADLINE, opened).await.ok()??,
        }
        is_known = true;
        let mut line = String::new();
        (&mut reader).take(LONGEST_LINE).read_line(&mut line).await.ok()?;
        let line = line.trim();
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

/// Reads the key at the start of a line. At most the length of the key is buffered for a client without it.
async fn opened(reader: &mut (impl AsyncBufRead + Unpin), key: &Key) -> Option<()> {
    let longest = u64::try_from(key.text().len()).unwrap_or_default() + 1;
    let mut start = Vec::new();
    reader.take(longest).read_until(b' ', &mut start).await.ok()?;
    key.opens(std::str::from_utf8(&start).ok()?).map(drop)
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
            // The client sends nothing more: any byte or end of stream ends the watch.
            _ = reader.read_u8() => return None,
        }
    }
}

/// Serializes a value. This cannot fail: no value has a map whose keys are not strings.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
