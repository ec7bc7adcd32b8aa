//! The storage state of a browser: cookies, `localStorage` and IndexedDB, in the form of Playwright's
//! `storageState`.
//!
//! ```text
//! capture: cookies --> origins with storage --> each in a hidden page --> state, and what was left out
//! apply:   [clear] --> each origin in a hidden page --> cookies --> wait until the browser has written it
//! ```
//!
//! `local_storage.rs` and `merging.rs` do the same for a browser that does not run, with the files of its profile.
//!
//! Cookies go by `Storage.getCookies` and `Storage.setCookies`, the rest through a page that no tab shows.
//! Nothing is requested from the network, no script of a page runs, and tabs stay where they are. Values appear
//! in no log and no error.

mod counted;
mod emptying;
mod handle;
mod leveldb;
mod local_storage;
mod merging;
mod origins;
mod page;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use url::Url;

pub use counted::MOST_PARTS;
pub use emptying::empty_items;
pub use handle::{ChangeTurn, HeldStorage, MOST_CHANGES, Remember, Storage};
pub(super) use local_storage::LocalStorage;
pub(super) use origins::of_folder;
pub use state::{
    Cookie, Database, Fault, Index, Item, LARGEST, MOST_COOKIES, MOST_ORIGINS, ObjectStore,
    OriginStorage, Record, SameSite, StorageState, web_origin,
};

use self::origins::Commits;
use self::page::{HiddenPage, OriginError, call, connect};
use super::cdp::{Connection, Devtools};

/// The longest time to read a state, and to write one.
const CAPTURES: Duration = Duration::from_secs(50);
const APPLIES: Duration = Duration::from_secs(120);

/// The longest time for the browser to write `localStorage` that no tab has open; it takes 50 ms.
const WRITES: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The most parts that a message names.
const MOST_NAMED: usize = 20;

/// The kinds of data that replacing a state removes from every origin.
const REPLACED: &str = "local_storage,indexeddb,service_workers,cache_storage";

/// The reasons for which a state was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The browser ended, or does not answer.
    #[error("the browser does not answer")]
    Unanswered,
    /// The browser rejected a command.
    #[error("the browser rejected {method}: {message}")]
    Refused { method: String, message: String },
    /// The browser cannot open a page outside its tabs.
    #[error("this browser has no hidden pages (`Target.createTarget` with `hidden`): update it")]
    Unsupported,
    /// The state would be larger than [`LARGEST`], or have more than [`MOST_PARTS`] elements.
    #[error(
        "the storage state is larger than {LARGEST} bytes, or has more than {MOST_PARTS} cookies, \
         items, records and other elements: name the origins that are needed, or leave out IndexedDB"
    )]
    TooLarge,
    /// As many changes of the storage wait as may.
    #[error(
        "{MOST_CHANGES} changes of this session's storage state wait or are under way, which is the \
         limit: wait for the answer to one"
    )]
    TooManyChanges,
    /// Some origins could not be written; the other ones are.
    #[error("the storage state was applied in part, without: {}", .0.join("; "))]
    Incomplete(Vec<String>),
}

impl StorageError {
    /// The code of the reason in the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unanswered => "browser_unreachable",
            Self::Refused { .. } => "storage_state_refused",
            Self::Unsupported => "storage_state_unsupported",
            Self::TooLarge => "storage_state_too_large",
            Self::TooManyChanges => "too_many_storage_changes",
            Self::Incomplete(_) => "storage_state_incomplete",
        }
    }
}

/// The parts of a state to read.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These origins alone, and the cookies that they get; all of them if none.
    pub origins: Option<BTreeSet<String>>,
    /// True to read the databases of IndexedDB as well.
    pub indexed_db: bool,
}

/// The treatment of what a browser has before a state is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It stays, but for cookies, items and databases of the same names.
    Merge,
    /// All cookies are removed, and the storage, the caches and the service workers of all origins.
    Replace,
}

/// The parts of a state that were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    pub cookies: usize,
    pub origins: usize,
    /// The parts that the browser rejected, and those that it has not written to disk yet.
    pub warning: Option<String>,
}

