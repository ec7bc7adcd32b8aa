//! The profile of a desktop's browser: restored from an archive before the browser starts, packed
//! into one while it stands still or after it has ended.
//!
//! Chromium's own files lack session cookies, and those of the last half minute. So the cookies are
//! read over DevTools and packed beside the files.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::closing::Parts;
use super::directory::Directory;
use super::first_state::Restored;
use super::launch::Desktops;
use super::memory::Memory;
use super::running::LiveDesktop;
use super::sanitizing::begun;
use crate::domain::session::Failure;
use crate::system::beneath::Tree;
use crate::system::browser;
use crate::system::cdp::{Connection, Devtools};
use crate::system::failure::failure;
use crate::system::process::{Paused, Process, output};
use crate::system::profile::{self, BrowserVersion, COOKIES, Meta, Packed, STATE, WHOLE};
use crate::system::seam::{Desktop as _, PackedProfile};
use crate::system::storage_state::{
    HeldStorage, MOST_ORIGINS, Selection, StorageState, web_origin,
};

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
async fn local_storage(storage: &HeldStorage) -> Option<(StorageState, BTreeSet<String>)> {
    let selection = Selection { origins: None, indexed_db: false };
    match timeout(COLLECTING, storage.capture_whole(&selection)).await {
        Ok(Ok((state, whole))) => Some((StorageState { cookies: Vec::new(), ..state }, whole)),
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
    /// The `localStorage` of the running browser, and the origins of which it is complete.
    state: Option<(StorageState, BTreeSet<String>)>,
}

/// The cookies to pack: those of the browser, else those that it had when they were last read.
fn known(read: Option<Vec<Value>>, directory: &Directory) -> Vec<Value> {
    read.or_else(|| Memory::read(&directory.memory()).map(|memory| memory.cookies))
        .unwrap_or_default()
}

/// Writes an archive of a browser that does not run, until `stop` is set. A file that could not be
/// completed is removed.
fn pack(
    directory: &Directory,
    extras: &Extras,
    into: &Path,
    stop: &AtomicBool,
) -> Result<PackedProfile, Failure> {
    let packed = write(directory, extras, into, stop);
    if packed.is_err() {
        let _ = std::fs::remove_file(into); // It may never have been there.
    }
    packed
}

fn write(
    directory: &Directory,
    extras: &Extras,
    into: &Path,
    stop: &AtomicBool,
) -> Result<PackedProfile, Failure> {
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
    let state = extras.state.as_ref().map(|(state, whole)| {
        let state = serde_json::to_vec(state).unwrap_or_default();
        (state, serde_json::to_vec(whole).unwrap_or_default())
    });
    let created_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let meta = Meta { created_at: &created_at, browser_version: None };
    let mut extras: Vec<(&str, &[u8])> = vec![(COOKIES, &cookies)];
    if let Some((state, whole)) = &state {
        extras.extend([(STATE, state.as_slice()), (WHOLE, whole.as_slice())]);
    }
    let packed = profile::pack_unless(stop, &directory.profile(), &meta, &extras, &mut file)
        .map_err(|cause| not_packed(text_of(&cause)))?;
    file.sync_all().map_err(unwritten)?;
    let Packed { bytes, sha256, browser_version, skipped, skipped_names, changed, .. } = packed;
    if changed > 0 {
        tracing::warn!("{changed} files of a profile were written to while they were packed");
    }
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
    let stop = AtomicBool::new(false);
    outcome_of(spawn_blocking(move || pack(&directory, &extras, &into, &stop)).await)
}

fn outcome_of(
    packed: Result<Result<PackedProfile, Failure>, JoinError>,
) -> Result<PackedProfile, Failure> {
    packed.unwrap_or_else(|cause| Err(not_packed(cause.to_string())))
}

/// Packs the profile of a browser that stands still, within `limit`, and unless `ended` resolves: its
/// successor would write to the same files. `still` is dropped when the browser may go on. If this
/// fails, no task writes to `into` any more, and the file does not exist.
async fn pack_still(
    directory: Directory,
    extras: Extras,
    into: PathBuf,
    limit: Duration,
    still: impl Still,
    ended: impl Future<Output = ()>,
) -> Result<PackedProfile, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut packing = spawn_blocking(move || pack(&directory, &extras, &into, &stopped));
    let cause = tokio::select! {
        biased;
        () = ended => not_packed("the browser ended meanwhile: try again".to_owned()),
        packed = &mut packing => match outcome_of(packed) {
            Ok(packed) if !still.is_still() => {
                let _ = std::fs::remove_file(&packed.file); // The caller gets no path.
                return Err(not_packed("the browser went on meanwhile: try again".to_owned()));
            }
            packed => return packed,
        },
        () = sleep(limit) => {
            let limit = limit.as_secs();
            let hint = "close the session, which stores its profile without this limit";
            not_packed(format!("the profile is too large to pack within {limit} s")).hint(hint)
        }
    };
    stop.store(true, Ordering::Relaxed);
    drop(still);
    if let Ok(packed) = outcome_of(packing.await) {
        let _ = std::fs::remove_file(&packed.file); // It was completed just then.
    }
    Err(cause)
}

