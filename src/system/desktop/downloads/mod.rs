//! Files that a session's browser downloads on behalf of a person, an external driver or a block of a run.
//!
//! `watching` follows the browser's downloads over DevTools, whatever their folder. Each complete
//! file is copied immediately to a folder of the server (`copying`), because its driver may remove
//! it. The copy waits there as an [`Arrival`] until it is stored. Downloads that were missed while
//! the server or the connection was down are found in the session's own folder for downloads.
//! `tending` bounds that folder, and collects files that the browser writes there without a report.
//! `ledger` remembers which files have been stored or refused.

mod copying;
mod folder;
pub(super) mod ledger;
mod limits;
mod settings;
mod tending;
#[cfg(test)]
mod tests;
pub(super) mod watching;

pub(super) use folder::any_left;
pub use ledger::Content;
pub use settings::Settings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::copying::{CopyError, copy};
use self::folder::complete_in;
use self::ledger::{FileKey, Ledger};
use super::directory::Directory;
use crate::domain::file_name::file_name;
use crate::domain::ids::ArtifactId;
use crate::system::beneath::Tree;

/// The most files that may wait to be stored; copying further ones is delayed.
const MOST_WAITING: usize = 16;

/// The number of files that are copied at once.
const AT_ONCE: usize = 2;

/// The most beginnings of one session's downloads that are reported, because a page can cause any
/// number.
const MOST_BEGINNINGS: u64 = 2_000;

/// The most refusals of one session that are reported, because a page can cause any number.
const MOST_REFUSALS: u64 = 20;

/// The longest wait for the browser to report the events so far.
const REPORTS: Duration = Duration::from_secs(1);

/// The longest wait for complete files to be stored.
const STORING: Duration = Duration::from_secs(20);

/// The downloads of one session. Clones share them.
#[derive(Debug, Clone)]
pub struct Downloads(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    directory: Directory,
    settings: Settings,
    /// True if drivers may set other folders for the browser's downloads.
    is_anywhere: bool,
    runtime: Handle,
    report: mpsc::Sender<Notice>,
    notices: Arc<tokio::sync::Mutex<mpsc::Receiver<Notice>>>,
    copies: Semaphore,
    ledger: Mutex<Ledger>,
    state: watch::Sender<State>,
    /// The channel by which the watching task is asked for a round trip to the browser.
    barriers: Mutex<Option<mpsc::Sender<oneshot::Sender<()>>>>,
}

/// The downloads in progress.
#[derive(Debug, Default)]
struct State {
    /// Downloads in progress, by the browser's ids for them.
    pending: BTreeMap<String, Begun>,
    /// The number of complete files that are not stored yet.
    unstored: usize,
    refusals: u64,
    /// The number of downloads whose beginning is reported.
    beginnings: u64,
}

/// A download that has begun.
#[derive(Debug, Clone)]
struct Begun {
    name: String,
    url: String,
    is_reported: bool,
}

impl Begun {
    fn new(name: String, url: String) -> Self {
        Self { name, url, is_reported: false }
    }
}

/// The beginning or the outcome of a download.
#[derive(Debug)]
pub enum Notice {
    /// The download has begun.
    Began {
        /// The name of the file.
        name: String,
        /// The URL of the download.
        url: String,
        /// The size in bytes, if the site announces it.
        size: Option<u64>,
    },
    /// The download is complete, and its content is copied.
    Arrived(Arrival),
    /// The download is not kept.
    Refused {
        /// The name of the file.
        name: String,
        /// The reason, and how to resolve it.
        reason: String,
    },
}

/// A complete file, in a folder where no program changes it. It is removed on drop.
#[derive(Debug)]
pub struct Arrival {
    /// The path of the copy.
    pub file: PathBuf,
    /// The name of the file, without parts that could lead to another folder.
    pub name: String,
    /// The URL of the download, empty if it is not known.
    pub url: String,
    /// The size in bytes.
    pub size: u64,
    /// The hash of the content.
    pub checksum: String,
    key: FileKey,
    unstored: Unstored,
}

impl Arrival {
    /// Records that the file is stored as an artifact, so that no later server stores it again.
    pub fn stored(self, artifact: ArtifactId) {
        let content = Content { checksum: Some(self.checksum.clone()), artifact: Some(artifact) };
        self.unstored.0.ledger.lock().note(self.key, content);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // The file is gone already if it was moved to its final place.
        let _ = fs::remove_file(&self.file);
    }
}