/// Parts of a message, of which the first are named.
#[derive(Debug, Default)]
struct Parts(Vec<String>);

impl Parts {
    fn add(&mut self, part: String) {
        self.0.push(part);
    }

    fn list(mut self) -> Vec<String> {
        let more = self.0.len().saturating_sub(MOST_NAMED);
        self.0.truncate(MOST_NAMED);
        if more > 0 {
            self.0.push(format!("{more} more"));
        }
        self.0
    }

    fn text(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.list().join("; "))
    }
}

/// Reads the storage state of a browser. `profile` is its user data directory.
///
/// Origins that do not answer are left out, and the state's `warning` names them.
///
/// # Errors
///
/// Fails if the browser does not answer at all, or if the state is too large.
pub async fn capture(
    devtools: &Devtools,
    profile: &Path,
    selection: &Selection,
) -> Result<StorageState, StorageError> {
    Ok(capture_whole(devtools, profile, selection).await?.0)
}

/// Reads the storage state of a browser as [`capture`] does, with the origins whose `localStorage` is
/// complete in the state. Those that are not in the state have none.
///
/// # Errors
///
/// Those of [`capture`].
pub async fn capture_whole(
    devtools: &Devtools,
    profile: &Path,
    selection: &Selection,
) -> Result<(StorageState, BTreeSet<String>), StorageError> {
    let mut whole = BTreeSet::new();
    let deadline = Instant::now() + CAPTURES;
    let connection = connect(devtools).await?;
    let mut left_out = Parts::default();
    let origins = match &selection.origins {
        Some(origins) => origins.clone(),
        None => {
            let found = origins_of(&connection, profile).await?;
            if !found.is_whole {
                left_out.add("origins that its files may name; ask for those by name".to_owned());
            }
            found.origins
        }
    };
    let read = call(&connection, None, "Storage.getCookies", json!({})).await?;
    let read = read.get("cookies").and_then(Value::as_array).into_iter().flatten();
    let hosts: Option<Vec<String>> = selection
        .origins
        .as_ref()
        .map(|origins| origins.iter().filter_map(|origin| host_of(origin)).collect());
    let wanted = |cookie: &Cookie| {
        hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| cookie.is_of(host)))
    };
    let cookies = read.filter_map(Cookie::of_browser).filter(wanted).collect();

    let mut state = StorageState { cookies, ..StorageState::default() };
    let (mut size, mut parts) = (length_of(&state), state.cookies.len());
    let mut page = None;
    for (at, origin) in origins.into_iter().enumerate() {
        if at >= MOST_ORIGINS || Instant::now() > deadline {
            left_out.add(origin);
            continue;
        }
        let opened = match page.take() {
            Some(opened) => opened,
            None => HiddenPage::open(devtools).await?,
        };
        let budget = LARGEST.saturating_sub(size);
        match opened.collect(&origin, selection.indexed_db, budget).await {
            Ok(collected) => {
                let omitted = collected.omitted;
                for (count, what) in [
                    (omitted.items, "items"),
                    (omitted.records, "records"),
                    (omitted.databases, "databases"),
                ] {
                    if count > 0 {
                        left_out.add(format!("{count} {what} of {origin}"));
                    }
                }
                if omitted.items == 0 {
                    whole.insert(origin.clone());
                }
                let is_empty =
                    collected.local_storage.is_empty() && collected.indexed_db.is_empty();
                if !is_empty {
                    let storage = OriginStorage {
                        origin,
                        local_storage: collected.local_storage,
                        indexed_db: selection.indexed_db.then_some(collected.indexed_db),
                    };
                    size = size.saturating_add(length_of(&storage));
                    parts = parts.saturating_add(1).saturating_add(storage.parts());
                    state.origins.push(storage);
                }
                page = Some(opened);
            }
            Err(OriginError::TooLarge) => return Err(StorageError::TooLarge),
            Err(OriginError::Disconnected) => return Err(StorageError::Unanswered),
            // A page that is late is closed, and the next origin gets another.
            Err(cause) => left_out.add(format!("{origin} ({cause})")),
        }
        if size > LARGEST || parts > MOST_PARTS {
            return Err(StorageError::TooLarge);
        }
    }
    if let Some(page) = page {
        page.close().await;
    }
    state.warning = left_out.text().map(|parts| format!("left out: {parts}"));
    Ok((state, whole))
}

