//! Copies of finished downloads for drivers on this machine.
//!
//! Chromium writes into the session's folder. A driver on this machine expects its files in the
//! folder that it named, so `downloadProgress` with `completed` is held back until the copy is
//! there, see [`handover`](crate::system::handover). If the copy fails, the failure is logged, and
//! the event passes unchanged.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::message::Object;
use crate::domain::file_name::file_name_and;
use crate::system::handover::{Folder, user_of};

/// The maximum length of a browser message that is read, in bytes.
pub(super) const SHORT: u64 = 8 << 10;

/// The time that the event of a finished download waits for its copy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of copied downloads to remember, so that each is copied once.
const MOST_KNOWN: usize = 64;

/// The maximum number of names to try for a copy: `a.csv`, `a (1).csv`, …
const MOST_NAMES: u32 = 100;

/// The event that is held back until the copy is made.
const EVENT: &str = "Browser.downloadProgress";

/// The downloads folder of one driver, and the copies made for it.
#[derive(Debug)]
pub(super) struct Handover {
    /// The driver's address, and the port of this server that it is connected to.
    client: (SocketAddr, u16),
    /// The folder into which Chromium downloads.
    source: PathBuf,
    /// The places in which the driver's folder must lie.
    places: Places,
    /// The folder that the driver asked for last.
    folder: Mutex<Option<PathBuf>>,
    /// The latest copied downloads, with their copies. Several DevTools sessions of a driver get
    /// the same event, and only the first one makes a copy. The lock lets one copy proceed at a
    /// time.
    copied: tokio::sync::Mutex<VecDeque<(String, PathBuf)>>,
}

/// A download that has finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    /// The browser's name of the download. The path does not identify it: a later download may
    /// reuse that of a file that was taken away.
    guid: String,
    /// The file, in the session's folder.
    file: PathBuf,
}

/// The places in which a driver's folder must lie.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The directories below which a driver may have a folder that belongs to its own user.
    pub roots: Vec<PathBuf>,
    /// The directories of the server and of all sessions. A folder inside them is accepted only
    /// below a root that lies inside them as well.
    pub private: Vec<PathBuf>,
    /// Set if the driver is a `code` block: its folder, and the two users that it may appear as. It
    /// may reach the server through the session's egress program, which has the server's user.
    pub code: Option<(PathBuf, [u32; 2])>,
}

#[derive(Deserialize)]
struct Progress {
    guid: String,
    state: String,
    #[serde(rename = "filePath")]
    file: Option<PathBuf>,
}

impl Handover {
    /// Makes the handover for the driver at `client`; Chromium downloads to `source`.
    pub fn new(client: (SocketAddr, u16), source: PathBuf, places: Places) -> Arc<Self> {
        let (folder, copied) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { client, source, places, folder, copied })
    }

    /// Records the folder that the driver asks for.
    pub fn note(&self, folder: PathBuf) {
        *self.folder.lock() = Some(folder);
    }

    /// Returns true if the driver has asked for a folder.
    pub fn is_wanted(&self) -> bool {
        self.folder.lock().is_some()
    }

    /// Returns the download that a message reports as finished, if its file is in the session's folder.
    pub fn finished(&self, message: &[u8]) -> Option<Finished> {
        let text = std::str::from_utf8(message).ok()?;
        if !text.contains(EVENT) || !text.contains("\"completed\"") {
            return None;
        }
        let event = serde_json::from_str::<Object<'_>>(text).ok()?;
        if event.read::<String>("method")? != EVENT {
            return None;
        }
        let Progress { guid, state, file } = event.read("params")?;
        let file = file.filter(|file| file.parent() == Some(self.source.as_path()))?;
        (state == "completed").then_some(Finished { guid, file })
    }

    /// Copies a finished file, and returns the message for the driver: with the path of the copy,
    /// or unchanged if there is none.
    pub async fn hand_over(self: Arc<Self>, download: Finished, message: Vec<u8>) -> Vec<u8> {
        let Finished { guid, file } = download;
        let copying = async {
            let mut known = self.copied.lock().await;
            let folder = self.folder.lock().clone()?;
            if let Some((_guid, copy)) = known.iter().find(|(known, _copy)| *known == guid) {
                return Some(copy.clone());
            }
            let copied = tokio::task::spawn_blocking({
                let (this, file, folder) = (Arc::clone(&self), file.clone(), folder.clone());
                move || this.copy(&file, &folder)
            });
            match copied.await.ok()? {
                Ok(copy) => {
                    known.push_back((guid, copy.clone()));
                    if known.len() > MOST_KNOWN {
                        known.pop_front();
                    }
                    Some(copy)
                }
                Err(cause) => {
                    let (file, folder) = (file.display(), folder.display());
                    tracing::warn!(
                        %file, %folder, error = %cause,
                        "a download is not handed over to its driver; it is among the session's files"
                    );
                    None
                }
            }
        };
        match timeout(PATIENCE, copying).await {
            Ok(Some(copy)) => with_path(&message, &copy).unwrap_or(message),
            Ok(None) | Err(_) => message,
        }
    }

    /// Copies the file to the driver's folder under a free name; blocks the thread.
    fn copy(&self, file: &Path, folder: &Path) -> std::io::Result<PathBuf> {
        let (client, port) = self.client;
        let other = |why: &'static str| std::io::Error::other(why);
        let Places { roots, private, code } = &self.places;
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| other("its name is not valid text"))?;
        let code = code.as_ref().filter(|(code, _)| folder.starts_with(code));
        let opened = if let Some((code, [user, server])) = code {
            let open = |user| Folder::open(folder, user, std::slice::from_ref(code), private);
            open(*user).or_else(|_| open(*server))
        } else {
            let user = user_of(client, port);
            let user = user.ok_or_else(|| other("the client's user is not known"))?;
            Folder::open(folder, user, roots, private)
        };
        let opened = opened?;
        // A browser numbers files in the same way if their name is taken.
        for number in 0..MOST_NAMES {
            let name = match number {
                0 => name.to_owned(),
                number => file_name_and(name, &format!(" ({number})")),
            };
            match opened.put(file, &name) {
                Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
                put => return put.map(|()| folder.join(name)),
            }
        }
        Err(other("its name is taken"))
    }
}

