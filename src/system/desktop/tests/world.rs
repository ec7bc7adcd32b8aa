//! A data directory of a test, with its desktops.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use super::{sealed, small};
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, SessionSpec};
use crate::system::Settings;
use crate::system::desktop::*;

/// A separate data directory with its desktops, removed on drop.
pub(super) struct World {
    pub(super) data: PathBuf,
    pub(super) desktops: Desktops,
    pub(super) session: SessionId,
}

static LAST: AtomicU64 = AtomicU64::new(0);

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let session = SessionId::from(u64::from(std::process::id()) * 1_000 + number);
        let data = std::env::temp_dir().join(format!("gr-{session}"));
        fs::create_dir_all(&data).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let desktops = Desktops::new(&data, sealed(settings), runtime);
        Self { data, desktops, session }
    }

    /// Makes a script that stands in for a program.
    pub(super) fn fake(name: &str, script: &str) -> Fake {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let file = format!("gr-fake-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Fake(path)
    }

    pub(super) async fn launch(&self, spec: SessionSpec) -> Result<Box<dyn Desktop>, LaunchError> {
        let order = Order::new(self.session, spec);
        self.desktops.launch(order, CancellationToken::new()).await
    }

    pub(super) async fn up(&self, spec: SessionSpec) -> Box<dyn Desktop> {
        self.launch(spec).await.unwrap_or_else(|cause| panic!("{cause:?}"))
    }

    pub(super) async fn fails(&self) -> Failure {
        match self.launch(small(None)).await {
            Err(LaunchError::Failed(failure)) => *failure,
            other => panic!("{other:?}"),
        }
    }

    /// The processes that carry the session's marker, or its directory in their arguments.
    pub(super) fn processes(&self) -> Vec<String> {
        let marker = format!("GREENROOM_SESSION={}", self.session);
        let folder = format!("/{}/", self.session);
        let found = processes_with(&folder, &marker).into_iter();
        found.map(|of| fs::read_to_string(of.join("comm")).unwrap_or_default()).collect()
    }

    #[track_caller]
    pub(super) fn nothing_is_left(&self) {
        assert_eq!(self.processes(), Vec::<String>::new());
        let directory = self.desktops.directory(self.session);
        for path in [directory.path(), directory.own()] {
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}

/// The path of a script, which is removed on drop.
pub(super) struct Fake(pub(super) PathBuf);

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for World {
    /// A test that fails leaves its programs running. A browser whose directory is removed meanwhile would use a
    /// processor until the machine restarts, and make other tests late.
    fn drop(&mut self) {
        let folder = format!("{}/", self.data.display());
        let marker = format!("GREENROOM_SESSION={}", self.session);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let found = processes_with(&folder, &marker);
            if found.is_empty() || Instant::now() > deadline {
                break;
            }
            for process in found {
                let name = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if let Some(pid) = name.parse().ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// The directories in `/proc` of the processes that have `folder` in their arguments,
/// or `marker` in their environment.
fn processes_with(folder: &str, marker: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    entries
        .filter(|process| {
            let read = |what| fs::read(process.join(what)).unwrap_or_default();
            let environment = read("environ");
            String::from_utf8_lossy(&read("cmdline")).contains(folder)
                || environment.split(|byte| *byte == 0).any(|one| one == marker.as_bytes())
        })
        .collect()
}
