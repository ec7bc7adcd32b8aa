//! The state that a new browser gets before its start page: that of a profile, and a storage state.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::directory::Directory;
use super::memory::{FirstTab, Memory, Opening};
use crate::domain::session::{Failure, SessionSpec};
use crate::system::cdp::Devtools;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::storage_state::{self, Mode, StorageError, StorageState};

/// The parts of a profile that are not in its files.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// The cookies, in the format of `Storage.getCookies`.
    pub(super) cookies: Vec<Value>,
    /// The storage that the browser had not written to its files, or that came without files.
    pub(super) state: Option<StorageState>,
    /// The origins whose `localStorage` is complete in the state: what their files have besides is older.
    pub(super) whole: BTreeSet<String>,
}

/// The state for a new browser.
#[derive(Debug)]
pub(super) struct FirstState {
    pub(super) restored: Option<Restored>,
    /// The storage state that the client requested.
    pub(super) storage_state: Option<Arc<StorageState>>,
}

impl FirstState {
    /// Gives the state to a browser that shows an empty page, then opens the start page. A browser that gets
    /// none shows that already, in the target `page`. Resolves with the pages that are being opened.
    pub(super) async fn open(
        self,
        spec: &SessionSpec,
        page: String,
        devtools: &Devtools,
        directory: &Directory,
    ) -> Result<Opening, Failure> {
        let Self { restored, storage_state } = self;
        let has_state = restored.is_some() || storage_state.is_some();
        let mut cookies = Vec::new();
        if let Some(Restored { cookies: known, state, whole }) = restored {
            let login = Memory { cookies: known, ..Memory::default() };
            let (_none, lost) = login.restore(devtools, FirstTab::OfItsOwn).await;
            tracing::debug!("the browser starts from a profile without {lost}");
            cookies = login.cookies;
            if let Some(state) = state {
                // A page chose what it stores, and must not decide whether the profile can be used.
                if let Err(cause) = renew(&state, &whole, devtools, directory).await {
                    tracing::warn!("the latest localStorage of a profile is not restored: {cause}");
                }
                cookies = cookies_of(devtools).await?;
            }
        }
        if let Some(state) = &storage_state {
            let applied = apply(state, devtools, directory).await;
            applied.map_err(|cause| not_applied(&cause))?;
            cookies = cookies_of(devtools).await?;
        }
        let first = spec.start_url.as_ref().map(ToString::to_string);
        if first.is_none() && !has_state {
            return Ok(Opening::new());
        }
        let tabs = first.clone().map_or_else(|| Memory::blank().tabs, |url| vec![url]);
        let opening = match first {
            Some(_url) if has_state => {
                let tabs = Memory { tabs: tabs.clone(), ..Memory::default() };
                tabs.restore(devtools, FirstTab::OfItsOwn).await.0
            }
            Some(url) => Opening::from([(page, url)]),
            None => Opening::new(),
        };
        // If the browser is recovered before its tabs were read, it shows its start page again.
        let file = directory.memory();
        let memory = Memory { tabs, cookies, network: None, opening };
        memory.write(&file).map_err(|cause| directory_failed(file.path(), &cause))?;
        Ok(memory.opening)
    }
}

/// Gives a browser the storage that its profile had when it was stored, in the place of what its files
/// have of these origins.
async fn renew(
    state: &StorageState,
    whole: &BTreeSet<String>,
    devtools: &Devtools,
    directory: &Directory,
) -> Result<(), StorageError> {
    let left = storage_state::empty_items(devtools, whole).await?;
    if left > 0 {
        tracing::warn!("{left} origins of a profile may have older items of localStorage");
    }
    apply(state, devtools, directory).await
}

/// Gives a browser a storage state.
async fn apply(
    state: &StorageState,
    devtools: &Devtools,
    directory: &Directory,
) -> Result<(), StorageError> {
    let profile = directory.profile();
    let applied = storage_state::apply(devtools, &profile, state, Mode::Merge).await?;
    if let Some(warning) = applied.warning {
        tracing::warn!("the storage state of a new session was applied, but: {warning}");
    }
    Ok(())
}

/// All cookies of a browser, which Chromium itself stores half a minute later.
async fn cookies_of(devtools: &Devtools) -> Result<Vec<Value>, Failure> {
    let cookies = Memory::cookies_of(devtools).await;
    cookies.map_err(|_cause| not_applied(&StorageError::Unanswered))
}

fn not_applied(cause: &StorageError) -> Failure {
    let hint = "correct the `storage_state`, or create the session without it";
    failure("chromium", cause.code(), cause.to_string()).hint(hint)
}