/// A guard of a browser that stands still.
trait Still {
    /// True if it has not gone on, for example by a signal of a program of the session.
    fn is_still(&self) -> bool;
}

/// A browser that goes on when this is dropped.
struct Halted {
    chromium: Process,
    _paused: Paused,
}

impl Still for Halted {
    fn is_still(&self) -> bool {
        self.chromium.is_stopped()
    }
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
            let paused =
                still.ok_or_else(|| not_packed("the browser does not pause".to_owned()))?;
            let still = Halted { chromium: chromium.clone(), _paused: paused };
            let ended = async {
                let _exit = chromium.exited().await;
            };
            let packed = pack_still(directory, extras, into, STILL, still, ended).await;
            drop(held);
            packed
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
        let packed = if begun(&self.directory).is_some() {
            Err(not_packed("the data of its occupants was being cleared".to_owned()))
        } else if ended {
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
            let whole: Option<BTreeSet<String>> =
                extra(WHOLE).and_then(|bytes| serde_json::from_slice(bytes).ok());
            let whole = whole.unwrap_or_default().into_iter().filter_map(|it| web_origin(&it));
            let whole = whole.take(MOST_ORIGINS).collect();
            Ok(Restored { cookies: cookies.unwrap_or_default(), state, whole })
        });
        restored.await.unwrap_or_else(|cause| {
            Err(failure("profile", "profile_not_written", cause.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::{pending, ready};

    use super::*;
    use crate::domain::ids::SessionId;
    use crate::system::desktop::Directories;

    struct Stands(bool);

    impl Still for Stands {
        fn is_still(&self) -> bool {
            self.0
        }
    }

    /// The directories of a session whose profile takes long to read, removed on drop.
    struct World(PathBuf, Directory);

    impl World {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("pack-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let directory = Directories::below(&root).of(SessionId::from(7));
            fs::create_dir_all(directory.profile()).unwrap();
            fs::create_dir_all(directory.path()).unwrap();
            fs::create_dir_all(root.join("transit")).unwrap();
            let file = File::create(directory.profile().join("large")).unwrap();
            file.set_len(2 << 30).unwrap();
            Self(root, directory)
        }

        fn transit(&self) -> PathBuf {
            self.0.join("transit")
        }

        async fn pack(
            &self,
            limit: Duration,
            still: bool,
            ended: impl Future<Output = ()>,
        ) -> Result<PackedProfile, Failure> {
            let (directory, into) = (self.1.clone(), self.transit().join("archive"));
            pack_still(directory, Extras::default(), into, limit, Stands(still), ended).await
        }

        fn small(&self) {
            fs::write(self.1.profile().join("large"), b"small").unwrap();
        }

        #[track_caller]
        fn nothing_is_in_transit(&self) {
            let left: Vec<_> = fs::read_dir(self.transit()).unwrap().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_late_packer_has_stopped_when_that_is_reported_and_leaves_no_file() {
        let world = World::new("late");
        let late = world.pack(Duration::from_millis(20), true, pending()).await.unwrap_err();
        assert!(late.message.contains("too large to pack within"), "{}", late.message);
        world.nothing_is_in_transit();
        world.small();
        let packed = world.pack(STILL, true, pending()).await.unwrap();
        let file = File::open(&packed.file).unwrap();
        let checked = profile::check(file, None).unwrap();
        assert_eq!((checked.sha256, checked.unpacked_bytes), (packed.checksum, 5));
    }

    #[tokio::test]
    async fn a_browser_that_ends_or_goes_on_meanwhile_is_not_packed() {
        let world = World::new("ended");
        let ended = world.pack(STILL, true, ready(())).await.unwrap_err();
        assert!(ended.message.contains("ended meanwhile"), "{}", ended.message);
        world.nothing_is_in_transit();
        world.small();
        let went_on = world.pack(STILL, false, pending()).await.unwrap_err();
        assert!(went_on.message.contains("went on meanwhile"), "{}", went_on.message);
        world.nothing_is_in_transit();
    }

    #[tokio::test]
    async fn a_profile_that_was_being_cleared_is_not_packed_at_the_end() {
        let world = World::new("cleared");
        world.small();
        let keep = async |into: PathBuf| {
            let (sender, packed) = tokio::sync::oneshot::channel();
            let settings = Arc::new(crate::system::Settings::default());
            let mut parts = Parts::new(SessionId::from(7), world.1.clone(), settings);
            let then = Box::new(move |outcome| {
                let _ = sender.send(outcome);
                let done: BoxFuture<'static, ()> = Box::pin(ready(()));
                done
            });
            parts.at_end = Some(crate::system::seam::PackAtEnd { into, then });
            parts.keep_profile(None, true).await;
            packed.await.unwrap()
        };
        fs::write(world.1.sanitizing(), b"{}").unwrap();
        let refused = keep(world.transit().join("one")).await.unwrap_err();
        assert_eq!(refused.code, "profile_not_packed");
        world.nothing_is_in_transit();
        fs::remove_file(world.1.sanitizing()).unwrap();
        keep(world.transit().join("two")).await.unwrap();
    }
}