/// Writes a storage state into a browser. `profile` is its user data directory.
///
/// May be repeated. The databases of an origin are replaced together if one of them exists in another form.
///
/// # Errors
///
/// Fails if the browser does not answer, or if it does not take the storage of some origins. The rest is
/// applied then.
pub async fn apply(
    devtools: &Devtools,
    profile: &Path,
    state: &StorageState,
    mode: Mode,
) -> Result<Applied, StorageError> {
    apply_until(devtools, profile, state, mode, Instant::now() + APPLIES).await
}

async fn apply_until(
    devtools: &Devtools,
    profile: &Path,
    state: &StorageState,
    mode: Mode,
    deadline: Instant,
) -> Result<Applied, StorageError> {
    let connection = connect(devtools).await?;
    let before = commits_of(profile).await;
    let (mut failed, mut warnings) = (Parts::default(), Parts::default());
    if mode == Mode::Replace && !clear(&connection, devtools, profile, deadline).await? {
        warnings.add(
            "the browser's files could not be read to their end, so storage of origins that only \
             they name may be left: sanitize the session to remove it"
                .to_owned(),
        );
    }

    let mut changed = Vec::new();
    let mut page = None;
    let mut origins = 0;
    for storage in &state.origins {
        let origin = &storage.origin;
        if Instant::now() > deadline {
            failed.add(format!("{origin} ({})", OriginError::Late));
            continue;
        }
        let opened = match page.take() {
            Some(opened) => opened,
            None => HiddenPage::open(devtools).await?,
        };
        let restored = match opened.restore(storage).await {
            Err(OriginError::OtherForm(_name)) => match opened.clear(origin, "indexeddb").await {
                Ok(()) => opened.restore(storage).await,
                Err(cause) => Err(cause),
            },
            restored => restored,
        };
        match restored {
            Ok(restored) => {
                origins += 1;
                if restored.changed {
                    changed.push(origin.clone());
                }
                if restored.keyless > 0 {
                    let count = restored.keyless;
                    warnings
                        .add(format!("{count} records of {origin} have no key and are left out"));
                }
                page = Some(opened);
            }
            Err(OriginError::Disconnected) => return Err(StorageError::Unanswered),
            Err(cause) => failed.add(format!("{origin} ({cause})")),
        }
    }
    if let Some(page) = page {
        page.close().await;
    }
    // Last, so that a page that sees the login finds its storage too.
    let reports = (&mut warnings, &mut failed);
    let cookies = set_cookies(&connection, &state.cookies, deadline, reports).await?;
    for origin in unwritten(profile, changed, &before).await {
        warnings.add(format!(
            "localStorage of {origin} is in force, and the browser stores it within a minute, because \
             a tab shows that origin"
        ));
    }
    match failed.list() {
        failed if failed.is_empty() => Ok(Applied { cookies, origins, warning: warnings.text() }),
        failed => Err(StorageError::Incomplete(failed)),
    }
}

/// Removes all cookies, and the storage of all origins that have some. Returns false if the browser's files may
/// name further origins.
///
/// # Errors
///
/// [`StorageError::Incomplete`] with the origins that are left at the deadline; the cookies are left too.
async fn clear(
    connection: &Connection,
    devtools: &Devtools,
    profile: &Path,
    deadline: Instant,
) -> Result<bool, StorageError> {
    let page = HiddenPage::open(devtools).await?;
    let found = origins_of(connection, profile).await?;
    let mut left = Parts::default();
    for origin in found.origins {
        if Instant::now() > deadline {
            left.add(format!("the removal of the storage of {origin} ({})", OriginError::Late));
            continue;
        }
        page.clear(&origin, REPLACED).await.map_err(|cause| match cause {
            OriginError::Refused(message) => {
                StorageError::Refused { method: "Storage.clearDataForOrigin".to_owned(), message }
            }
            OriginError::Late
            | OriginError::Elsewhere(_)
            | OriginError::LocalStorage(_)
            | OriginError::Database { .. }
            | OriginError::OtherForm(_)
            | OriginError::TooLarge
            | OriginError::Disconnected => StorageError::Unanswered,
        })?;
    }
    page.close().await;
    if left.0.is_empty() {
        call(connection, None, "Storage.clearCookies", json!({})).await?;
        return Ok(found.is_whole);
    }
    Err(StorageError::Incomplete(left.list()))
}

