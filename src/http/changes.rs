//! Long polls: requests that wait until the version of a session or a run has risen.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::counting;

/// The longest time to wait for a change.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// The query parameters of a request that may wait.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct After {
    /// Waits until the version is greater than this or the end is reached, for at most 25 s.
    pub after: Option<u64>,
}

/// Resolves when the view has changed as `is_changed` demands, or will not change any more, or
/// after the longest time.
pub async fn changed<T>(mut view: watch::Receiver<T>, is_changed: impl FnMut(&T) -> bool) {
    counting::waits();
    let _late_or_ended = timeout(LONGEST_WAIT, view.wait_for(is_changed)).await;
}
