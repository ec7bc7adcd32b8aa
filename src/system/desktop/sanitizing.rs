//! Removal of an occupant's traces while the browser is down.
//!
//! ```text
//! count --> file `sanitizing` --> end the keeper --> end the browser --> remove its files, memory.json
//!       --> empty the clipboard --> a new browser, one empty tab --> desktop.json --> no `sanitizing`
//! ```
//!
//! DevTools has no command that clears history, autofill, passwords and IndexedDB for all origins.
//! So the browser restarts with a new profile. As long as the file `sanitizing` exists, no browser
//! starts with the former files: any recovery, also by another server, removes them first.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, absent, replace};
use super::running::LiveDesktop;
use crate::domain::sanitizing::Cleared;
use crate::domain::session::Failure;
use crate::system::beneath::Tree;
use crate::system::cdp::{CdpError, Connection, Devtools};
use crate::system::clipboard;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::seam::{RestartFailed, Sanitized};

/// The longest wait for a browser's counts: a browser that hangs is sanitized as well.
const COUNTING: Duration = Duration::from_secs(2);

/// The folder of the black box's ring, below the films.
const BLACK_BOX: &str = "black-box";

/// The longest wait for the display to clear its clipboard.
const CLIPBOARD: Duration = Duration::from_secs(5);

impl LiveDesktop {
    pub(super) async fn sanitize_now(
        mut self: Box<Self>,
        call_off: CancellationToken,
    ) -> Result<Sanitized, RestartFailed> {
        match self.restart_clean(&call_off).await {
            Ok(cleared) => Ok(Sanitized { desktop: self, cleared }),
            Err(failure) => Err(RestartFailed { failure, desktop: Some(self) }),
        }
    }

    async fn restart_clean(&mut self, call_off: &CancellationToken) -> Result<Cleared, Failure> {
        let directory = self.made.parts.directory.clone();
        let mark = directory.sanitizing();
        let cleared = match begun(&directory) {
            // A previous attempt has counted what it removed.
            Some(Some(cleared)) => cleared,
            Some(None) | None => self.count().await,
        };
        let bytes = serde_json::to_vec(&cleared).unwrap_or_default();
        replace(&mark, &bytes).map_err(|cause| directory_failed(&mark, &cause))?;
        self.keeper.stop().await;
        self.restart_parts(call_off).await?;
        Ok(cleared)
    }

    async fn count(&self) -> Cleared {
        let directory = self.made.parts.directory.clone();
        let devtools = Devtools::of(&self.made.identity);
        let in_browser = timeout(COUNTING, count_in_browser(&devtools)).await;
        let (cookies, tabs) = match in_browser {
            Ok(Ok((cookies, tabs))) => (Some(cookies), Some(tabs)),
            Ok(Err(_)) | Err(_) => (None, None),
        };
        let files = spawn_blocking(move || {
            (files_in(&directory.downloads()), files_in(&directory.uploads()))
        });
        let (downloads, uploads) = files.await.unwrap_or_default();
        Cleared::counted(cookies, tabs, downloads, uploads)
    }

    /// Removes the traces of occupants if the desktop is marked. The browser must have ended.
    pub(super) async fn clear_if_marked(&mut self) -> Result<bool, Failure> {
        let directory = self.made.parts.directory.clone();
        if begun(&directory).is_none() {
            return Ok(false);
        }
        if !self.made.chromium.gone_within(Duration::ZERO).await {
            let pid = self.made.chromium.identity().pid;
            let message = format!("the browser (process {pid}) does not end");
            return Err(failure("chromium", "chromium_not_ended", message));
        }
        let (number, cookie) = (self.made.identity.display_number, self.made.cookie);
        let emptied = spawn_blocking(move || clipboard::clear(number, &cookie));
        let emptied = match timeout(CLIPBOARD, emptied).await {
            Ok(Ok(emptied)) => emptied,
            Ok(Err(cause)) => Err(cause.to_string()),
            Err(_late) => Err("the display does not answer".to_owned()),
        };
        emptied.map_err(|cause| {
            let message = format!("the clipboard of the display could not be emptied: {cause}");
            failure("display", "clipboard_not_cleared", message)
        })?;
        self.made.opening.clear();
        let removed = spawn_blocking(move || directory.remove_traces()).await;
        let removed = removed.unwrap_or_else(|cause| Err(io::Error::other(cause)));
        removed.map_err(|cause| {
            let message = format!("the files of the former occupant could not be removed: {cause}");
            failure("directory", "files_not_cleared", message)
        })?;
        Ok(true)
    }

    /// Removes the mark: the desktop is clean, also for a later server that adopts it.
    pub(super) fn unmark(&self) -> Result<(), Failure> {
        let mark = self.made.parts.directory.sanitizing();
        absent(std::fs::remove_file(&mark)).map_err(|cause| directory_failed(&mark, &cause))
    }
}

/// The counts of a sanitizing in progress; none if there is none, `Some(None)` if they are not known.
pub(super) fn begun(directory: &Directory) -> Option<Option<Cleared>> {
    match std::fs::read(directory.sanitizing()) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).ok()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        // A file that cannot be read still exists.
        Err(_) => Some(None),
    }
}

impl Directory {
    /// Removes the folders in which programs of the session keep files, and the server's memory of
    /// the browser. [`make_folders`](Self::make_folders) creates the folders again.
    fn remove_traces(&self) -> io::Result<()> {
        let folders = [
            self.profile(),
            self.home(),
            self.downloads(),
            self.uploads(),
            self.temporary(),
            self.code(),
            self.films().join(BLACK_BOX),
        ];
        for folder in folders {
            Tree::remove_all(&folder)?;
        }
        absent(std::fs::remove_file(self.memory().path()))
    }
}

/// The numbers of cookies and of pages.
async fn count_in_browser(devtools: &Devtools) -> Result<(u64, u64), CdpError> {
    let connection = Connection::open(devtools).await?;
    let cookies = connection.call(None, "Storage.getCookies", json!({})).await?;
    let cookies = cookies.get("cookies").and_then(Value::as_array).map_or(0, Vec::len);
    let targets = connection.call(None, "Target.getTargets", json!({})).await?;
    let targets = targets.get("targetInfos").and_then(Value::as_array).into_iter().flatten();
    let pages = targets.filter(|target| target.get("type").is_some_and(|kind| kind == "page"));
    let tabs = pages.count();
    Ok((u64::try_from(cookies).unwrap_or(u64::MAX), u64::try_from(tabs).unwrap_or(u64::MAX)))
}

/// The number of files in a folder that programs write to.
fn files_in(folder: &Path) -> u64 {
    let files = Tree::open(folder).and_then(|folder| folder.files());
    files.map_or(0, |files| u64::try_from(files.len()).unwrap_or(u64::MAX))
}