/// Sets cookies until the deadline, and returns the number of those that the browser took.
async fn set_cookies(
    connection: &Connection,
    cookies: &[Cookie],
    deadline: Instant,
    (warnings, failed): (&mut Parts, &mut Parts),
) -> Result<usize, StorageError> {
    if cookies.is_empty() {
        return Ok(0);
    }
    let all: Vec<Value> = cookies.iter().map(Cookie::to_set).collect();
    match call(connection, None, "Storage.setCookies", json!({ "cookies": all })).await {
        Ok(_all) => return Ok(cookies.len()),
        // One rejected cookie makes the call fail for all others.
        Err(StorageError::Refused { .. }) => {}
        Err(cause) => return Err(cause),
    }
    let mut taken = 0;
    for (at, cookie) in cookies.iter().enumerate() {
        if Instant::now() > deadline {
            let left = cookies.len().saturating_sub(at);
            failed.add(format!("{left} of the cookies ({})", OriginError::Late));
            break;
        }
        let one = json!({ "cookies": [cookie.to_set()] });
        match call(connection, None, "Storage.setCookies", one).await {
            Ok(_one) => taken += 1,
            Err(StorageError::Refused { .. }) => {
                let (name, domain) = (&cookie.name, &cookie.domain);
                warnings.add(format!("the browser rejects the cookie {name:?} of {domain}"));
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(taken)
}

/// The origins that may have storage: those on disk, and those of open pages.
async fn origins_of(
    connection: &Connection,
    profile: &Path,
) -> Result<origins::Found, StorageError> {
    let profile = profile.to_owned();
    let found = spawn_blocking(move || origins::in_profile(&profile)).await;
    let mut found = found.unwrap_or_default();
    let everything = json!({ "filter": [{ "type": "page" }, { "type": "iframe" }] });
    let targets = call(connection, None, "Target.getTargets", everything).await?;
    let targets = targets.get("targetInfos").and_then(Value::as_array).into_iter().flatten();
    let urls = targets.filter_map(|target| target.get("url")?.as_str()?.parse::<Url>().ok());
    found.origins.extend(urls.filter_map(|url| web_origin(&url.origin().ascii_serialization())));
    Ok(found)
}

async fn commits_of(profile: &Path) -> Commits {
    let profile = profile.to_owned();
    spawn_blocking(move || origins::commits(&profile)).await.unwrap_or_default()
}

/// Waits until the browser has written the `localStorage` of these origins to disk, and returns those of which
/// that is not known in time.
async fn unwritten(profile: &Path, mut origins: Vec<String>, before: &Commits) -> Vec<String> {
    let deadline = Instant::now() + WRITES;
    loop {
        let now = commits_of(profile).await;
        let sequence =
            |commits: &Commits, origin: &str| commits.get(origin).map_or(0, |write| write.sequence);
        origins.retain(|origin| sequence(&now, origin) <= sequence(before, origin));
        if origins.is_empty() || Instant::now() > deadline {
            return origins;
        }
        sleep(LOOK_EVERY).await;
    }
}

fn host_of(origin: &str) -> Option<String> {
    origin.parse::<Url>().ok()?.host_str().map(str::to_owned)
}

fn length_of(part: &impl serde::Serialize) -> usize {
    serde_json::to_vec(part).map_or(usize::MAX, |bytes| bytes.len())
}
