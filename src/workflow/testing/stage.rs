//! A host that records its calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::Chromium;
use crate::domain::file_name::file_name;
use crate::domain::ids::{ArtifactId, BlockRunId};
use crate::domain::session::Failure;
use crate::workflow::definition::Definition;
use crate::workflow::engine::{Plan, Records, Settings};
use crate::workflow::guard;
use crate::workflow::host::{BlockBegins, BlockEnded, Devtools, Host, HostError, NewArtifact};

/// A host for tests, with or without a browser.
#[derive(Debug, Default)]
pub struct Stage {
    devtools: Option<Arc<dyn Devtools>>,
    scratch: Option<PathBuf>,
    next: AtomicU64,
    log: Mutex<Vec<String>>,
    stored: Mutex<Vec<NewArtifact>>,
    /// Resolves a pending `pause` when notified.
    pub resume: tokio::sync::Notify,
}

impl Stage {
    /// Creates a host without a browser.
    pub fn bare() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Creates a host with a connection to a browser.
    pub async fn with(chromium: &Chromium) -> Arc<Self> {
        let devtools = Some(chromium.connect().await);
        Arc::new(Self { devtools, scratch: Some(chromium.folder()), ..Self::default() })
    }

    /// Returns the host as the engine takes it.
    pub fn host(self: &Arc<Self>) -> Arc<dyn Host> {
        self.clone()
    }

    /// Returns the log of block events, as in `begin a`, `end a completed`, with the enclosing block
    /// in brackets.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// Returns the artifacts that were stored.
    pub fn stored(&self) -> Vec<NewArtifact> {
        self.stored.lock().clone()
    }
}

impl Host for Stage {
    fn devtools(&self) -> BoxFuture<'_, Result<Arc<dyn Devtools>, HostError>> {
        let missing = || HostError(Box::new(Failure::new("no_browser", "there is no browser")));
        let devtools = self.devtools.clone().ok_or_else(missing);
        Box::pin(async { devtools })
    }

    fn begin_block(&self, block: BlockBegins) -> BoxFuture<'_, Result<BlockRunId, HostError>> {
        let id = BlockRunId::from(self.next.fetch_add(1, Ordering::Relaxed));
        let parent = block.parent.map(|parent| format!(" in {parent}")).unwrap_or_default();
        let iteration = block.iteration.map(|(index, value)| format!(" #{index}={value}"));
        let iteration = iteration.unwrap_or_default();
        self.log.lock().push(format!("{id} {}{parent}{iteration}", block.label));
        Box::pin(async move { Ok(id) })
    }

    fn end_block(&self, id: BlockRunId, end: BlockEnded) -> BoxFuture<'_, Result<(), HostError>> {
        let failure = end.failure.map(|failure| format!(": {}", failure.code)).unwrap_or_default();
        self.log.lock().push(format!("{id} {}{failure}", end.status));
        Box::pin(async { Ok(()) })
    }

    fn store(&self, artifact: NewArtifact) -> BoxFuture<'_, Result<ArtifactId, HostError>> {
        let id = ArtifactId::from(self.next.fetch_add(1, Ordering::Relaxed));
        self.stored.lock().push(artifact);
        Box::pin(async move { Ok(id) })
    }

    fn pause(&self, _why: Value) -> BoxFuture<'_, Result<(), HostError>> {
        self.log.lock().push("paused".to_owned());
        Box::pin(async {
            self.resume.notified().await;
            Ok(())
        })
    }

    fn put_file(&self, name: String, bytes: Bytes) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        let folder = self.scratch.clone().unwrap();
        Box::pin(async move {
            let own = folder.join(format!("{:016x}", rand::random::<u64>()));
            std::fs::create_dir_all(&own).unwrap();
            let path = own.join(file_name(&name));
            std::fs::write(&path, bytes).unwrap();
            Ok(path)
        })
    }

    fn download_folder(&self) -> BoxFuture<'_, Result<PathBuf, HostError>> {
        let folder = self.scratch.clone().unwrap();
        Box::pin(async move {
            std::fs::create_dir_all(&folder).unwrap();
            Ok(folder)
        })
    }

    fn take_download(&self, name: String, most: u64) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let path = self.scratch.clone().unwrap().join(name);
        Box::pin(async move {
            let bytes = std::fs::read(&path)?;
            std::fs::remove_file(&path)?;
            if u64::try_from(bytes.len()).unwrap() > most {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            Ok(bytes.into())
        })
    }
}

/// Builds a plan of these blocks, with the fields of `more` in the definition. Its requests may go to
/// loopback.
pub fn block_plan(blocks: Value, more: Value) -> Plan {
    let mut definition = json!({ "blocks": blocks });
    for (key, value) in more.as_object().unwrap() {
        definition[key] = value.clone();
    }
    // The definition is read as stored: errors that a new definition is rejected for appear in the
    // execution.
    let definition = Definition::stored(&definition).unwrap();
    Plan {
        definition: Arc::new(definition),
        parameters: Map::new(),
        workflow_title: "Test".to_owned(),
        workflow: 1.into(),
        workflow_permanent: 2.into(),
        run: 3.into(),
        session: Some(4.into()),
        date: chrono::NaiveDate::from_ymd_opt(2026, 11, 22).unwrap(),
        headers: Map::new(),
        only: None,
        outputs: Map::new(),
        limit: None,
        records: Records::default(),
        settings: Settings {
            element_timeout: std::time::Duration::from_secs(5),
            guard: guard::Settings { allow_private: true, ..guard::Settings::default() },
            ..Settings::default()
        },
    }
}
