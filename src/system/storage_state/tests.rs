//! Storage states with a browser that answers each command in one way.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// A browser that has no page, rejects `refused`, and takes everything else without an effect.
struct Browser {
    devtools: Devtools,
    /// The commands so far.
    commands: Arc<Mutex<Vec<String>>>,
    profile: std::path::PathBuf,
    _accepting: AbortOnDropHandle<()>,
}

impl Browser {
    async fn new(refused: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let devtools = Devtools { address, path: "/devtools/browser/1".to_owned(), inside: None };
        let commands = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&commands);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _from)) = listener.accept().await {
                tokio::spawn(serve(stream, refused, Arc::clone(&heard)));
            }
        });
        let name = format!("greenroom-state-{:016x}", rand::random::<u64>());
        let profile = std::env::temp_dir().join(name);
        std::fs::create_dir(&profile).unwrap();
        Self { devtools, commands, profile, _accepting: AbortOnDropHandle::new(accepting) }
    }

    fn has(&self, command: &str) -> bool {
        self.commands.lock().iter().any(|known| known == command)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

async fn serve(stream: TcpStream, refused: &str, heard: Arc<Mutex<Vec<String>>>) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let command: Value = serde_json::from_str(&text).unwrap();
        let method = command["method"].as_str().unwrap().to_owned();
        let mut answer = json!({ "id": command["id"] });
        let is_refused = method == refused;
        let (name, outcome) = match is_refused {
            true => ("error", json!({ "code": -32000, "message": "no" })),
            false => ("result", json!({})),
        };
        answer[name] = outcome;
        if let Some(session) = command.get("sessionId") {
            answer["sessionId"] = session.clone();
        }
        heard.lock().push(method);
        if socket.send(Message::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

fn state(cookies: usize) -> StorageState {
    let cookie = json!({ "name": "a", "value": "b", "domain": "a.example", "path": "/" });
    serde_json::from_value(json!({ "cookies": vec![cookie; cookies] })).unwrap()
}

#[test]
fn a_message_names_the_first_parts_and_counts_the_others() {
    let mut parts = Parts::default();
    assert_eq!(Parts::default().text(), None);
    for number in 0..22 {
        parts.add(number.to_string());
    }
    let text = parts.text().unwrap();
    assert!(text.starts_with("0; 1; ") && text.ends_with("19; 2 more"), "{text}");
}

#[tokio::test]
async fn a_state_that_replaces_others_reports_files_in_which_origins_may_be_left() {
    let browser = Browser::new("").await;
    let empty = state(0);
    let replace = || apply(&browser.devtools, &browser.profile, &empty, Mode::Replace);
    assert_eq!(replace().await, Ok(Applied::default()));
    let folder = browser.profile.join("Default/Local Storage/leveldb");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("000005.ldb"), "not a table").unwrap();
    let warning = replace().await.unwrap().warning.unwrap();
    assert!(warning.contains("may be left"), "{warning}");
    let merged = apply(&browser.devtools, &browser.profile, &empty, Mode::Merge).await;
    assert_eq!(merged, Ok(Applied::default()));
}

#[tokio::test]
async fn what_is_not_removed_or_set_in_time_is_named() {
    let browser = Browser::new("Storage.setCookies").await;
    let late = Instant::now();
    let replaced = async |mode, cookies| {
        let state = state(cookies);
        apply_until(&browser.devtools, &browser.profile, &state, mode, late).await
    };
    let folder = browser.profile.join("Default/IndexedDB/https_a.example_0.indexeddb.leveldb");
    std::fs::create_dir_all(folder).unwrap();
    let Err(StorageError::Incomplete(left)) = replaced(Mode::Replace, 0).await else { panic!() };
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with("the removal of the storage of https://a.example ("), "{left:?}");
    assert!(!browser.has("Storage.clearDataForOrigin") && !browser.has("Storage.clearCookies"));
    let Err(StorageError::Incomplete(left)) = replaced(Mode::Merge, 3).await else { panic!() };
    assert!(left[0].starts_with("3 of the cookies ("), "{left:?}");
}