/// Returns the message with the file's path replaced.
fn with_path(message: &[u8], path: &Path) -> Option<Vec<u8>> {
    let event = serde_json::from_slice::<Object<'_>>(message).ok()?;
    let params = event.read::<Object<'_>>("params")?;
    let path = Value::from(path.to_str()?).to_string();
    Some(event.with("params", Some(&params.with("filePath", Some(&path)))).into_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn progress(state: &str, file: &Path) -> Vec<u8> {
        progress_of("g", state, file)
    }

    fn progress_of(guid: &str, state: &str, file: &Path) -> Vec<u8> {
        let params = json!({ "guid": guid, "state": state, "filePath": file });
        json!({ "method": EVENT, "params": params }).to_string().into_bytes()
    }

    #[tokio::test]
    async fn only_the_news_of_a_finished_file_of_the_session_waits_for_its_copy() {
        let root = std::env::temp_dir().join(format!("handed-{:016x}", rand::random::<u64>()));
        let (source, own) = (root.join("downloads"), root.join("own"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&own).unwrap();
        fs::write(source.join("g"), "content").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let client = (client.local_addr().unwrap(), address.port(), client);
        let roots = vec![root.clone()];
        let places = Places { roots, ..Places::default() };
        let handover = Handover::new((client.0, client.1), source.clone(), places);
        assert!(!handover.is_wanted());
        handover.note(own.clone());
        assert!(handover.is_wanted());

        for other in [
            progress("inProgress", &source.join("g")),
            progress("completed", &root.join("g")),
            progress("completed", &source.join("../own/g")),
            br#"{"id":1,"result":{"value":"Browser.downloadProgress \"completed\""}}"#.to_vec(),
            b"\"completed\" Browser.downloadProgress".to_vec(),
        ] {
            assert_eq!(handover.finished(&other), None);
        }
        let message = progress("completed", &source.join("g"));
        let download = handover.finished(&message).unwrap();
        for _ in 0..2 {
            let handed = Arc::clone(&handover).hand_over(download.clone(), message.clone()).await;
            let handed: Value = serde_json::from_slice(&handed).unwrap();
            assert_eq!(handed["params"]["filePath"], json!(own.join("g")), "{handed}");
            assert_eq!(handed["params"]["guid"], "g");
        }
        assert_eq!(fs::read_to_string(own.join("g")).unwrap(), "content");

        // Other files of the same name: one for the same folder, and one for another.
        let second = root.join("second");
        fs::create_dir_all(&second).unwrap();
        for (guid, content, folder, copy) in
            [("i", "next", &own, own.join("g (1)")), ("j", "last", &second, second.join("g"))]
        {
            fs::write(source.join("g"), content).unwrap();
            handover.note(folder.clone());
            let message = progress_of(guid, "completed", &source.join("g"));
            let download = handover.finished(&message).unwrap();
            let handed = Arc::clone(&handover).hand_over(download, message).await;
            let handed: Value = serde_json::from_slice(&handed).unwrap();
            assert_eq!(handed["params"]["filePath"], json!(copy), "{handed}");
            assert_eq!(fs::read_to_string(copy).unwrap(), content);
        }
        assert_eq!(fs::read_to_string(own.join("g")).unwrap(), "content");

        handover.note("/nonexistent/folder".into());
        let message = progress_of("h", "completed", &source.join("h"));
        let download = handover.finished(&message).unwrap();
        let kept = Arc::clone(&handover).hand_over(download, message.clone()).await;
        assert_eq!(kept, message, "as it came");
        fs::remove_dir_all(root).unwrap();
    }
}
