//! The removal of `localStorage` that a state replaces.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::StorageError;
use super::page::{HiddenPage, OriginError};
use crate::system::cdp::Devtools;

/// The longest time for all origins.
const EMPTIES: Duration = Duration::from_secs(30);

/// Removes the `localStorage` of origins. Returns the number of those that still may have theirs.
///
/// # Errors
///
/// Fails if the browser does not answer.
pub async fn empty_items(
    devtools: &Devtools,
    origins: &BTreeSet<String>,
) -> Result<usize, StorageError> {
    if origins.is_empty() {
        return Ok(0);
    }
    let deadline = Instant::now() + EMPTIES;
    let page = HiddenPage::open(devtools).await?;
    let mut left = 0_usize;
    for origin in origins {
        let emptied = match Instant::now() > deadline {
            true => Err(OriginError::Late),
            false => page.clear(origin, "local_storage").await,
        };
        match emptied {
            Ok(()) => {}
            Err(OriginError::Disconnected) => return Err(StorageError::Unanswered),
            Err(_cause) => left = left.saturating_add(1),
        }
    }
    page.close().await;
    Ok(left)
}