/// Counts a file as unstored until this is dropped.
#[derive(Debug)]
struct Unstored(Arc<Shared>);

impl Unstored {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.state.send_modify(|state| state.unstored += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.unstored = state.unstored.saturating_sub(1));
    }
}

impl Downloads {
    /// The downloads of a desktop without downloads.
    pub fn none() -> Self {
        Self(None)
    }

    /// The downloads of the session with this directory. `is_anywhere` is true if the browser may
    /// put them into folders of drivers.
    pub(super) fn of(
        directory: &Directory,
        settings: Settings,
        is_anywhere: bool,
        runtime: &Handle,
    ) -> Self {
        // Copies that a previous server had not stored are removed, because the files are found again.
        let _ = fs::remove_dir_all(directory.arrivals());
        let (report, notices) = mpsc::channel(MOST_WAITING);
        Self(Some(Arc::new(Shared {
            ledger: Mutex::new(Ledger::read(&directory.downloaded())),
            directory: directory.clone(),
            settings,
            is_anywhere,
            runtime: runtime.clone(),
            report,
            notices: Arc::new(tokio::sync::Mutex::new(notices)),
            copies: Semaphore::new(AT_ONCE),
            state: watch::channel(State::default()).0,
            barriers: Mutex::default(),
        })))
    }

    /// Resolves with the next notice. Each is delivered to one caller only.
    pub fn next(&self) -> BoxFuture<'static, Notice> {
        let notices = self.0.as_ref().map(|shared| Arc::clone(&shared.notices));
        Box::pin(async move {
            let next = match notices {
                Some(notices) => notices.lock().await.recv().await,
                None => None,
            };
            match next {
                Some(notice) => notice,
                None => std::future::pending().await,
            }
        })
    }

    /// Resolves when the downloads in progress are complete, within `downloads.wait_seconds`, and
    /// the complete ones are stored. A caller must take the [`next`](Self::next) ones meanwhile.
    pub fn settled(&self) -> BoxFuture<'static, ()> {
        let wait = self.0.as_ref().map(|shared| shared.settings.wait()).unwrap_or_default();
        self.settled_within(wait)
    }

    fn settled_within(&self, wait: Duration) -> BoxFuture<'static, ()> {
        let shared = self.0.clone();
        Box::pin(async move {
            let Some(shared) = shared else { return };
            shared.reported().await;
            let mut state = shared.state.subscribe();
            let _ = timeout(wait, state.wait_for(|state| state.pending.is_empty())).await;
            let stored = state.wait_for(|state| state.unstored == 0);
            if timeout(STORING, stored).await.is_err() {
                tracing::error!("some downloads were not stored in time");
            }
        })
    }

    /// Stores every complete file, including unreported ones. For a session whose browser is about
    /// to end, or has ended.
    pub fn finish(&self) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            let Some(shared) = &this.0 else { return };
            shared.reported().await;
            shared.take_up_missed(Duration::ZERO).await;
            this.settled_within(Duration::ZERO).await;
        })
    }
}

impl Shared {
    /// Resolves when the browser has reported all events so far, or after a timeout.
    async fn reported(&self) {
        let asked = self.barriers.lock().clone();
        let (answer, answered) = oneshot::channel();
        if let Some(asked) = asked
            && asked.try_send(answer).is_ok()
        {
            let _ = timeout(REPORTS, answered).await; // As if it had nothing to report.
        }
    }

    /// The reason for which another file of `size` bytes is not kept; none if it is.
    fn refusal(&self, size: u64) -> Option<String> {
        let Settings { max_files, max_megabytes, max_total_megabytes, .. } = self.settings;
        let pending = self.state.borrow().pending.len();
        let (files, bytes) = self.ledger.lock().totals();
        if files.saturating_add(pending) >= max_files {
            return Some(limits::too_many(max_files));
        }
        if size > max_megabytes << 20 {
            return Some(limits::too_large(max_megabytes));
        }
        if bytes.saturating_add(size) > max_total_megabytes << 20 {
            return Some(limits::too_much(max_total_megabytes));
        }
        None
    }

