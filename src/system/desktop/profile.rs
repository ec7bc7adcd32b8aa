//! The profile of a desktop's browser: restored from an archive before the browser starts, packed
//! into one while it stands still or after it has ended.
//!
//! Chromium's own files lack session cookies, and those of the last half minute. So the cookies are
//! read over DevTools and packed beside the files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::closing::Parts;
use super::directory::Directory;
use super::first_state::Restored;
use super::launch::Desktops;
use super::memory::Memory;
use super::running::LiveDesktop;
use crate::domain::session::Failure;
use crate::system::beneath::Tree;
use crate::system::browser;
use crate::system::cdp::{Connection, Devtools};
use crate::system::failure::failure;
use crate::system::process::output;
use crate::system::profile::{self, BrowserVersion, Meta, Packed};
use crate::system::seam::{Desktop as _, PackedProfile};
use crate::system::storage_state::{HeldStorage, Selection, StorageState};

/// The name of the cookies in an archive, a list in the format of `Storage.getCookies`.
const COOKIES: &str = "cookies.json";

/// The name of the `localStorage` in an archive, a storage state without cookies. Chromium writes it to
/// its files some seconds after a change.
const STATE: &str = "storage_state.json";

/// The longest wait for a browser's cookies.
const READING: Duration = Duration::from_secs(2);

/// The longest wait for a browser's `localStorage`.
const COLLECTING: Duration = Duration::from_secs(10);

/// The longest time for which a browser stands still.
const STILL: Duration = Duration::from_secs(30);

/// The longest wait until all processes of a browser have stopped.
const STOPPING: Duration = Duration::from_secs(2);

/// The longest wait for a browser to print its version.
const VERSION: Duration = Duration::from_secs(10);

fn not_packed(message: String) -> Failure {
    failure("profile", "profile_not_packed", message)
}

fn text_of(cause: &dyn std::error::Error) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Reads the cookies of a browser; none if it does not answer.
async fn cookies(devtools: &Devtools) -> Option<Vec<Value>> {
    let read = async {
        let connection = Connection::open(devtools).await.ok()?;
        let answer = connection.call(None, "Storage.getCookies", json!({})).await.ok()?;
        answer.get("cookies")?.as_array().cloned()
    };
    timeout(READING, read).await.ok().flatten()
}

/// Reads the `localStorage` of a running browser; none if it does not answer in time, or has more than
/// fits.
async fn local_storage(storage: &HeldStorage) -> Option<StorageState> {
    let selection = Selection { origins: None, indexed_db: false };
    match timeout(COLLECTING, storage.capture(&selection)).await {
        Ok(Ok(state)) => Some(StorageState { cookies: Vec::new(), ..state }),
        Ok(Err(cause)) => {
            tracing::warn!("the latest changes of localStorage may be missing: {cause}");
            None
        }
        Err(_late) => {
            tracing::warn!("the latest changes of localStorage may be missing: it took too long");
            None
        }
    }
}

/// The values that are packed beside the files of a profile.
#[derive(Debug, Default)]
struct Extras {
    cookies: Vec<Value>,
    state: Option<StorageState>,
}

/// The cookies to pack: those of the browser, else those that it had when they were last read.
fn known(read: Option<Vec<Value>>, directory: &Directory) -> Vec<Value> {
    read.or_else(|| Memory::read(&directory.memory()).map(|memory| memory.cookies))
        .unwrap_or_default()
}

/// Writes an archive of a browser that does not run. A file that could not be completed is removed.
fn pack(directory: &Directory, extras: &Extras, into: &Path) -> Result<PackedProfile, Failure> {
    let packed = write(directory, extras, into);
    if packed.is_err() {
        let _ = std::fs::remove_file(into); // It may never have been there.
    }
    packed
}

fn write(directory: &Directory, extras: &Extras, into: &Path) -> Result<PackedProfile, Failure> {
    let unwritten =
        |cause: io::Error| not_packed(format!("{} could not be written: {cause}", into.display()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(into)
        .map_err(unwritten)?;
    let cookies = serde_json::to_vec(&extras.cookies).unwrap_or_default();
    let state = extras.state.as_ref().map(|state| serde_json::to_vec(state).unwrap_or_default());
    let created_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let meta = Meta { created_at: &created_at, browser_version: None };
    let mut extras: Vec<(&str, &[u8])> = vec![(COOKIES, &cookies)];
    extras.extend(state.as_deref().map(|state| (STATE, state)));
    let packed = profile::pack(&directory.profile(), &meta, &extras, &mut file)
        .map_err(|cause| not_packed(text_of(&cause)))?;
    file.sync_all().map_err(unwritten)?;
    let Packed { bytes, sha256, browser_version, skipped, skipped_names, .. } = packed;
    if skipped > 0 {
        tracing::warn!("{skipped} entries of a profile are not packed: {skipped_names:?}");
    }
    Ok(PackedProfile {
        file: into.to_owned(),
        bytes,
        checksum: sha256,
        browser_version: browser_version.map(|version| version.to_string()),
    })
}

async fn pack_apart(
    directory: Directory,
    extras: Extras,
    into: PathBuf,
) -> Result<PackedProfile, Failure> {
    let packed = spawn_blocking(move || pack(&directory, &extras, &into)).await;
    packed.unwrap_or_else(|cause| Err(not_packed(cause.to_string())))
}

impl LiveDesktop {
    /// Packs the profile of the running browser, which stands still meanwhile: its files are as
    /// consistent as after its sudden end, from which it recovers.
    pub(super) fn pack_now(
        &self,
        into: PathBuf,
    ) -> BoxFuture<'static, Result<PackedProfile, Failure>> {
        let directory = self.made.parts.directory.clone();
        let (chromium, devtools) = (self.made.chromium.clone(), Devtools::of(&self.made.identity));
        let storage = self.storage();
        let work = async move {
            // A change of the storage that is under way ends first, and another begins when the browser goes on.
            let held = timeout(COLLECTING, storage.hold()).await;
            let held = held.map_err(|_late| {
                let hint = "store the profile when the storage state is written";
                not_packed("the storage state is being changed".to_owned()).hint(hint)
            })?;
            let held = held.map_err(|cause| not_packed(cause.to_string()))?;
            let cookies = known(cookies(&devtools).await, &directory);
            let extras = Extras { cookies, state: local_storage(&held).await };
            let still = chromium.pause(STOPPING).await;
            let still = still.ok_or_else(|| not_packed("the browser does not pause".to_owned()))?;
            let packing = tokio::spawn(pack_apart(directory, extras, into.clone()));
            let packed = timeout(STILL, packing).await;
            drop(still);
            drop(held);
            match packed {
                Ok(packed) => packed.unwrap_or_else(|cause| Err(not_packed(cause.to_string()))),
                Err(_late) => {
                    // Files written later are removed when the server starts next.
                    let limit = STILL.as_secs();
                    let hint = "close the session, which stores its profile without this limit";
                    let message = format!("the profile is too large to pack within {limit} s");
                    Err(not_packed(message).hint(hint))
                }
            }
        };
        // A task, so that the browser goes on in any case.
        let work = self.made.desktops.runtime().spawn(work);
        Box::pin(
            async move { work.await.unwrap_or_else(|cause| Err(not_packed(cause.to_string()))) },
        )
    }
}

impl Parts {
    /// Reads the cookies of a browser that is about to end, if they will be packed.
    pub(super) async fn cookies_at_end(&self) -> Option<Vec<Value>> {
        let lives = self.chromium.as_ref().is_some_and(|chromium| !chromium.has_exited());
        match &self.devtools {
            Some(devtools) if lives && self.at_end.is_some() => cookies(devtools).await,
            Some(_) | None => None,
        }
    }

    /// Packs the profile of a browser that has ended, if that is requested, and resolves when the
    /// archive is stored or given up.
    pub(super) async fn keep_profile(&mut self, cookies: Option<Vec<Value>>, ended: bool) {
        let Some(request) = self.at_end.take() else { return };
        let packed = if ended {
            // The browser has written its storage at its end.
            let extras = Extras { cookies: known(cookies, &self.directory), state: None };
            pack_apart(self.directory.clone(), extras, request.into).await
        } else {
            Err(not_packed("the browser does not end".to_owned()))
        };
        (request.then)(packed).await;
    }
}

impl Desktops {
    /// The version of a browser program, asked once for each file.
    async fn version(&self, program: &Path) -> Result<BrowserVersion, Failure> {
        let modified = program.metadata().and_then(|file| file.modified()).ok();
        let key = (program.to_owned(), modified);
        if let Some(known) = self.0.versions.lock().get(&key) {
            return Ok(*known);
        }
        let arguments = ["--version".to_owned()];
        let text = output(program, &arguments, &self.settings().path, VERSION).await;
        let unknown = |cause: String| {
            let message = format!("the version of {} is not known: {cause}", program.display());
            failure("profile", "browser_version_unknown", message)
        };
        let text = text.map_err(unknown)?;
        let version = BrowserVersion::within(&text).ok_or_else(|| unknown(text))?;
        self.0.versions.lock().insert(key, version);
        Ok(version)
    }

    /// Restores an archive into the empty profile of a session. Resolves with what the browser gets when
    /// it runs.
    pub(super) async fn restore(
        &self,
        packed: PackedProfile,
        directory: Directory,
        program: &Path,
    ) -> Result<Restored, Failure> {
        let newest = self.version(program).await?;
        let restored = spawn_blocking(move || {
            let refused = |code: &str, message: String| failure("profile", code, message);
            // A former server may have ended while it restored the profile.
            Tree::remove_all(&directory.profile())
                .and_then(|()| directory.make_folders())
                .map_err(|cause| refused("profile_not_written", cause.to_string()))?;
            let file = File::open(&packed.file).map_err(|cause| {
                refused("profile_not_written", format!("the archive cannot be read: {cause}"))
            })?;
            let (profile, user) = (directory.profile(), directory.user());
            let checksum = Some(packed.checksum.as_str());
            let unpacked = profile::unpack(file, checksum, &newest, &profile, user);
            let unpacked = unpacked.map_err(|cause| refused(cause.code(), text_of(&cause)))?;
            browser::remove_experiments(&profile, user)
                .map_err(|cause| refused("profile_not_written", cause.to_string()))?;
            let extra = |name: &str| unpacked.extras.get(name).map(Vec::as_slice);
            let cookies = extra(COOKIES).and_then(|bytes| serde_json::from_slice(bytes).ok());
            let state: Option<StorageState> =
                extra(STATE).and_then(|bytes| serde_json::from_slice(bytes).ok());
            let state = state.and_then(|state| state.checked().ok());
            Ok(Restored { cookies: cookies.unwrap_or_default(), state })
        });
        restored.await.unwrap_or_else(|cause| {
            Err(failure("profile", "profile_not_written", cause.to_string()))
        })
    }
}