    /// Reports that a download has begun, once and for a limited number of downloads.
    fn report_beginning(&self, guid: &str, size: u64) {
        let mut begun = None;
        self.state.send_modify(|state| {
            let pending = state.pending.get_mut(guid).filter(|begun| !begun.is_reported);
            let Some(pending) = pending.filter(|_| state.beginnings < MOST_BEGINNINGS) else {
                return;
            };
            pending.is_reported = true;
            state.beginnings += 1;
            begun = Some(pending.clone());
        });
        let Some(Begun { name, url, .. }) = begun else { return };
        let size = Some(size).filter(|size| *size > 0);
        let notice = Notice::Began { name: file_name(&name), url, size };
        if let Err(cause) = self.report.try_send(notice) {
            tracing::warn!("the beginning of a download is not reported: {cause}");
        }
    }

    /// Reports that a file is not kept, for a limited number of files.
    fn refuse(&self, name: &str, reason: String) {
        let mut count = 0;
        self.state.send_modify(|state| {
            state.refusals += 1;
            count = state.refusals;
        });
        if count > MOST_REFUSALS {
            return;
        }
        let notice = Notice::Refused { name: file_name(name), reason };
        if let Err(cause) = self.report.try_send(notice) {
            tracing::warn!("a rejected download is not reported: {cause}");
        }
    }

    /// Copies a complete file and delivers it, in a separate task.
    fn take(self: &Arc<Self>, path: PathBuf, begun: Begun) {
        let unstored = Unstored::new(self);
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let Ok(_turn) = shared.copies.acquire().await else { return };
            let work = {
                let shared = Arc::clone(&shared);
                let path = path.clone();
                move || shared.copied(&path)
            };
            let copied = match tokio::task::spawn_blocking(work).await {
                Ok(Some(copied)) => copied,
                Ok(None) => return, // It was consumed before.
                Err(cause) => Err(CopyError::Unreadable { cause: cause.to_string() }),
            };
            match copied {
                Ok((copy, key)) => {
                    let arrival = Arrival {
                        file: copy.file,
                        name: file_name(&begun.name),
                        url: begun.url,
                        size: copy.size,
                        checksum: copy.checksum,
                        key,
                        unstored,
                    };
                    let _ = shared.report.send(Notice::Arrived(arrival)).await; // It is open.
                }
                Err(cause) => {
                    shared.refuse(&begun.name, cause.to_string());
                    if matches!(cause, CopyError::Refused { .. }) {
                        shared.drop_refused(&path);
                    }
                    drop(unstored); // Last: a caller that waits for all downloads then finds the refusal.
                }
            }
        });
    }

    /// Copies a file; none if the file is already known. This blocks.
    fn copied(&self, path: &Path) -> Option<Result<(copying::Copy, FileKey), CopyError>> {
        let file = match copying::open(path, &self.directory, self.is_anywhere) {
            Ok(file) => file,
            Err(cause) => return Some(Err(cause)),
        };
        let key = match file.metadata() {
            Ok(metadata) => FileKey::of(&metadata),
            Err(cause) => return Some(Err(CopyError::Unreadable { cause: cause.to_string() })),
        };
        if self.ledger.lock().knows(key) {
            return None;
        }
        if let Some(reason) = self.refusal(key.size()) {
            return Some(Err(CopyError::Refused { reason }));
        }
        if !self.ledger.lock().admit(key) {
            return None;
        }
        let copied = copy(&file, &self.directory.arrivals(), &self.settings);
        if copied.is_err() {
            self.ledger.lock().forget(key);
        }
        Some(copied.map(|copy| (copy, key)))
    }

    /// Removes a refused file from the session's folder, so that the folder does not fill the disk.
    /// A driver's own folder is left alone.
    fn drop_refused(&self, path: &Path) {
        let folder = self.directory.downloads();
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && parent == folder
        {
            // A file that is gone already is no error.
            let _ = Tree::open(&folder).and_then(|folder| folder.remove_file(Path::new(name)));
        }
    }

    /// Collects the complete and unknown files of the session's folder, except those that have changed
    /// within the time `unchanged`.
    async fn take_up_missed(self: &Arc<Self>, unchanged: Duration) {
        let folder = self.directory.downloads();
        let found = tokio::task::spawn_blocking(move || complete_in(&folder, unchanged)).await;
        for (path, key) in found.ok().and_then(Result::ok).unwrap_or_default() {
            if self.ledger.lock().knows(key) {
                continue;
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let begun = Begun::new(name.unwrap_or_default(), String::new());
            self.take(path, begun);
        }
    }
}
